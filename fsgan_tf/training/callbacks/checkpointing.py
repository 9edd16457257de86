"""Saves what a training needs to resume, and stops it on request."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from fsgan_tf.devices import on_all_workers
from fsgan_tf.errors import NonFiniteError
from fsgan_tf.runs.checkpoints import Checkpoints, Progress
from fsgan_tf.training.stop_request import StopRequest


class Checkpointing(keras.callbacks.Callback):
    """Saves at the end of every epoch, and after the step in which a stop was requested.

    It stands last among the callbacks: a checkpoint means that all else of the epoch is written.
    Of several workers all stop at one step, and the chief saves.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        progress: Progress,
        *,
        stop: StopRequest,
        strategy: tf.distribute.Strategy,
        saves: bool,
        scores: Callable[[], Mapping[int, float]] = dict,
    ):
        """Takes where to save and when to stop.

        Args:
          checkpoints: where to save.
          progress: of the training so far.
          stop: asked after every step.
          strategy: of the training.
          saves: whether this process writes.
          scores: of the epochs, the best of which has its checkpoint kept.
        """
        super().__init__()
        self._checkpoints = checkpoints
        self._progress = progress
        self._stop = stop
        self._strategy = strategy
        self._saves = saves
        self._scores = scores
        self._first_step = progress.step_in_epoch
        self._epoch = progress.epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes note of where the epoch starts."""
        del logs
        self._epoch = epoch
        self._first_step = self._progress.step_in_epoch if epoch == self._progress.epoch else 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves and stops if asked to; after an epoch's last step `on_epoch_end` does.

        Raises:
          KeyboardInterrupt: a stop was requested.
        """
        del logs
        is_last = batch + 1 == self.params["steps"]
        if not is_last and self._must_stop():
            self._save(self._epoch, self._first_step + batch + 1)
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves; stops if asked to meanwhile.

        Raises:
          KeyboardInterrupt: a stop was requested.
          NonFiniteError: a variable is NaN or infinite.
        """
        del logs
        self._save(epoch + 1, 0)
        if self._must_stop():
            raise KeyboardInterrupt

    def _must_stop(self) -> bool:
        return any(on_all_workers(self._strategy, int(self._stop.requested)))

    def _save(self, epoch: int, step_in_epoch: int) -> None:
        progress = dataclasses.replace(self._progress, epoch=epoch, step_in_epoch=step_in_epoch)
        error = None
        try:
            self._checkpoints.save(self.model, progress, self._saves, self._scores())
        except NonFiniteError as caught:
            error = caught
        if any(on_all_workers(self._strategy, int(error is not None))):
            raise error or NonFiniteError("variables of another worker hold NaN or infinity")
