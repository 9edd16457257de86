"""The single step with a consistency term, recomputed apart from its code."""

import contextlib

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from fsgan_tf.methods import SingleStepConsistency
from tests.small_training import BATCH_SIZE, TOTAL_STEPS, batch, dataset, run
from tests.small_training import build_small as build

NAME = "single_step_consistency"


def _by_hand(method, data, weight):
    """Loss, consistency and gradients of one step: two separate tapes, NumPy between them."""
    images, labels = data["image"], data["label"]
    epsilon, x = method.threat_model.epsilon, images.numpy()
    noise = method.threat_model.random_perturbation(tf.shape(images), method.step_seeds(1)[0])
    start = tf.constant(np.clip(np.clip(x + noise, x - epsilon, x + epsilon), 0, 1))
    still = build(NAME).classifier
    still.set_weights(method.classifier.get_weights())
    with tf.GradientTape() as tape:
        tape.watch(start)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, still(start, training=True))
    moved = start.numpy() + epsilon * np.sign(tape.gradient(loss, start).numpy())
    adversarial = np.clip(np.clip(moved, x - epsilon, x + epsilon), 0, 1)
    with tf.GradientTape() as tape:
        before = method.classifier(start, training=True)
        after = method.classifier(adversarial, training=True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, after)
        ) + weight * tf.reduce_mean((after - before) ** 2)
    gradients = tape.gradient(loss, method.classifier.trainable_variables)
    before, after = before.numpy(), after.numpy()
    picked = after[np.arange(BATCH_SIZE), labels]
    cross_entropy = np.mean(scipy.special.logsumexp(after, axis=1) - picked)
    consistency = np.mean((after - before) ** 2)
    return cross_entropy + weight * consistency, consistency, gradients


def _at_step(method, step):
    method.classifier_optimizer.iterations.assign(step)
    return method


@pytest.mark.parametrize("step", [0, 7])
def test_a_step_is_both_terms_through_both_passes(step, monkeypatch):
    method, twin = (_at_step(build(NAME), step) for _ in range(2))
    found = []
    monkeypatch.setattr(
        method.classifier_optimizer, "apply", lambda gradients, _: found.extend(gradients)
    )
    reports = run(method, dataset(1), 1)
    loss, consistency, gradients = _by_hand(twin, batch(), weight=step)
    assert reports["loss"] == pytest.approx(loss, rel=1e-3)
    assert reports["consistency"] == pytest.approx(consistency, rel=1e-3)
    difference = tf.linalg.global_norm([a - b for a, b in zip(found, gradients, strict=True)])
    assert float(difference) < 0.01 * float(tf.linalg.global_norm(gradients))
    for ours, theirs in zip(
        method.classifier.non_trainable_variables,
        twin.classifier.non_trainable_variables,
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4, err_msg=ours.path)


def test_the_weight_rises_linearly_over_the_training_and_stays():
    method = build(NAME)
    steps = [0, 1, TOTAL_STEPS // 2, TOTAL_STEPS, 2 * TOTAL_STEPS]
    weights = [float(_at_step(method, step).consistency_weight()) for step in steps]
    assert weights == pytest.approx([0, 1, 5, 10, 10])
    method = build(NAME, consistency_ramp_steps=20, consistency_weight=4)
    assert float(_at_step(method, 5).consistency_weight()) == pytest.approx(1)


def _classifier():
    return keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3, name="logits")]
    )


def test_a_keras_users_fit_tells_the_length():
    images, labels = np.full((12, 4, 4, 1), 0.5, np.float32), np.zeros(12, np.int32)
    method = SingleStepConsistency(_classifier(), epsilon=0.1)
    assert float(method.consistency_weight()) == 10
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda step, logs: seen.append(float(method.consistency_weight()))
    )
    method.fit(images, labels, batch_size=4, epochs=2, verbose=0, callbacks=[watch])
    assert method.total_steps == 6
    np.testing.assert_allclose(seen, 10 * np.arange(6) / 6, rtol=1e-5)
    with pytest.warns(UserWarning, match="risen over the first fit; set consistency_ramp_steps"):
        method.fit(images, labels, batch_size=4, verbose=0)
    assert method.total_steps == 6


# Keras says so at the end of every data set of unknown length.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_fit_of_unknown_length_is_warned_of_unless_the_ramp_is_set():
    pairs = (np.full((4, 4, 1), 0.5, np.float32), np.int32(0))
    signature = (tf.TensorSpec((4, 4, 1)), tf.TensorSpec((), tf.int32))
    batches = tf.data.Dataset.from_generator(lambda: [pairs], output_signature=signature).batch(1)
    for steps in (None, 3):
        method = SingleStepConsistency(_classifier(), epsilon=0.1, consistency_ramp_steps=steps)
        method.compile(run_eagerly=True)
        warned = contextlib.nullcontext() if steps else pytest.warns(UserWarning, match="not known")
        with warned:
            method.fit(batches, shuffle=False, verbose=0)
