"""The progress bar, and lines printed beside it."""

from __future__ import annotations

import sys
from typing import Any

import keras
from tqdm import tqdm

from fsgan_tf.evaluation.progress_bar import progress_bar


class ProgressBar(keras.callbacks.Callback):
    """A bar over all steps of the run, with rate and time left, where the output is a terminal."""

    def __init__(
        self,
        epochs: int,
        *,
        steps_per_epoch: int,
        images_per_step: int,
        images_per_epoch: int,
        done_steps: int = 0,
        shown: bool = True,
    ):
        """Starts the bar.

        Args:
          epochs: of the whole run.
          steps_per_epoch: of a whole epoch.
          images_per_step: over all replicas, of every step but the last of an epoch.
          images_per_epoch: of all its steps.
          done_steps: steps behind the run.
          shown: whether to show the bar.
        """
        super().__init__()
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._images_per_step, self._images_per_epoch = images_per_step, images_per_epoch
        self._done_steps = done_steps
        self._bar = progress_bar(
            total=epochs * images_per_epoch,
            initial=self._images(done_steps),
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            shown=shown,
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Names the epoch."""
        del logs
        self._bar.set_description(f"epoch {epoch + 1}/{self._epochs}")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves on by a step."""
        del batch, logs
        before = self._images(self._done_steps)
        self._done_steps += 1
        self._bar.update(self._images(self._done_steps) - before)

    def _images(self, steps: int) -> int:
        """Of the first steps of the training."""
        epochs, rest = divmod(steps, self._steps_per_epoch)
        return epochs * self._images_per_epoch + rest * self._images_per_step

    def close(self) -> None:
        """Ends the bar, also after an error."""
        self._bar.close()


def say(line: str) -> None:
    """Prints a line without breaking the bar."""
    tqdm.write(line)
    sys.stdout.flush()
