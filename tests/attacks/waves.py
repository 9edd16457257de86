"""A classifier with many local maxima, in TensorFlow and in NumPy with its gradient by hand."""

import numpy as np
import tensorflow as tf

from fsgan_tf import stateless_random


class Waves:
    """Logits A sin(F x) + b of the pixels x; b is a lead of class 0."""

    def __init__(self, num_pixels, num_classes, lead):
        generator = np.random.default_rng(5)
        self.frequencies = (3 * generator.normal(size=(num_pixels, 16))).astype(np.float32)
        self.amplitudes = (0.5 * generator.normal(size=(16, num_classes))).astype(np.float32)
        self.biases = np.eye(num_classes, dtype=np.float32)[0] * np.float32(lead)

    def logits(self, pixels):
        """Of a batch, in TensorFlow."""
        phases = tf.reshape(pixels, [-1, len(self.frequencies)]) @ self.frequencies
        return tf.sin(phases) @ self.amplitudes + self.biases

    def at(self, image):
        """Of one image, in NumPy: float64 logits, and what a gradient by them is by the pixels."""
        phases = image.ravel() @ self.frequencies
        logits = np.sin(phases) @ self.amplitudes + self.biases

        def by_pixels(by_logits):
            gradient = self.frequencies @ (np.cos(phases) * (self.amplitudes @ by_logits))
            return gradient.reshape(image.shape)

        return logits.astype(np.float64), by_pixels


def seeds(count, key=7):
    """A stateless seed for each of `count` examples."""
    return np.stack([np.full(count, key), np.arange(count)], axis=1).astype(np.int64)


def random_start(image, seed, epsilon):
    """A uniform draw from the ball, clipped to the pixel range, in NumPy."""
    uniform = stateless_random.uniform(list(image.shape), tf.constant(seed)).numpy()
    return np.clip(image + np.float32(epsilon) * (2 * uniform - 1), 0, 1)


def step(pixels, gradient, length, image, epsilon):
    """A sign step, projected to the ball and the pixel range."""
    moved = pixels + np.float32(length) * np.sign(gradient).astype(np.float32)
    eps = np.float32(epsilon)
    return np.clip(np.clip(moved, image - eps, image + eps), 0, 1)
