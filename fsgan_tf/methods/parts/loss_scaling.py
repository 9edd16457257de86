"""What Keras' loss scaling needs where several replicas train together."""

import tensorflow as tf


def agree_on_overflow(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Makes every replica's gradients NaN where those of any replica are not finite.

    `LossScaleOptimizer` leaves a step out where the first replica's own gradients overflow, and
    adds those of all replicas only later: it would apply an infinity of another one.

    Args:
      gradients: this replica's, of any shapes; None for a variable that has none.
    """
    there = [gradient for gradient in gradients if gradient is not None]
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in there])
    overflows = tf.distribute.get_replica_context().all_reduce(
        tf.distribute.ReduceOp.SUM, tf.cast(~finite, tf.float32)
    )
    return [
        None if gradient is None else tf.where(overflows > 0, float("nan"), gradient)
        for gradient in gradients
    ]
