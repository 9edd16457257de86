"""What is done to the gradients of all replicas before an optimizer takes them."""

import tensorflow as tf


def clip_by_total_norm(gradients: list[tf.Tensor], limit: tf.Tensor) -> list[tf.Tensor]:
    """Scales gradients so that their sum over the replicas has at most this l2 norm.

    Source: torch.nn.utils.clip_grad_norm_, which adds 1e-6 to the norm it divides by.

    Args:
      gradients: this replica's, of any shapes.
      limit: largest l2 norm of all of them together, scalar.

    Returns:
      The gradients times min(1, limit / (norm + 1e-6)).
    """
    context = tf.distribute.get_replica_context()
    norm = tf.linalg.global_norm(context.all_reduce(tf.distribute.ReduceOp.SUM, gradients))
    factor = tf.minimum(1.0, limit / (norm + 1e-6))
    return [factor * gradient for gradient in gradients]


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
