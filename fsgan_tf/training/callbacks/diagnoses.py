"""Whether a method's own adversary works."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from fsgan_tf.training.callbacks.examples import as_tensors
from fsgan_tf.training.callbacks.made_once import MadeOnce

_BATCHES = 4


class Diagnoses(MadeOnce):
    """Adds the means of `TrainingMethod.diagnose` over a few held-out batches to the figures."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, batch_size: int, seed: int = 0):
        """Takes the held-out images.

        Args:
          images: `[n, h, w, c]`, uint8 in [0, 255] or float32 in [0, 1].
          labels: whole numbers `[n]`.
          batch_size: as the method trains with: optimal transport depends on it. Only full
            batches are diagnosed.
          seed: of the method's random draws.
        """
        super().__init__()
        self._images, self._labels = images, labels
        self._batch_size = min(batch_size, len(images))
        self._seed = seed

    def make(self) -> Any:
        """The trace of the diagnoses."""
        return tf.function(self.model.diagnose, autograph=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Measures and adds the figures."""
        del epoch
        logs.update(self.measure())

    def measure(self) -> dict[str, float]:
        """The diagnoses of the method as it is now."""
        collected: dict[str, list[float]] = {}
        for index in range(min(_BATCHES, len(self._images) // self._batch_size)):
            rows = slice(index * self._batch_size, (index + 1) * self._batch_size)
            batch = as_tensors(self._images[rows], self._labels[rows])
            for name, value in self.made(*batch, tf.constant([self._seed, 0])).items():
                collected.setdefault(name, []).append(float(value))
        return {name: float(np.mean(values)) for name, values in collected.items()}
