"""How far training has moved a method's generator."""

from __future__ import annotations

from typing import Any

import keras

from fsgan_tf.methods.base import LearntAdversary


class GeneratorDisplacement(keras.callbacks.Callback):
    """Adds `generator_displacement` to an epoch's figures, where the method has a generator."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Measures and adds the figure."""
        del epoch
        if isinstance(self.model, LearntAdversary):
            logs["generator_displacement"] = self.model.generator_displacement()
