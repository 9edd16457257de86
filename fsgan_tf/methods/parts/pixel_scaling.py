"""Images as a generator takes them."""

import tensorflow as tf

# Pixels of natural images have a standard deviation of about a quarter.
_MEAN, _DEVIATION = 0.5, 0.25


def unit_scale(images: tf.Tensor) -> tf.Tensor:
    """Pixels of [0, 1] about zero, with a deviation of about one; of the images' shape."""
    return (images - _MEAN) / _DEVIATION
