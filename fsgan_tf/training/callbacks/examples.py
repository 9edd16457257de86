"""Held-out images as a method takes them."""

import numpy as np
import tensorflow as tf

from fsgan_tf.data.pixels import unit


def as_tensors(images: np.ndarray, labels: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """float32 `[b, h, w, c]` images in [0, 1] and int32 `[b]` labels."""
    return tf.constant(unit(images), tf.float32), tf.constant(labels, tf.int32)
