"""N-FGSM against its description in the authors' code."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.cli import training_flags
from tests.small_training import BATCH_SIZE, batch, dataset, run
from tests.small_training import build_small as build

SEED = tf.constant([1, 2])


def _by_hand(method, images, labels, training):
    """`train.py` in NumPy, on TensorFlow's gradient: perturbations are clipped, not images."""
    epsilon, x = method.threat_model.epsilon, images.numpy()
    noise = method.threat_model.random_perturbation(tf.shape(images), SEED).numpy()
    eta = np.clip(2 * noise, 0 - x, 1 - x)
    with tf.GradientTape() as tape:
        start = tf.constant(x + eta)
        tape.watch(start)
        logits = method.classifier(start, training=training)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    delta = eta + epsilon * np.sign(tape.gradient(loss, start).numpy())
    return x + np.clip(delta, 0 - x, 1 - x)


def test_its_own_settings_are_the_authors():
    settings = training_flags.parse(["--method=n_fgsm", "--epsilon=8/255"]).method
    assert (settings.start_noise, settings.attack_step_size) == (2.0, 1.0)
    assert (settings.classifier_learning_rate, settings.weight_decay) == (0.2, 5e-4)


@pytest.mark.parametrize("training", [False, True])
def test_one_step_from_wide_noise_clipped_to_the_pixel_range_alone(training):
    method, twin = build("n_fgsm"), build("n_fgsm")
    data = batch()
    images, labels = data["image"], data["label"]
    found = method.attack(images, labels, SEED, training).numpy()
    expected = _by_hand(twin, images, labels, training)
    # A sign is either way where rounding decides the gradient's.
    assert np.mean(np.abs(found - expected) > 1e-5) < 0.01
    for ours, theirs in zip(method.classifier.variables, twin.classifier.variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=ours.path)


def test_the_images_leave_the_ball_and_stay_within_three_radii():
    method = build("n_fgsm")
    grey = tf.fill([BATCH_SIZE, 16, 16, 3], 0.5)
    found = method.perturb(grey, batch()["label"], SEED)
    farthest = np.abs(found - grey).max() / method.threat_model.epsilon
    assert 2.9 < farthest <= 3
    assert method.training_ball.epsilon == pytest.approx(3 * method.threat_model.epsilon)
    assert build("n_fgsm", epsilon=0.5).training_ball.epsilon == 1


def test_the_loss_is_plain_cross_entropy_of_the_attacked_batch_alone():
    method, twin = build("n_fgsm"), build("n_fgsm")
    data = batch()
    adversarial = twin.attack(data["image"], data["label"], twin.step_seeds(1)[0], training=True)
    logits = twin.classifier(adversarial, training=True).numpy()
    picked = logits[np.arange(BATCH_SIZE), data["label"]]
    expected = np.mean(np.log(np.sum(np.exp(logits), axis=1)) - picked)
    assert run(method, dataset(1), 1)["loss"] == pytest.approx(expected, rel=1e-4)
    for ours, theirs in zip(
        method.classifier.non_trainable_variables,
        twin.classifier.non_trainable_variables,
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=ours.path)
