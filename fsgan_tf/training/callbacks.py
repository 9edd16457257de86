"""What happens around the steps of a training: learning rates, progress, checkpoints."""

from __future__ import annotations

import dataclasses
import signal
import sys
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from fsgan_tf.devices import on_all_workers
from fsgan_tf.errors import NonFiniteError
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory


class LearningRates(keras.callbacks.Callback):
    """Multiplies learning rates by a factor at given epochs (from 0), as the references do."""

    def __init__(
        self,
        method: TrainingMethod,
        initial: dict[str, float],
        constant: tuple[str, ...],
        decay_epochs: tuple[int, ...],
        decay_factor: float,
    ):
        """Args: `initial` rates by network, `constant` networks, epochs from 0, the factor."""
        super().__init__()
        self._constant = constant
        self._optimizers = method.optimizers_by_network
        self._initial = initial
        self._decay_epochs = decay_epochs
        self._decay_factor = decay_factor

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the rates of this epoch; a pure function of it, so that a resumed run has them."""
        del logs
        decays = sum(epoch >= decay for decay in self._decay_epochs)
        for network, optimizer in self._optimizers.items():
            factor = 1.0 if network in self._constant else self._decay_factor**decays
            optimizer.learning_rate = self._initial[network] * factor


class ProgressBar(keras.callbacks.Callback):
    """A bar over all steps of the run, with rate and time left, where the output is a terminal."""

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        done_steps: int,
        images_per_step: int,
        shown: bool = True,
    ):
        """Args: the run's size, steps behind it, images in a step over all replicas, `shown`."""
        super().__init__()
        self._epochs = epochs
        self._images_per_step = images_per_step
        self._bar = tqdm(
            total=epochs * steps_per_epoch * images_per_step,
            initial=done_steps * images_per_step,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None if shown else True,
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Names the epoch."""
        del logs
        self._bar.set_description(f"epoch {epoch + 1}/{self._epochs}")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves on by a step."""
        del batch, logs
        self._bar.update(self._images_per_step)

    def close(self) -> None:
        """Ends the bar, also after an error."""
        self._bar.close()


class StopRequest:
    """Ctrl-C or SIGTERM: ends what runs at once or, in a training, after the step in progress.

    A second signal ends the process at once.

    Attributes:
      requested: whether there was one.
      after_step: whether a signal waits for the step's end; at first it does not.
    """

    def __init__(self) -> None:
        self.requested = False
        self.after_step = False
        self._previous: dict[int, Any] = {}

    def end_of_steps(self) -> None:
        """From here on a signal stops at once; one that came after the last step does now."""
        self.after_step = False
        if self.requested:
            raise KeyboardInterrupt

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.getsignal(number)
        self.take_signals()
        return self

    def take_signals(self) -> None:
        """Once more after TensorFlow has met other workers: it takes SIGTERM for itself then."""
        for number in self._previous:
            signal.signal(number, self._request)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.requested or not self.after_step:
            raise KeyboardInterrupt
        self.requested = True
        print("\nstopping after this step; once more stops at once", file=sys.stderr)


class FiniteReports(keras.callbacks.Callback):
    """Ends the training at the first step that reports NaN or infinity.

    A step's reports are read while the next one runs, so that a GPU need not wait for the host.
    """

    def __init__(self, method: TrainingMethod):
        """Watches what `train_step` returns."""
        super().__init__()
        self._optimizer = method.classifier_optimizer
        self._before: dict[str, Any] = {}
        self._steps = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Counts on from the steps done."""
        del logs
        self._steps = int(self._optimizer.iterations.numpy())
        self._before = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the step before this one."""
        del batch
        self._check()
        self._before = logs or {}
        self._steps += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the last step."""
        del epoch, logs
        self._check()

    def _check(self) -> None:
        values = {name: float(value) for name, value in self._before.items()}
        if not np.isfinite(list(values.values())).all():
            parts = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            raise NonFiniteError(
                f"step {self._steps} reports NaN or infinity (means of the epoch so far: {parts})"
            )


class Checkpoints(keras.callbacks.Callback):
    """Saves at the end of every epoch, and after the step in which a stop was requested.

    It stands last among the callbacks: a checkpoint means that all else of the epoch is written.
    Of several workers all stop at one step, and the chief saves.
    """

    def __init__(
        self,
        method: TrainingMethod,
        run: RunDirectory,
        stop: StopRequest,
        progress: Progress,
        strategy: tf.distribute.Strategy,
        saves: bool,
    ):
        """Args: what to save and where; `progress` so far; whether this process saves."""
        super().__init__()
        self._method = method
        self._run = run
        self._stop = stop
        self._progress = progress
        self._strategy = strategy
        self._saves = saves
        self._first_step = progress.step_in_epoch
        self._epoch = progress.epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the epoch's means, unless the epoch was begun before an interruption."""
        del logs
        self._epoch = epoch
        self._first_step = self._progress.step_in_epoch if epoch == self._progress.epoch else 0
        if not self._first_step:
            self._method.reset_means()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves and stops if asked to."""
        del logs
        if self._must_stop():
            self._save(self._epoch, self._first_step + batch + 1)
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves; stops if asked to meanwhile."""
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
            self._run.checkpoints.save(self._method, progress, self._saves)
        except NonFiniteError as caught:
            error = caught
        if any(on_all_workers(self._strategy, int(error is not None))):
            raise error or NonFiniteError("variables of another worker hold NaN or infinity")
