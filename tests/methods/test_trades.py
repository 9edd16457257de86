"""TRADES against its description in the authors' code."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.cli import training_flags
from fsgan_tf.methods.trades import kl_divergence
from tests.small_training import BATCH_SIZE, NUM_CLASSES, batch, dataset, run
from tests.small_training import build_small as build

SEED = tf.constant([1, 2])


def _kl(clean_logits, logits):
    return scipy.stats.entropy(
        scipy.special.softmax(clean_logits, axis=1), scipy.special.softmax(logits, axis=1), axis=1
    )


def _by_hand(method, images, steps):
    """`trades.py` in NumPy; cross-entropy is the divergence and a constant, the clean entropy."""
    epsilon, x = method.threat_model.epsilon, images.numpy()
    clean = tf.nn.softmax(method.classifier(images, training=False))
    current = x + 0.001 * stateless_random.normal(tf.shape(images), SEED).numpy()
    for _ in range(steps):
        with tf.GradientTape() as tape:
            at = tf.constant(current)
            tape.watch(at)
            logits = method.classifier(at, training=False)
            loss = tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(clean, logits))
        moved = current + 0.007 / 0.031 * epsilon * np.sign(tape.gradient(loss, at).numpy())
        current = np.clip(np.clip(moved, x - epsilon, x + epsilon), 0, 1)
    return current


def test_its_own_settings_are_the_authors():
    values = training_flags.parse(["--method=trades", "--epsilon=0.031"])
    assert values.method.attack_iterations == 10
    assert values.method.attack_step_size * values.training.epsilon == pytest.approx(0.007)
    assert values.method.beta == 6


def test_the_divergence_is_scipys_and_its_gradient_flows_through_both_answers():
    random = np.random.default_rng(0)
    clean, other = random.normal(size=(2, 6, NUM_CLASSES)).astype(np.float32)
    np.testing.assert_allclose(kl_divergence(clean, other), _kl(clean, other), rtol=1e-4)
    with tf.GradientTape() as tape:
        logits = [tf.constant(clean), tf.constant(other)]
        tape.watch(logits)
        divergences = kl_divergence(*logits)
    of_clean, of_other = tape.gradient(divergences, logits)
    p, q = scipy.special.softmax(clean, axis=1), scipy.special.softmax(other, axis=1)
    np.testing.assert_allclose(of_other, q - p, atol=1e-5)
    ratio = np.log(p / q) - _kl(clean, other)[:, None]
    np.testing.assert_allclose(of_clean, p * ratio, atol=1e-5)


def test_ten_projected_steps_away_from_the_clean_answers():
    method, twin = build("trades"), build("trades")
    images = tf.round(batch()["image"])
    found = method.attack(images, SEED).numpy()
    expected = _by_hand(twin, images, 10)
    # At the start the divergence is all but flat, and rounding decides some signs.
    assert np.mean(np.abs(found - expected) > 1e-5) < 0.05


def test_the_loss_is_clean_cross_entropy_and_six_times_the_divergence():
    method, twin = build("trades"), build("trades")
    data = batch()
    adversarial = twin.attack(data["image"], twin.step_seeds(1)[0])
    clean = twin.classifier(data["image"], training=True).numpy()
    logits = twin.classifier(adversarial, training=True).numpy()
    picked = clean[np.arange(BATCH_SIZE), data["label"]]
    cross_entropy = np.mean(scipy.special.logsumexp(clean, axis=1) - picked)
    divergence = np.mean(_kl(clean, logits))
    reports = run(method, dataset(1), 1)
    assert reports["divergence"] == pytest.approx(divergence, rel=1e-3)
    assert reports["loss"] == pytest.approx(cross_entropy + 6 * divergence, rel=1e-4)
    for ours, theirs in zip(
        method.classifier.non_trainable_variables,
        twin.classifier.non_trainable_variables,
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=ours.path)
