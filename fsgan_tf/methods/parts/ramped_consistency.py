"""A weight on the consistency of logits that rises over the training."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from fsgan_tf.methods.base import TrainingMethod


class RampedConsistency(TrainingMethod):
    """A method of which the weight lambda rises linearly, as its `consistency_weight` says.

    Attributes:
      total_steps: of the training, over which lambda rises unless `consistency_ramp_steps` says
        otherwise: those of the first `fit` if nobody set it. lambda is full where it is not known.
    """

    settings: Any

    def fit(
        self, *arguments: Any, callbacks: Any = None, **options: Any
    ) -> keras.callbacks.History:
        """Keras' `fit`."""
        given = callbacks if isinstance(callbacks, (list, tuple)) else filter(None, [callbacks])
        return super().fit(*arguments, callbacks=[_Length(), *given], **options)

    def consistency_weight(self) -> tf.Tensor:
        """The weight lambda at this step; float32 scalar."""
        steps = self.settings.consistency_ramp_steps or self.total_steps
        share = 1.0
        if steps:
            share = tf.minimum(tf.cast(self.classifier_optimizer.iterations, tf.float32) / steps, 1)
        return tf.cast(self.settings.consistency_weight * share, tf.float32)


class _Length(keras.callbacks.Callback):
    """Tells the method how many steps its training has, which Keras tells callbacks alone."""

    def on_train_begin(self, logs: Any = None) -> None:
        del logs
        if self.model.total_steps is None and self.params["steps"]:
            self.model.set_total_steps(self.params["epochs"] * self.params["steps"])
            # `fit` has made its function before callbacks are told.
            self.model.make_train_function()
