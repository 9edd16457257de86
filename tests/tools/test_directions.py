"""Directions: every row is what its name says, of the classifier that the run attacks."""

import types

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import stateless_random
from tests.commands import call
from tests.small_training import BATCH_SIZE, IMAGE_SHAPE, NUM_CLASSES, build
from tools import directions

SEED = 3


def _batch():
    random = np.random.default_rng(0)
    return types.SimpleNamespace(
        images=random.integers(0, 256, (BATCH_SIZE, *IMAGE_SHAPE), dtype=np.uint8),
        labels=random.integers(0, NUM_CLASSES, BATCH_SIZE).astype(np.int32),
    )


@pytest.fixture(scope="module")
def method():
    return build("fs_gan", epsilon=0.05)


@pytest.fixture(scope="module")
def rows(method):
    return directions.measure(method, [_batch()], SEED)


def _expected(method, batch):
    """Perturbed images of some rows, step by step."""
    images, labels = tf.constant(batch.images / 255, tf.float32), tf.constant(batch.labels)
    seed = tf.constant([SEED, 0])
    ball, clean = method.threat_model, method.attacked(images)
    noise_seed, _ = stateless_random.split(seed, 2)
    start = ball.project(images + ball.random_perturbation(images.shape, noise_seed), images)

    def gradient(perturbed, loss):
        with tf.GradientTape() as tape:
            tape.watch(perturbed)
            value = loss(method.attacked(perturbed))
        return tape.gradient(value, perturbed)

    def sign_step(perturbed, sign=1, loss=lambda logits: method.transport_cost(clean, logits)):
        step = sign * 0.05 * np.sign(gradient(perturbed, loss))
        return tf.constant(np.clip(images + step, 0, 1), tf.float32)

    def cross_entropy(logits):
        return tf.keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    return {
        "none": images,
        "start noise": start,
        "1 sign step": sign_step(start),
        "1 sign step, backwards": sign_step(start, -1),
        "2 sign steps": sign_step(sign_step(start)),
        "generator": method.perturb(images, labels, seed),
        "1 sign step on cross-entropy": sign_step(images, loss=cross_entropy),
    }


def test_each_row_is_the_distance_and_the_accuracy_of_its_images(method, rows):
    batch = _batch()
    clean = method.attacked(tf.constant(batch.images / 255, tf.float32))
    expected = _expected(method, batch)
    assert set(rows) == {*expected, "10 sign steps", "20 small steps"}
    for name, perturbed in expected.items():
        logits = method.attacked(perturbed)
        distance = float(method.transport_cost(clean, logits))
        assert rows[name]["ot"] == pytest.approx(distance, rel=1e-2, abs=1e-6), name
        right = np.argmax(logits, axis=1) == batch.labels
        assert rows[name]["accuracy"] == pytest.approx(right.mean()), name
    assert rows["1 sign step"]["ratio"] == 1
    assert rows["2 sign steps"]["ratio"] == pytest.approx(
        rows["2 sign steps"]["ot"] / rows["1 sign step"]["ot"]
    )


def test_many_small_steps_reach_further_than_the_noise(rows):
    assert rows["20 small steps"]["ot"] > 2 * rows["start noise"]["ot"]


def test_the_control_has_no_generator():
    control = build("fs_gan", generator_update="frozen_sign")
    assert "generator" not in directions.measure(control, [_batch()], SEED)


def test_a_run_is_needed(capsys):
    assert call(directions) == 2
    assert "--run_dir is missing" in capsys.readouterr().err
