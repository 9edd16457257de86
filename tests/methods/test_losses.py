import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from fsgan_tf.methods.parts.losses import (
    accuracy,
    diversity,
    smoothed_cross_entropy,
    smoothed_targets,
)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_smoothed_targets_are_feature_scatters():
    """(1 - d - d/(K-1)) onehot + d/(K-1)."""
    labels = np.array([3, 0, 9])
    targets = smoothed_targets(labels, 10, 0.5).numpy()
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets, (0.5 - 0.5 / 9) * np.eye(10)[labels] + 0.5 / 9, rtol=1e-6)
    np.testing.assert_allclose(targets[0, [3, 4]], [0.5, 0.0556], atol=5e-5)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(("num_classes", "floor"), [(10, 1.7918), (100, 2.9907)])
def test_loss_bottoms_out_at_the_entropy_of_the_targets(num_classes, floor):
    labels = np.array([1, 7])
    best = tf.Variable(tf.math.log(smoothed_targets(labels, num_classes, 0.5)))
    with tf.GradientTape() as tape:
        loss = smoothed_cross_entropy(labels, tf.convert_to_tensor(best), 0.5)
    assert loss.shape == (2,)
    np.testing.assert_allclose(loss, floor, atol=5e-5)
    np.testing.assert_allclose(tape.gradient(loss, best), 0, atol=1e-6)


@pytest.mark.parametrize("num_classes", [10, 100])
def test_smoothing_is_keras_own_at_another_factor(num_classes, generator):
    labels = generator.integers(0, num_classes, 6)
    logits = generator.normal(0, 3, (6, num_classes)).astype(np.float32)

    def keras_loss(label_smoothing):
        return keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing, reduction=None
        )(np.eye(num_classes)[labels], logits)

    loss = smoothed_cross_entropy(labels, tf.constant(logits), 0.5)
    np.testing.assert_allclose(loss, keras_loss(0.5 * num_classes / (num_classes - 1)), rtol=1e-5)
    assert not np.allclose(loss, keras_loss(0.5), rtol=1e-3)


def test_no_smoothing_is_plain_cross_entropy(generator):
    labels = generator.integers(0, 10, 6)
    logits = generator.normal(0, 3, (6, 10)).astype(np.float32)
    expected = -log_softmax(np.float64(logits), axis=1)[np.arange(6), labels]
    np.testing.assert_allclose(smoothed_cross_entropy(labels, tf.constant(logits)), expected, 1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.5])
def test_huge_logits_have_a_finite_loss(label_smoothing):
    logits = tf.constant([[1e4, -1e4, 0.0]])
    assert np.isfinite(smoothed_cross_entropy([1], logits, label_smoothing)).all()


def test_accuracy_is_the_share_of_largest_logits():
    logits = tf.constant([[0.0, 2, 1], [3, 1, 2], [0, 1, 2], [5, 4, 3]], tf.float16)
    found = accuracy(tf.constant([1, 0, 1, 0]), logits)
    assert found.dtype == tf.float32
    assert found == 0.75


def _diversity_arguments(generator):
    perturbations = generator.normal(0, 0.03, (2, 5, 4, 4, 3)).astype(np.float32)
    latents = generator.normal(size=(2, 5, 10)).astype(np.float32)
    return *perturbations, *latents


def test_diversity_is_a_ratio_per_example(generator):
    first, second, latents_1, latents_2 = _diversity_arguments(generator)
    expected = [
        np.abs(first[i] - second[i]).mean() / np.abs(latents_1[i] - latents_2[i]).mean()
        for i in range(5)
    ]
    ratio = diversity(first, second, latents_1, latents_2)
    np.testing.assert_allclose(ratio, expected, rtol=1e-5)
    # A ratio of two batch-wide means (MSGAN) is another number.
    whole = np.abs(first - second).mean() / np.abs(latents_1 - latents_2).mean()
    assert abs(np.mean(ratio) / whole - 1) > 1e-3


def test_diversity_is_finite_at_equal_latents(generator):
    first, second, latents, _ = (tf.constant(x) for x in _diversity_arguments(generator))
    with tf.GradientTape() as tape:
        tape.watch([first, latents])
        ratio = diversity(first, second, latents, latents)
    # As in L2L-DA's code: their mean distance over 1e-8.
    distances = np.abs(first - second).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(ratio, distances / 1e-8, rtol=1e-5)
    for gradient in tape.gradient(ratio, [first, latents]):
        assert np.isfinite(gradient).all()


def test_diversity_of_equal_perturbations_is_zero(generator):
    first, _, latents_1, latents_2 = _diversity_arguments(generator)
    np.testing.assert_array_equal(diversity(first, first, latents_1, latents_2), np.zeros(5))
