"""PGD adversarial training against its description in Madry's code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.cli import training_flags
from fsgan_tf.errors import UserError
from fsgan_tf.methods import PGDAT, TRADES
from fsgan_tf.threat_model import ThreatModel
from tests.small_training import BATCH_SIZE, batch, build_quick, dataset, fit, run
from tests.small_training import build as build_whole
from tests.small_training import build_small as build

SEED = tf.constant([1, 2])


def _loss_gradient(classifier, images, labels, training=False):
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = classifier(images, training=training)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    return tape.gradient(loss, images).numpy()


def _by_hand(method, images, labels, steps, training=False):
    epsilon, x = method.threat_model.epsilon, images.numpy()
    start = method.threat_model.random_perturbation(tf.shape(images), SEED)
    current = np.clip(x + start, 0, 1)
    for _ in range(steps):
        gradient = _loss_gradient(method.classifier, tf.constant(current), labels, training)
        moved = current + epsilon / 4 * np.sign(gradient)
        current = np.clip(np.clip(moved, x - epsilon, x + epsilon), 0, 1)
    return current


def test_its_own_settings_are_madrys():
    values = training_flags.parse(["--method=pgd_at", "--epsilon=8/255"])
    assert values.method.attack_iterations == 10
    assert values.method.attack_step_size * values.training.epsilon == pytest.approx(2 / 255)
    assert values.method.adversary_mode == "eval"


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_ten_clipped_sign_steps(mode):
    training = mode == "train"
    method, twin = build("pgd_at", adversary_mode=mode), build("pgd_at")
    data = batch()
    images, labels = tf.round(data["image"]), data["label"]
    found = method.attack(images, labels, SEED, training).numpy()
    expected = _by_hand(twin, images, labels, 10, training)
    # A sign is either way where rounding decides the gradient's.
    assert np.mean(np.abs(found - expected) > 1e-5) < 0.01
    for ours, theirs in zip(method.classifier.variables, twin.classifier.variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=ours.path)


def test_train_mode_moves_the_batch_statistics_at_every_attack_pass():
    method = build("pgd_at", adversary_mode="train")
    moving = next(v for v in method.classifier.non_trainable_variables if "moving_mean" in v.path)
    before = moving.numpy()
    data = batch()
    method.attack(data["image"], data["label"], SEED, training=False)
    np.testing.assert_array_equal(moving, before)
    method.attack(data["image"], data["label"], SEED, training=True)
    assert np.any(moving.numpy() != before)


def test_more_steps_reach_a_higher_loss():
    method = build_whole("pgd_at")
    data = batch()
    losses = []
    for steps in (1, 3, 10):
        adversary = build_whole("pgd_at", attack_iterations=steps)
        images = adversary.perturb(data["image"], data["label"], SEED)
        logits = method.classifier(images, training=False)
        losses.append(
            float(
                tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(data["label"], logits)
                )
            )
        )
    assert losses == sorted(losses)
    assert losses[2] > losses[0] + 0.05


def test_the_loss_is_plain_cross_entropy_of_the_adversarial_batch_alone():
    method, twin = build("pgd_at"), build("pgd_at")
    data = batch()
    adversarial = twin.attack(data["image"], data["label"], twin.step_seeds(1)[0], training=False)
    logits = twin.classifier(adversarial, training=True).numpy()
    picked = logits[np.arange(BATCH_SIZE), data["label"]]
    expected = np.mean(np.log(np.sum(np.exp(logits), axis=1)) - picked)
    assert run(method, dataset(1), 1)["loss"] == pytest.approx(expected, rel=1e-4)


# In l2.


@pytest.fixture
def linear():
    """A linear classifier of grey 6 x 6 images, twelve of them and their labels."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    images = np.random.default_rng(0).uniform(0.3, 0.7, (12, 6, 6, 1)).astype(np.float32)
    return keras.Sequential(layers), images, np.arange(12, dtype=np.int32) % 3


def test_l2_steps_go_along_the_gradient(linear):
    """The last image is epsilon away, about along the gradient of the loss there."""
    model, images, labels = linear
    method = PGDAT(model, threat_model=ThreatModel(0.2, norm="l2"))
    found = method.perturb(tf.constant(images), tf.constant(labels), SEED).numpy()
    changes = (found - images).reshape(12, -1)
    np.testing.assert_allclose(np.linalg.norm(changes, axis=1), 0.2, rtol=1e-3)
    gradients = _loss_gradient(model, tf.constant(found), labels).reshape(12, -1)
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    assert ((changes * gradients).sum(axis=1) > 0.95 * 0.2).all()


def test_a_step_of_l2_training_descends():
    method = build_quick("pgd_at", norm="l2", epsilon=0.5)
    assert method.threat_model == ThreatModel(0.5, norm="l2")
    before = [weights.copy() for weights in method.classifier.get_weights()]
    assert np.isfinite(fit(method, dataset(1), 1)["loss"])
    after = method.classifier.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_other_methods_and_norms_are_refused(linear):
    with pytest.raises(ValueError, match="PGDAT trains in linf, l2 alone, not in l1"):
        PGDAT(linear[0], threat_model=ThreatModel(2.0, norm="l1"))
    with pytest.raises(ValueError, match="TRADES trains in linf alone, not in l2"):
        TRADES(linear[0], threat_model=ThreatModel(0.2, norm="l2"))
    assert (
        training_flags.parse(["--method=pgd_at", "--norm=l2", "--epsilon=1.5"]).training.epsilon
        == 1.5
    )
    for arguments, words in (
        (["--method=trades", "--norm=l2", "--epsilon=0.5"], "in l2 --method=pgd_at does"),
        (["--method=pgd_at", "--norm=l1", "--epsilon=12"], "--norm=l1"),
        (["--method=pgd_at", "--norm=l2"], "--norm=l2 needs --epsilon"),
        (["--method=pgd_at", "--norm=l2", "--dataset=cifar10"], "--norm=l2 needs --epsilon"),
    ):
        with pytest.raises(UserError, match=words):
            training_flags.parse(arguments)
