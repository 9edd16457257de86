"""How a gradient image, `[b, h, w, c]`, is scaled before a generator sees it."""

import tensorflow as tf


def unit_rms(gradients: tf.Tensor) -> tf.Tensor:
    """Unit root mean square an example: of the size of the other inputs at unit scale. Ours."""
    square = tf.reduce_mean(tf.square(gradients), axis=[1, 2, 3], keepdims=True)
    return gradients * tf.math.rsqrt(square + 1e-20)


def unit_channel_l2(gradients: tf.Tensor) -> tf.Tensor:
    """Unit l2 norm an example and channel; a channel of zeros stays zero.

    Source: YunseokJANG/l2l-da at 07c64bc, `adv_defence/trainer.py`, which adds 1e-15 to the
    entries inside the norm.
    """
    return gradients / tf.norm(gradients + 1e-15, axis=[1, 2], keepdims=True)


def unit_batch_max(gradients: tf.Tensor) -> tf.Tensor:
    """Largest absolute entry of the whole batch 1; a batch of zeros stays zero.

    Source: YuyangShi/Learning-to-Defend-by-Learning-to-Attack at 42c8798, `adv_loss.py`.
    """
    return tf.math.divide_no_nan(gradients, tf.reduce_max(tf.abs(gradients)))


NORMALIZATIONS = {
    "none": tf.identity,
    "rms": unit_rms,
    "channel_l2": unit_channel_l2,
    "batch_max": unit_batch_max,
    "sign": tf.sign,
}
