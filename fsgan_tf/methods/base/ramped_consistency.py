"""A weight on the consistency of logits that rises over the training."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import tensorflow as tf

from fsgan_tf.methods.base.training_method import TrainingMethod
from fsgan_tf.methods.parts.settings import RampedConsistencySettings


class RampedConsistency(TrainingMethod):
    """A method of which the weight lambda rises linearly, as its `consistency_weight` says.

    Attributes:
      total_steps: of the training, over which lambda rises unless `consistency_ramp_steps` says
        otherwise: those of the first `fit` if nobody set it. lambda is full where it is not known.
      of_first_fit: whether `total_steps` are those of the first `fit` alone.
    """

    settings: RampedConsistencySettings
    of_first_fit = False

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
        method = self.model
        if method.settings.consistency_ramp_steps:
            return
        if method.total_steps is None and self.params["steps"]:
            method.set_total_steps(self.params["epochs"] * self.params["steps"])
            method.of_first_fit = True
            # `fit` has made its function before callbacks are told.
            method.make_train_function()
        elif method.total_steps is None:
            _warn("the number of steps is not known")
        elif method.of_first_fit:
            _warn("it has risen over the first fit")


def _warn(reason: str) -> None:
    """Python shows the same warning once."""
    warnings.warn(
        f"the weight of the consistency is full from the first step of this fit on, since "
        f"{reason}; set consistency_ramp_steps to the steps over which it shall rise",
        stacklevel=2,
    )
