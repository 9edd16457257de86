"""The classifier as attacks see it."""

import contextlib
import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from fsgan_tf.attacks.batches import for_any_batch_size
from fsgan_tf.networks.fused_normalization import with_fused_normalization
from fsgan_tf.networks.half_precision import computes_in_float16, with_scaled_gradients

LogitsFn = Callable[[tf.Tensor], tf.Tensor]


class AttackedClassifier:
    """A classifier wrapped once, so that neither TensorFlow nor CleverHans traces it again.

    CleverHans' one-step attack runs the classifier but returns only the next image. Its forward
    pass is the dear part of judging the image it started from, so `recording_logits_fn` leaves the
    logits of that pass in a variable, where the attack's loop reads them.

    Attributes:
      logits: compiled; float32 `[b, h, w, c]` images in [0, 1] to float32 `[b, k]` logits.
      recording_logits_fn: the same, not compiled, for `fast_gradient_method`; it stores what it
        returns in `recorded_logits`, and has a gradient, if only zero.
      recorded_logits: float32 `[b, k]` variable, logits of the last recording call.
      device: where it runs; None leaves that to TensorFlow.
    """

    def __init__(self, logits_fn: LogitsFn | keras.Model, device: str | None = None):
        """Wraps a classifier.

        Args:
          logits_fn: float32 `[b, h, w, c]` images in [0, 1] to `[b, k]` logits, in inference mode
            and differentiable; or a Keras model, which is then called with `training=False`. It
            is traced with an open b.
          device: that holds its variables, to run it there.
        """
        self.device = device
        with self.on_its_device():
            recorded = tf.Variable(tf.zeros([0, 0]), shape=[None, None], trainable=False)
        if isinstance(logits_fn, keras.Model):
            logits_fn = _inference(logits_fn)

        @tf.autograph.experimental.do_not_convert
        def float32_logits(images: tf.Tensor) -> tf.Tensor:
            return tf.cast(logits_fn(images), tf.float32)

        @tf.autograph.experimental.do_not_convert
        def recording(images: tf.Tensor) -> tf.Tensor:
            logits = float32_logits(images)
            recorded.assign(logits)
            # Where the classifier breaks the gradient (rounding, argmax), CleverHans would get
            # None and stop; a gradient of zero lets the checks say so.
            return logits + 0.0 * tf.reduce_sum(images)

        self.logits = for_any_batch_size(float32_logits)
        self.recording_logits_fn = recording
        self.recorded_logits = recorded

    def on_its_device(self) -> contextlib.AbstractContextManager:
        """A scope of which TensorFlow's operations run on `device`."""
        return tf.device(self.device) if self.device else contextlib.nullcontext()


def _inference(model: keras.Model) -> LogitsFn:
    """The model in inference mode, with fused normalisation where its layers tell all it does."""
    # Functional and sequential ones; a subclass may do more than its layers.
    if type(model).__module__.startswith("keras.src.models."):
        model = with_fused_normalization(model)
    logits_fn = functools.partial(model, training=False)
    return with_scaled_gradients(logits_fn) if computes_in_float16(model) else logits_fn


def is_misclassified(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Whether the largest logit is not the true class's.

    Args:
      logits: float32 `[b, k]`.
      labels: int32 `[b]`.

    Returns:
      bool `[b]`; True where a logit is NaN, since that is no answer.
    """
    wrong = tf.argmax(logits, axis=1, output_type=labels.dtype) != labels
    return wrong | tf.reduce_any(tf.math.is_nan(logits), axis=1)
