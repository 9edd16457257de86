"""The best image that a search without gradients has found: that of the lowest margin."""

from typing import NamedTuple

import tensorflow as tf

from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.losses import true_class_lead


class Best(NamedTuple):
    """Of each example's candidates the first misclassified one, else that of the lowest margin.

    Attributes:
      images: float32 `[b, h, w, c]`.
      margin: float32 `[b]`, by how much the true class leads there.
      success: bool `[b]`, whether they are misclassified.
    """

    images: tf.Tensor
    margin: tf.Tensor
    success: tf.Tensor


def unjudged(images: tf.Tensor) -> Best:
    """Images that any candidate beats."""
    shape = tf.shape(images)[:1]
    return Best(images, tf.fill(shape, float("inf")), tf.zeros(shape, tf.bool))


def judged(
    best: Best, candidates: tf.Tensor, labels: tf.Tensor, classifier: AttackedClassifier
) -> Best:
    """The candidates where they lower the margin; a first success stays for good."""
    wrong, margins = classifier.judge(
        candidates, labels, lambda logits: true_class_lead(labels, logits)
    )
    better = ~best.success & (wrong | (margins < best.margin))
    return Best(
        images=tf.where(better[:, None, None, None], candidates, best.images),
        margin=tf.where(better, margins, best.margin),
        success=best.success | wrong,
    )
