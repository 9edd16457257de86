"""Stateless random draws that are the same in a graph, eagerly, and compiled by XLA.

TensorFlow's own float draws differ under XLA (2.21), even with the algorithm named; its integer
draws do not, so these are made of integers.
"""

import math

import tensorflow as tf


def uniform(shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
    """Uniform in (0, 1), in steps of 2^-23.

    Args:
      shape: of the result.
      seed: int32 or int64 `[2]`.

    Returns:
      float32 of that shape; never 0 and never 1.
    """
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.uint32, alg="philox")
    mantissa = tf.cast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), tf.float32)
    return (mantissa + 0.5) * 2.0**-23


def normal(shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
    """Standard normal, by inversion of `uniform`.

    Args:
      shape: of the result.
      seed: int32 or int64 `[2]`.

    Returns:
      float32 of that shape, within 5.4 of 0.
    """
    return math.sqrt(2) * tf.math.erfinv(2 * uniform(shape, seed) - 1)


def split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` seeds, int `[2]` each, from one."""
    return tf.unstack(tf.random.split(seed, count, alg="philox"))
