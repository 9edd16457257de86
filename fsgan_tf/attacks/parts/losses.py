"""The losses that attacks climb, one value an example, with CleverHans' keywords."""

import tensorflow as tf

_CONFIDENCE = 50.0


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy, CleverHans' own default.

    Args:
      labels: int32 `[b]`.
      logits: float32 `[b, k]`.

    Returns:
      float32 `[b]`, in nats.
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def margin(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Carlini and Wagner's margin, as climbed by projected gradient: -max(0, z_y - max z_j + 50).

    The l_inf attack that papers after Madry et al. call C&W: `cifar10_challenge/pgd_attack.py` of
    MadryLab and `attack_methods.py` of Feature-Scatter, both with confidence 50.

    Args:
      labels: int32 `[b]`.
      logits: float32 `[b, k]`, k at least 2.

    Returns:
      float32 `[b]`, in logits; at most 0.
    """
    return -tf.nn.relu(true_class_lead(labels, logits) + _CONFIDENCE)


def true_class_lead(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """By how much the true class leads: its logit less the largest other.

    Args:
      labels: int32 `[b]`.
      logits: float32 `[b, k]`, k at least 2.

    Returns:
      float32 `[b]`; below 0 where the example is misclassified.
    """
    true, other = true_and_largest_other(labels, logits)
    return true - other


def true_and_largest_other(labels: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The true class's score and the largest of the others.

    Args:
      labels: int32 `[b]`.
      scores: float32 `[b, k]`, k at least 2: logits or probabilities.

    Returns:
      Two float32 `[b]`.
    """
    is_true_class = tf.one_hot(labels, tf.shape(scores)[1], on_value=True, off_value=False)
    others = tf.where(is_true_class, scores.dtype.min, scores)
    return tf.gather(scores, labels, batch_dims=1), tf.reduce_max(others, axis=1)


def targeted_margin(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """By how much the target leads the true class: z_t - z_y.

    Args:
      logits: float32 `[b, k]`.
      labels: int32 `[b]`.
      targets: int32 `[b]`, wrong classes.

    Returns:
      float32 `[b]`, in logits.
    """
    return tf.gather(logits, targets, batch_dims=1) - tf.gather(logits, labels, batch_dims=1)


def targeted_dlr(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Targeted difference of logits ratio: -(z_y - z_t) / (z_pi1 - (z_pi3 + z_pi4) / 2 + 1e-12).

    z_pi1 >= z_pi2 >= ... are the sorted logits (arXiv:2003.01690, equation 7); shifting or scaling
    the logits changes nothing.

    Args:
      logits: float32 `[b, k]`, k at least 4.
      labels: int32 `[b]`.
      targets: int32 `[b]`, wrong classes.

    Returns:
      float32 `[b]`, no unit; above 0 where the target's logit is above the true class's.
    """
    first, _, third, fourth = tf.unstack(tf.math.top_k(logits, 4).values, axis=1)
    return targeted_margin(logits, labels, targets) / (first - 0.5 * (third + fourth) + 1e-12)


def dlr(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Difference of logits ratio: -(z_y - max_{i != y} z_i) / (z_pi1 - z_pi3 + 1e-12).

    arXiv:2003.01690, equation 6; z_pi1 >= z_pi2 >= ... are the sorted logits.

    Args:
      logits: float32 `[b, k]`, k at least 3.
      labels: int32 `[b]`.

    Returns:
      float32 `[b]`, no unit; above 0 where the image is misclassified.
    """
    first, _, third = tf.unstack(tf.math.top_k(logits, 3).values, axis=1)
    return -true_class_lead(labels, logits) / (first - third + 1e-12)
