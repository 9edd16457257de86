"""Which class a targeted attack aims at."""

import tensorflow as tf


def likeliest_wrong_class(logits: tf.Tensor, labels: tf.Tensor, rank: int) -> tf.Tensor:
    """The class of the `rank`-th largest logit but the true one's, from 0.

    Args:
      logits: float32 `[b, k]`.
      labels: int32 `[b]`.
      rank: below k - 1.

    Returns:
      int32 `[b]`; of equal logits the lower class first.
    """
    is_true_class = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False)
    others = tf.where(is_true_class, -float("inf"), logits)
    return tf.math.top_k(others, rank + 1).indices[:, rank]
