"""Which epoch's classifier is the best so far."""

from __future__ import annotations

from typing import Any

import keras

from fsgan_tf.runs.directory import RunDirectory


class BestEpoch(keras.callbacks.Callback):
    """Adds `best_epoch` to an epoch's figures: that of the highest multi-step accuracy, from 0."""

    def __init__(self, run: RunDirectory):
        """Takes the run, whose earlier epochs count as far as their checkpoints are kept."""
        super().__init__()
        self._run = run

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Compares the epoch with the best before it; equal ones leave the earlier."""
        scores = self._run.metrics.robust_accuracies()
        scores.pop(epoch, None)
        best = self._run.checkpoints.best_epoch(scores)
        is_better = best is None or logs["robust_accuracy"] > scores[best]
        logs["best_epoch"] = epoch if is_better else best
