"""Where a climb stands: images, and the loss's gradient there."""

from typing import NamedTuple

import tensorflow as tf

from fsgan_tf.norms.base import per_example


class Point(NamedTuple):
    """Images and the loss's gradient there, both float32 `[b, h, w, c]`."""

    pixels: tf.Tensor
    gradient: tf.Tensor


def select(condition: tf.Tensor, chosen: Point, other: Point) -> Point:
    """`chosen` where bool `[b]` `condition`, else `other`."""
    mask = per_example(condition, chosen.pixels)
    return Point(*(tf.where(mask, a, b) for a, b in zip(chosen, other, strict=True)))
