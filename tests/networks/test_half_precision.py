"""Attacks on networks in float16 climb as they do in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.evaluation.run_and_diagnose import evaluate
from fsgan_tf.models.keras_files import load_keras_model
from fsgan_tf.models.saved_models import load_saved_model
from fsgan_tf.networks.half_precision import computes_in_float16, with_scaled_gradients

layers = keras.layers


def _network(dtype):
    """So confident that many gradients of its cross-entropy are below what float16 holds."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(16, 3, activation="relu", dtype=dtype),
            layers.Flatten(dtype=dtype),
            layers.Dense(5, dtype=dtype),
        ]
    )
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([60 * kernel, bias])
    return model


@pytest.fixture(scope="module")
def exact():
    return _network("float32")


@pytest.fixture(scope="module")
def half(exact):
    model = _network("float16")
    model.set_weights(exact.get_weights())
    return model


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).random((32, 8, 8, 3)).astype(np.float32)


def _gradient(logits_fn, pixels, labels):
    @tf.function(autograph=False)
    def gradient(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            logits = tf.cast(logits_fn(images), tf.float32)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tape.gradient(loss, images)

    return gradient(tf.constant(pixels)).numpy()


def test_scaled_gradients_are_those_of_float32(exact, half, pixels):
    labels = exact(pixels).numpy().argmax(axis=1)
    expected = _gradient(exact, pixels, labels)
    plain = _gradient(half, pixels, labels)
    scaled = _gradient(with_scaled_gradients(half), pixels, labels)
    assert np.mean(np.sign(plain) == np.sign(expected)) < 0.9
    assert np.mean(np.sign(scaled) == np.sign(expected)) > 0.99
    sizes = [np.abs(gradient).max(axis=(1, 2, 3)) for gradient in (scaled, expected)]
    np.testing.assert_allclose(*sizes, rtol=0.05)


def test_no_gradient_stays_none(pixels):
    flat = with_scaled_gradients(lambda x: tf.round(x[:, 0, 0]))
    assert not _gradient(flat, pixels, np.zeros(32, int)).any()


def _accuracies(classifier, pixels, labels):
    result = evaluate(classifier, pixels, labels, epsilon=0.02, attacks=["pgd20"])
    return result.clean_accuracy, result.worst_case_accuracy


@pytest.mark.parametrize("given", ["model", "function", "file", "saved_model"])
def test_they_are_used_however_the_network_comes(given, exact, half, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("fsgan_tf.evaluation.checks._CHECKS", ())
    labels = exact(pixels).numpy().argmax(axis=1)
    if given == "file":
        half.save(tmp_path / "m.keras")
        classifier = load_keras_model(str(tmp_path / "m.keras")).logits_fn
    elif given == "saved_model":
        half.export(str(tmp_path / "m"), verbose=False)
        classifier = load_saved_model(str(tmp_path / "m")).logits_fn
    else:
        classifier = half if given == "model" else (lambda x: half(x, training=False))
    clean, robust = _accuracies(classifier, pixels, labels)
    assert clean > 0.9
    assert abs(robust - _accuracies(exact, pixels, labels)[1]) < 0.1


def test_the_checks_take_gradients_outside_of_a_function(half, pixels):
    labels = half(pixels).numpy().argmax(axis=1)
    result = evaluate(half, pixels[:8], labels[:8], epsilon=0.02, attacks=["fgsm"], checks="fast")
    assert {check.name: check.verdict for check in result.checks}["gradients_exist"] == "pass"


def test_which_models_are_in_float16(exact, half):
    assert computes_in_float16(half)
    assert not computes_in_float16(exact)
    assert computes_in_float16(keras.Sequential([keras.Input((8, 8, 3)), half]))
