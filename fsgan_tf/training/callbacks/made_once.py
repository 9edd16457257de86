"""What a callback makes of its method once, for all epochs."""

from __future__ import annotations

import abc
from typing import Any

import keras

from fsgan_tf.errors import UserError
from fsgan_tf.methods.base import TrainingMethod


class MadeOnce(keras.callbacks.Callback, abc.ABC):
    """A callback that traces or compiles something of its method, and anew for another method."""

    _made: Any = None

    @abc.abstractmethod
    def make(self) -> Any:
        """What is made of `self.model`."""

    @property
    def made(self) -> Any:
        """What was made of the method that is there."""
        if self._made is None:
            self._made = self.make()
        return self._made

    def set_model(self, model: keras.Model) -> None:
        """Takes the method; what was made of another one is dropped.

        Raises:
          UserError: it is a model of another kind, which has no threat model.
        """
        if not isinstance(model, TrainingMethod):
            raise UserError(
                f"{type(self).__name__} is for fit of a training method, such as PGDAT(model, "
                "epsilon=8 / 255); fsgan_tf.evaluation.evaluate measures any other model"
            )
        if model is not self.model:
            self._made = None
        super().set_model(model)
