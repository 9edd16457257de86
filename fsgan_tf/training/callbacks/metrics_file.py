"""An epoch's figures in metrics.jsonl."""

from __future__ import annotations

from typing import Any

import keras

from fsgan_tf.runs.metrics import Metrics


class MetricsFile(keras.callbacks.Callback):
    """Appends an epoch's figures, with its number and its last step."""

    def __init__(self, metrics: Metrics):
        """Takes the file to append to."""
        super().__init__()
        self._metrics = metrics

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Appends the figures that the callbacks before this one have added.

        Raises:
          OSError: they cannot be written.
        """
        step = int(self.model.optimizer.iterations.numpy())
        figures = {name: float(value) for name, value in logs.items()}
        self._metrics.append({"epoch": epoch, "step": step, **figures})
