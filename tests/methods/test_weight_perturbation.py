"""Adversarial weight perturbation against `utils_awp.py`'s description, recomputed by hand."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import methods
from fsgan_tf.errors import UserError
from fsgan_tf.methods.parts.weight_perturbation import perturbed_weights
from tests.small_training import batch, build_quick, dataset, fit, one_iteration, run

GAMMA = 0.05


def _gradients(method, data):
    with tf.GradientTape() as tape:
        logits = method.classifier(data["image"], training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(data["label"], logits))
    variables = method.classifier.trainable_variables
    return [gradient.numpy() for gradient in tape.gradient(loss, variables)], float(loss)


def _moved(values, gradients):
    """The proxy's step of 0.01 up the loss, made as long as gamma times the kernel."""
    moved = []
    for value, gradient in zip(values, gradients, strict=True):
        difference = 0.01 * gradient
        length = np.linalg.norm(value.ravel()) / (np.linalg.norm(difference.ravel()) + 1e-20)
        moved.append(value + GAMMA * length * difference if value.ndim > 1 else value)
    return moved


def _values(method):
    return [variable.numpy() for variable in method.classifier.trainable_variables]


def test_a_step_descends_at_the_moved_kernels_and_moves_them_back():
    method, twin, data = build_quick("standard", awp_gamma=GAMMA), build_quick("standard"), batch()
    before = _values(twin)
    gradients, clean_loss = _gradients(twin, data)
    moved = _moved(before, gradients)
    for variable, value in zip(twin.classifier.trainable_variables, moved, strict=True):
        variable.assign(value)
    gradients, loss = _gradients(twin, data)
    assert loss > clean_loss + 0.1
    assert run(method, dataset(1), 1)["loss"] == pytest.approx(loss, rel=1e-3)
    settings = method.settings
    for found, value, at, gradient in zip(_values(method), before, moved, gradients, strict=True):
        step = -settings.classifier_learning_rate * (gradient + settings.weight_decay * at)
        assert np.linalg.norm(found - (value + step)) < 0.01 * np.linalg.norm(step) + 1e-6


def test_it_is_the_same_in_a_graph_and_off_by_default():
    eager = run(build_quick("standard", awp_gamma=GAMMA), dataset(2), 2)
    assert fit(build_quick("standard", awp_gamma=GAMMA), dataset(2), 2)["loss"] == pytest.approx(
        eager["loss"], rel=1e-4
    )
    assert build_quick("standard").settings.awp_gamma == 0


def test_kernels_without_a_gradient_stay():
    method = build_quick("standard")
    before = _values(method)
    zeros = [tf.zeros_like(value) for value in before]
    with perturbed_weights(method.classifier, zeros, GAMMA):
        for value, found in zip(before, _values(method), strict=True):
            np.testing.assert_array_equal(found, value)


def test_replicas_move_their_copies_alike_by_the_whole_batch(mirrored_strategy):
    with mirrored_strategy.scope():
        two = build_quick("standard", awp_gamma=GAMMA)
    halves = dataset(1).map(lambda data: {k: tf.concat([v, v], 0) for k, v in data.items()})
    fit(two, halves, 1)
    one = build_quick("standard", awp_gamma=GAMMA)
    before = _values(one)
    run(one, dataset(1), 1)
    for found, expected, start in zip(_values(two), _values(one), before, strict=True):
        step = np.linalg.norm(expected - start)
        assert np.linalg.norm(found - expected) < 0.01 * step + 1e-6
    for variable in two.classifier.trainable_variables:
        np.testing.assert_array_equal(*(copy.numpy() for copy in variable.value.values))


@pytest.mark.parametrize("name", methods.names())
def test_every_method_trains_on_moved_weights_and_costs_more(name):
    fewer = one_iteration(name)
    plain, moved = build_quick(name, **fewer), build_quick(name, awp_gamma=GAMMA, **fewer)
    assert run(moved, dataset(1), 1)["loss"] > run(plain, dataset(1), 1)["loss"]
    cost, more = (m.forward_equivalents["classifier"] for m in (plain, moved))
    assert more > cost


@pytest.mark.parametrize("name", ["fs_gan", "l2l_da"])
def test_a_generator_learns_from_the_weights_as_they_are(name):
    """Its own update comes before the classifier's."""
    fewer = {"attack_iterations": 1}
    plain, moved = build_quick(name, **fewer), build_quick(name, awp_gamma=GAMMA, **fewer)
    for method in (plain, moved):
        run(method, dataset(1), 1)
    for ours, theirs in zip(moved.generator.weights, plain.generator.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_generators_images_are_made_at_the_weights_as_they_are(monkeypatch):
    """l2l's two passes of the descent see the same images, of before the move."""
    method = build_quick("l2l", awp_gamma=GAMMA)
    seen = []
    original = method.classifier.call

    def call(inputs, training=None, **options):
        seen.append((training, inputs.numpy() if training else None))
        return original(inputs, training=training, **options)

    monkeypatch.setattr(method.classifier, "call", call)
    run(method, dataset(1), 1)
    trained = [images for training, images in seen if training]
    assert len(trained) == 3  # the gradient at the clean images, then the descent twice
    np.testing.assert_array_equal(trained[1], trained[2])


def test_fs_gan_moves_no_classifier_that_does_not_learn():
    with pytest.raises(UserError, match="awp_gamma moves.*freeze_classifier"):
        build_quick("fs_gan", awp_gamma=GAMMA, freeze_classifier=True)


def test_nothing_moves_where_the_gradient_overflows():
    """It could not be moved back; the step itself is left out too."""
    method = build_quick("standard", precision="mixed_float16", awp_gamma=GAMMA)
    method.classifier_optimizer.dynamic_scale.assign(2.0**126)
    before = _values(method)
    run(method, dataset(1), 1)
    for value, found in zip(before, _values(method), strict=True):
        np.testing.assert_array_equal(found, value)
