"""The classifier as attacks see it."""

import contextlib
import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.networks.fused_normalization import with_fused_normalization
from fsgan_tf.networks.half_precision import computes_in_float16, with_scaled_gradients

LogitsFn = Callable[[tf.Tensor], tf.Tensor]


class AttackedClassifier:
    """A classifier compiled once, to be attacked and to judge what attacks found.

    Attributes:
      logits: compiled; float32 `[b, h, w, c]` images in [0, 1] to float32 `[b, k]` logits. This is
        what attacks climb: of a Keras model, a faster view of it with fused normalisation.
      given_logits: the same of the classifier as it was given, with nothing rewritten. Whether an
        example is misclassified is decided by these.
      device: where it runs; None leaves that to TensorFlow.
      differentiable: whether it has gradients at all; without them only some attacks can be run,
        and the checks that climb are skipped.
    """

    def __init__(
        self,
        logits_fn: LogitsFn | keras.Model,
        device: str | None = None,
        *,
        differentiable: bool = True,
    ):
        """Wraps a classifier.

        Args:
          logits_fn: float32 `[b, h, w, c]` images in [0, 1] to `[b, k]` logits, in inference mode;
            or a Keras model, which is then called with `training=False`. It is traced with an open
            b.
          device: that holds its variables, to run it there.
          differentiable: False of what is known to have no gradients, as a LiteRT file.
        """
        self.device, self.differentiable = device, differentiable
        if not isinstance(logits_fn, keras.Model):
            self.logits = self.given_logits = _compiled(logits_fn)
            return
        self.given_logits = _compiled(_inference(logits_fn))
        self.logits = self.given_logits
        # Of functional and sequential models the layers tell all they do; a subclass may do more.
        if type(logits_fn).__module__.startswith("keras.src.models."):
            self.logits = _compiled(_inference(with_fused_normalization(logits_fn)))

    def loss_and_gradient(
        self, images: tf.Tensor, loss_fn: Callable[[tf.Tensor], tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Logits, losses and their gradient in one pass forward and back.

        Args:
          images: float32 `[b, h, w, c]`.
          loss_fn: logits to one loss an example, `[b]`.

        Returns:
          Logits `[b, k]`, losses `[b]` and the gradient `[b, h, w, c]`, which is zero where the
          classifier breaks it (rounding, argmax): attacks then find nothing, and a check says so.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            # A SavedModel may not tell its rank, which a loop must know.
            logits = tf.ensure_shape(self.logits(images), [None, None])
            losses = loss_fn(logits)
        gradient = tape.gradient(losses, images, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # A classifier's own gradient function may not tell its shape.
        return logits, losses, tf.ensure_shape(gradient, images.shape)

    def on_its_device(self) -> contextlib.AbstractContextManager:
        """A scope of which TensorFlow's operations run on `device`."""
        return tf.device(self.device) if self.device else contextlib.nullcontext()


def _inference(model: keras.Model) -> LogitsFn:
    logits_fn = functools.partial(model, training=False)
    return with_scaled_gradients(logits_fn) if computes_in_float16(model) else logits_fn


def _compiled(logits_fn: LogitsFn) -> LogitsFn:
    @tf.autograph.experimental.do_not_convert
    def float32_logits(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(logits_fn(images), tf.float32)

    return for_any_batch_size(float32_logits)


def is_misclassified(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Whether the largest logit is not the true class's.

    Args:
      logits: float32 `[b, k]`.
      labels: int32 `[b]`.

    Returns:
      bool `[b]`; True where a logit is NaN, which is not an answer.
    """
    # Not by `!=`, which forgets the shape where one of the two sizes is open.
    wrong = tf.not_equal(tf.argmax(logits, axis=1, output_type=labels.dtype), labels)
    return wrong | tf.reduce_any(tf.math.is_nan(logits), axis=1)
