"""What a person watching the epochs would be alarmed by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from fsgan_tf.training.callbacks.generator_warnings import warnings_of_generator
from fsgan_tf.training.callbacks.progress_bar import say
from fsgan_tf.training.callbacks.robust_accuracy import MULTI_STEP, ONE_STEP

Row = dict[str, Any]


class Warnings(keras.callbacks.Callback):
    """Prints a warning where an epoch's figures show that robustness will not come, or is gone."""

    def __init__(self, earlier: Sequence[Row] = ()):
        """Takes the figures of the epochs before, where a training is resumed."""
        super().__init__()
        self._rows = list(earlier)

    def set_model(self, model: keras.Model) -> None:
        """Takes the method; the figures of another one are dropped."""
        if self.model is not None and model is not self.model:
            self._rows = []
        super().set_model(model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Judges the epoch's figures, which the callbacks before this one have added."""
        del epoch
        row = dict(logs)
        for warning in warnings_of(self._rows, row, getattr(self.model, "settings", None)):
            say(f"warning: {warning}")
        self._rows.append(row)


def warnings_of(earlier: Sequence[Row], row: Row, settings: Any = None) -> list[str]:
    """What these figures warn of.

    Args:
      earlier: rows of metrics.jsonl before this epoch.
      row: of this epoch; figures that are not in it are not judged.
      settings: of the method; without them everything is judged.

    Returns:
      One line each, telling what is seen and what it means.
    """
    overfitting = _overfitting(earlier, row)
    return warnings_of_generator(row, settings) + ([overfitting] if overfitting else [])


def _overfitting(earlier: Sequence[Row], row: Row) -> str | None:
    if not {"accuracy_on_adversarial", "one_step_accuracy", "robust_accuracy"} <= set(row):
        return None
    one_step, multi_step = row["one_step_accuracy"], row["robust_accuracy"]
    attacked = [seen for seen in earlier if {"one_step_accuracy", "robust_accuracy"} <= set(seen)]
    best = max(attacked, key=lambda seen: seen["robust_accuracy"], default=None)
    fell = (
        best is not None
        and best["robust_accuracy"] - multi_step > 0.1
        and multi_step < 0.5 * best["robust_accuracy"]
        and one_step > 0.8 * best["one_step_accuracy"]
    )
    if not (fell or one_step - multi_step > max(0.2, multi_step)):
        return None
    return (
        f"{ONE_STEP} accuracy holds at {one_step:.3f} while {MULTI_STEP} accuracy is "
        f"{multi_step:.3f}: catastrophic overfitting; the classifier withstands only the "
        "one-step adversary that it trains against"
    )
