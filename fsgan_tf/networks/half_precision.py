"""Gradients through networks in float16, which holds nothing below 6e-8 and nothing above 65,504.

A loss's gradient by the logits of an image that is classified with confidence is far smaller than
that, and would be zero once it enters the network: an attack would stand still. Scaled on the way
in and back on the way out, as in mixed-precision training (Micikevicius et al., arXiv:1710.03740)
but for each example by its own power of two, it comes through whole.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from fsgan_tf.networks.keras_settings import keras

LogitsFn = Callable[[tf.Tensor], tf.Tensor]

# The largest entry of each example's gradient by the logits is scaled to about this: far from both
# of float16's ends, since it grows or shrinks further on its way to the image.
_LARGEST = 16.0


def computes_in_float16(model: keras.Model) -> bool:
    """Whether a layer of the model computes in float16."""
    return any(layer.compute_dtype == "float16" for layer in model._flatten_layers())


def with_scaled_gradients(logits_fn: LogitsFn) -> LogitsFn:
    """The same function, whose gradient by the images is computed scaled.

    Args:
      logits_fn: float32 `[b, h, w, c]` to `[b, k]` of any floating-point type; each row depends on
        its own image alone.

    Returns:
      float32 `[b, h, w, c]` to float32 `[b, k]`. Only its gradient by the images is known.
    """

    @tf.custom_gradient
    def scaled(images: tf.Tensor) -> Any:
        # Persistent: a gradient that is taken outside of a tf.function is traced more than once.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = tf.cast(logits_fn(images), tf.float32)

        def gradient(upstream: tf.Tensor, variables: Any = None) -> Any:
            scale = _scale(upstream)
            by_images = tape.gradient(logits, images, upstream * scale)
            if by_images is None:
                by_images = tf.zeros_like(images)
            by_images /= tf.reshape(scale, tf.concat([[-1], tf.ones_like(tf.shape(images)[1:])], 0))
            return (by_images, [None] * len(variables)) if variables else by_images

        return logits, gradient

    return scaled


def _scale(upstream: tf.Tensor) -> tf.Tensor:
    """A power of two for each row, so that dividing by it is exact; `[b, 1]`."""
    largest = tf.reduce_max(tf.abs(upstream), axis=1, keepdims=True)
    exponent = tf.math.floor(tf.math.log(_LARGEST / tf.maximum(largest, 1e-30)) / tf.math.log(2.0))
    return tf.where(largest > 0, tf.pow(2.0, tf.clip_by_value(exponent, -100.0, 100.0)), 1.0)
