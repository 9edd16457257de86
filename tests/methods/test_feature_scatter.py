"""Feature-Scatter's step against its description in the authors' code."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.cli import training_flags
from fsgan_tf.methods.parts.losses import smoothed_cross_entropy
from fsgan_tf.methods.parts.optimal_transport import transport_cost
from tests.small_training import batch, dataset, run
from tests.small_training import build_small as build

SEED = tf.constant([1, 2])


@pytest.fixture
def method():
    return build("feature_scatter")


def _start(method, images):
    return images + method.threat_model.random_perturbation(tf.shape(images), SEED)


def test_its_own_settings_are_the_authors():
    values = training_flags.parse(["--method=feature_scatter"])
    assert (values.method.attack_iterations, values.method.attack_step_size) == (1, 1.0)
    assert (values.method.label_smoothing, values.method.entropic_regularization) == (0.5, 0.01)
    assert (values.method.classifier_learning_rate, values.method.weight_decay) == (0.1, 2e-4)


def test_one_sign_step_of_epsilon_from_a_start_that_may_leave_the_pixel_range(method):
    """The gradient is taken at the unclipped start; the ball comes before the pixel range."""
    images = tf.round(batch()["image"])  # Black and white: half of the start leaves [0, 1].
    start = _start(method, images)
    assert tf.reduce_min(start) < 0
    assert tf.reduce_max(start) > 1
    clean_logits = method.classifier(images, training=False)
    with tf.GradientTape() as tape:
        tape.watch(start)
        cost = transport_cost(clean_logits, method.classifier(start, training=False))
    gradient = tape.gradient(cost, start).numpy()
    epsilon, x = method.threat_model.epsilon, images.numpy()
    moved = start.numpy() + epsilon * np.sign(gradient)
    expected = np.clip(np.clip(moved, x - epsilon, x + epsilon), 0, 1)
    adversarial, start_ot = method.scatter(images, start)
    np.testing.assert_allclose(adversarial, expected, atol=1e-6)
    assert float(start_ot) == pytest.approx(float(cost))


def test_the_step_scatters(method):
    """It raises the distance; a step down the gradient would lower it."""
    images = batch()["image"]
    clean_logits = method.classifier(images, training=False)
    adversarial, start_ot = method.scatter(images, _start(method, images))
    reached = transport_cost(clean_logits, method.classifier(adversarial, training=False))
    assert reached > 2 * start_ot


def test_labels_do_not_enter_the_attack(method):
    data = batch()
    adversarial = method.perturb(data["image"], data["label"], SEED)
    others = method.perturb(data["image"], (data["label"] + 1) % 5, SEED)
    np.testing.assert_array_equal(adversarial, others)


def test_the_loss_is_smoothed_cross_entropy_of_the_scattered_batch_alone(method):
    """In training mode, on the images made before the update; no transport term."""
    data = batch()
    start_seed = method.step_seeds(1)[0]
    images = data["image"]
    start = images + method.threat_model.random_perturbation(tf.shape(images), start_seed)
    adversarial, _ = method.scatter(images, start)
    twin = build("feature_scatter")
    logits = twin.classifier(adversarial, training=True)
    expected = tf.reduce_mean(smoothed_cross_entropy(data["label"], logits, 0.5))
    assert run(method, dataset(1), 1)["loss"] == pytest.approx(float(expected), rel=1e-5)
    for ours, theirs in zip(
        method.classifier.non_trainable_variables,
        twin.classifier.non_trainable_variables,
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg=ours.path)


def test_more_steps_go_on_from_the_last(method):
    images = batch()["image"]
    start = _start(method, images)
    two = build("feature_scatter", attack_iterations=2, attack_step_size=0.5)
    one = build("feature_scatter", attack_step_size=0.5)
    halfway, _ = one.scatter(images, start)
    np.testing.assert_allclose(
        two.scatter(images, start)[0], one.scatter(images, halfway)[0], atol=1e-6
    )


def test_diagnosis_is_the_reached_distance(method):
    data = batch()
    adversarial = method.perturb(data["image"], data["label"], SEED)
    expected = transport_cost(
        method.classifier(data["image"], training=False),
        method.classifier(adversarial, training=False),
    )
    found = method.diagnose(data["image"], data["label"], SEED)["validation_sign_step_ot"]
    assert float(found) == pytest.approx(float(expected))
