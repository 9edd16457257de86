"""Losses of training, one value an example, so that they are scaled in one place."""

import numpy as np
import tensorflow as tf


def smoothed_targets(labels: tf.Tensor, num_classes: int, label_smoothing: float) -> tf.Tensor:
    """Feature-Scatter's label smoothing: 1-d on the true class, d/(K-1) on each other.

    Source: FeatureScatter at 77e9140, `utils.py` (`label_smoothing`) with `ls_factor` d = 0.5.
    Keras' `label_smoothing=d` leaves 1 - d + d/K on the true class instead.

    Args:
      labels: int `[b]`.
      num_classes: K.
      label_smoothing: d, within [0, 1).

    Returns:
      float32 `[b, K]` whose rows sum to 1.
    """
    return tf.one_hot(
        labels,
        num_classes,
        on_value=1.0 - label_smoothing,
        off_value=label_smoothing / (num_classes - 1),
    )


def smoothed_cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Cross-entropy of logits against smoothed labels.

    Args:
      labels: int `[b]`.
      logits: float32 `[b, K]`.
      label_smoothing: see `smoothed_targets`; 0 is plain cross-entropy.

    Returns:
      float32 `[b]`, in nats; NaN where a label is none of the K.
    """
    labels, logits = tf.convert_to_tensor(labels), tf.cast(logits, tf.float32)
    num_classes = logits.shape[-1]
    targets = smoothed_targets(labels, num_classes, label_smoothing)
    losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    return tf.where((labels >= 0) & (labels < num_classes), losses, np.nan)


def is_correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Which int32 `[b]` labels are the largest of the `[b, K]` logits; bool `[b]`."""
    return tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)


def accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Share of int `[b]` labels that are the largest of the `[b, K]` logits; float32 scalar."""
    return tf.reduce_mean(tf.cast(is_correct(labels, logits), tf.float32))


def squared_difference(logits: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of two batches of logits, scalar float32.

    Args:
      logits: `[b, K]`, of any floating type.
      others: `[b, K]`, as the first.
    """
    return tf.reduce_mean(tf.square(tf.cast(logits, tf.float32) - tf.cast(others, tf.float32)))


def diversity(
    perturbations_1: tf.Tensor,
    perturbations_2: tf.Tensor,
    latents_1: tf.Tensor,
    latents_2: tf.Tensor,
) -> tf.Tensor:
    """Mode-seeking ratio mean|perturbation_1 - perturbation_2| / mean|z_1 - z_2|; FS-GAN eq. 5.

    Source of the form (a ratio per example, to be ascended): L2L-DA at 07c64bc,
    `adv_defence/trainer.py`. MSGAN minimises the inverse of one batch-wide ratio instead.

    Args:
      perturbations_1: float32 `[b, h, w, c]`.
      perturbations_2: float32 `[b, h, w, c]`.
      latents_1: float32 `[b, d]`.
      latents_2: float32 `[b, d]`.

    Returns:
      float32 `[b]`, at least 0, in the perturbations' unit.
    """
    perturbation_distance = tf.reduce_mean(tf.abs(perturbations_1 - perturbations_2), [1, 2, 3])
    latent_distance = tf.reduce_mean(tf.abs(latents_1 - latents_2), axis=1)
    # As in the source: keeps the ratio finite for equal latents.
    return perturbation_distance / (latent_distance + 1e-8)
