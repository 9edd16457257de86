"""One line an epoch on the terminal."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from fsgan_tf.training.callbacks.progress_bar import say
from fsgan_tf.training.callbacks.robust_accuracy import MULTI_STEP, ONE_STEP


class EpochLine(keras.callbacks.Callback):
    """Prints an epoch's loss, accuracies, rate and the time left."""

    def __init__(self, epochs: int):
        """Takes the number of epochs of the whole training."""
        super().__init__()
        self._epochs = epochs
        self._started = 0.0
        self._seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        del epoch, logs
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Prints the line, with the figures that the callbacks before this one have added."""
        self._seconds.append(time.monotonic() - self._started)
        left = float(np.mean(self._seconds)) * (self._epochs - epoch - 1)
        say(f"epoch {epoch + 1}/{self._epochs}  {described(logs, left)}")


def described(figures: dict[str, Any], seconds_left: float) -> str:
    """An epoch's figures in words; those that are not there are left out."""
    parts = []
    if "loss" in figures:
        parts.append(f"loss {figures['loss']:.3f}")
    shown = {
        "clean": "clean_accuracy",
        ONE_STEP: "one_step_accuracy",
        MULTI_STEP: "robust_accuracy",
    }
    accuracies = [f"{word} {figures[key]:.3f}" for word, key in shown.items() if key in figures]
    if accuracies:
        parts.append("validation: " + " ".join(accuracies))
    if "images_per_second" in figures:
        parts.append(f"{figures['images_per_second']:.0f} img/s")
    return "  ".join([*parts, f"{tqdm.format_interval(seconds_left)} left"])
