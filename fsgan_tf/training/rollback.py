"""Going back to the last good checkpoint after NaN or infinity."""

from __future__ import annotations

import dataclasses
import sys

from fsgan_tf.errors import NonFiniteError, RunError
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.settings import MAX_ROLLBACKS
from fsgan_tf.training.setup import Training


class Rollbacks:
    """Counts how often a training went back to each of its checkpoints."""

    def __init__(self, training: Training):
        """Of this training."""
        self._training = training
        self._tries: dict[tuple[int, int], int] = {}

    def go_back(self, progress: Progress, error: NonFiniteError) -> Progress:
        """Restores the last good checkpoint; from there on, draws and data order are others.

        Args:
          progress: where the failed attempt started.
          error: what happened.

        Returns:
          The checkpoint's progress, with one rollback more.

        Raises:
          RunError: `--on_nan=stop`, or too many attempts from this checkpoint.
        """
        checkpoints = self._training.run.checkpoints
        told = f"{error}; the last good checkpoint is {checkpoints.newest_file()}"
        rolls_back = self._training.settings.on_nan == "rollback"
        restored = checkpoints.restore(self._training.method) if rolls_back else None
        if restored is None:
            raise RunError(
                f"{told}; --on_nan=rollback resumes from it with other random draws; a smaller "
                "learning rate needs another --run_dir"
            ) from error
        place = (restored.epoch, restored.step_in_epoch)
        self._tries[place] = self._tries.get(place, 0) + 1
        if self._tries[place] > MAX_ROLLBACKS:
            raise RunError(
                f"{told}; gave up after {MAX_ROLLBACKS} rollbacks to it; a smaller "
                "learning rate needs another --run_dir"
            ) from error
        print(f"warning: {told}; resuming from it with other random draws", file=sys.stderr)
        return dataclasses.replace(restored, rollbacks=progress.rollbacks + 1)


def seed_after(rollbacks: int, seed: int) -> int:
    """The seed of draws and data order after so many rollbacks: another each time, within int32."""
    return (seed + 1_000_003 * rollbacks) % 2**31 if rollbacks else seed
