"""Ends a training whose losses are NaN or infinite."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from fsgan_tf.errors import NonFiniteError


class FiniteReports(keras.callbacks.Callback):
    """Ends the training at the first step that reports NaN or infinity.

    A step's reports are read while the next one runs, so that a GPU need not wait for the host.
    """

    def __init__(self) -> None:
        """Watches what `train_step` returns."""
        super().__init__()
        self._before: dict[str, Any] = {}
        self._steps = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Counts on from the steps done."""
        del logs
        self._steps = int(self.model.optimizer.iterations.numpy())
        self._before = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Checks the step before this one.

        Raises:
          NonFiniteError: it reported NaN or infinity.
        """
        del batch
        self._check()
        self._before = logs
        self._steps += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the last step.

        Raises:
          NonFiniteError: it reported NaN or infinity.
        """
        del epoch, logs
        self._check()

    def _check(self) -> None:
        values = {name: float(value) for name, value in self._before.items()}
        if not np.isfinite(list(values.values())).all():
            parts = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            raise NonFiniteError(
                f"step {self._steps} reports NaN or infinity (means of the epoch so far: {parts})"
            )
