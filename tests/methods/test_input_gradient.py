"""The gradient that adversaries climb, where half precision would lose it."""

import numpy as np
import tensorflow as tf

from fsgan_tf.methods.parts.input_gradient import input_gradient
from fsgan_tf.methods.parts.losses import smoothed_cross_entropy
from fsgan_tf.methods.parts.optimal_transport import scatter_gradient


def _float16(images, training=False):
    """Logits that are the pixels, through float16."""
    del training
    return tf.cast(tf.cast(images[:, 0, 0], tf.float16), tf.float32)


def test_a_confident_classifier_in_float16_keeps_its_gradient_in_any_batch():
    images = tf.constant(np.tile([[[[13.8, 0.0]]]], (64, 1, 1, 1)), tf.float32)
    labels = tf.zeros([64], tf.int32)
    logits, gradient = input_gradient(_float16, images, labels, training=False)
    np.testing.assert_allclose(gradient[0, 0, 0], [-1e-6, 1e-6], rtol=0.1)
    np.testing.assert_array_equal(logits, _float16(images))
    with tf.GradientTape() as tape:
        tape.watch(images)
        mean = tf.reduce_mean(smoothed_cross_entropy(labels, _float16(images)))
    assert not np.any(tape.gradient(mean, images))


def test_the_gradient_is_a_constant():
    images = tf.constant(np.random.default_rng(0).random((2, 1, 1, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        _, gradient = input_gradient(_float16, images, tf.constant([0, 1]), training=False)
        squared = tf.reduce_sum(gradient**2)
    assert tape.gradient(squared, images) is None


def test_the_distance_of_large_logits_in_float16_keeps_its_gradient():
    draws = np.random.default_rng(0)
    clean = draws.normal(0, 1e4, (48, 10)).astype(np.float32)
    images = tf.constant((clean + draws.normal(0, 1e3, clean.shape))[:, None, None], tf.float32)
    gradient, _ = scatter_gradient(_float16, tf.constant(clean), images)
    exact, _ = scatter_gradient(lambda x: x[:, 0, 0], tf.constant(clean), images)
    assert np.mean(np.sign(gradient) == np.sign(exact)) > 0.95
    error = np.linalg.norm(gradient - exact) / np.linalg.norm(exact)
    assert error < 0.05
