"""Held-out images as a method takes them."""

import numpy as np
import tensorflow as tf


def as_tensors(images: np.ndarray, labels: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """float32 `[b, h, w, c]` images in [0, 1] and int32 `[b]` labels."""
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / np.float32(255)
    return tf.constant(images, tf.float32), tf.constant(labels, tf.int32)
