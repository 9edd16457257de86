"""The gradient of a loss by the images, which every adversary that sees labels climbs."""

from collections.abc import Callable

import tensorflow as tf

from fsgan_tf.methods.parts.losses import smoothed_cross_entropy


def input_gradient(
    classifier: Callable[..., tf.Tensor],
    images: tf.Tensor,
    labels: tf.Tensor,
    *,
    training: bool,
    loss_fn: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = smoothed_cross_entropy,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The classifier's answers, and the gradient of the summed loss by the images.

    Of the sum, not of the mean: the mean's factor 1/b changes no sign and cancels where the
    gradient is normalised, but in float16 it turns small entries into zeros.

    Args:
      classifier: images to logits; takes `training`.
      images: float32 `[b, h, w, c]`.
      labels: int32 `[b]`, or whatever `loss_fn` compares the logits with.
      training: the classifier's mode.
      loss_fn: labels and logits to a loss an example, `[b]`.

    Returns:
      Logits `[b, K]`, and the gradient, float32 `[b, h, w, c]`, a constant.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = classifier(images, training=training)
        losses = loss_fn(labels, logits)
    return logits, tf.stop_gradient(tape.gradient(losses, images))
