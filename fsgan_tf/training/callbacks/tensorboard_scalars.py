"""An epoch's figures in TensorBoard."""

from __future__ import annotations

from typing import Any

import keras

from fsgan_tf.training.tensorboard_log import TensorBoardLog, write_scalars


class TensorBoardScalars(keras.callbacks.Callback):
    """Writes an epoch's figures to event files."""

    def __init__(self, log: TensorBoardLog):
        """Takes the event files to write to."""
        super().__init__()
        self._log = log

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Writes the figures that the callbacks before this one have added.

        Raises:
          OSError: they cannot be written.
        """
        del epoch
        step = int(self.model.optimizer.iterations.numpy())
        self._log.write("epoch", step, lambda: write_scalars(logs))
