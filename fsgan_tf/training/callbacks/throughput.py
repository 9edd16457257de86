"""How fast a training is."""

from __future__ import annotations

import time
from typing import Any

import keras


class Throughput(keras.callbacks.Callback):
    """Adds `images_per_second` to an epoch's figures: of its steps, without what comes after."""

    def __init__(self, images_per_step: int, less_at_last: int = 0):
        """Takes the images of a step, over all replicas.

        Args:
          images_per_step: of every step but the last of an epoch.
          less_at_last: by how many that one has fewer.
        """
        super().__init__()
        self._less_at_last = less_at_last
        self._images_per_step = images_per_step
        self._started = 0.0
        self._steps = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        del epoch, logs
        self._steps = 0
        self._started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts steps, since an interrupted epoch has fewer."""
        del batch, logs
        self._steps += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Adds the epoch's rate to its figures."""
        del epoch
        seconds = time.monotonic() - self._started
        images = self._steps * self._images_per_step - self._less_at_last
        logs["images_per_second"] = images / seconds
