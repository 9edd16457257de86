"""The training loop: from the newest checkpoint to the last epoch, then the export and the test."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

from fsgan_tf import devices
from fsgan_tf.data.augmentation import resolve_augmentation
from fsgan_tf.data.batches import training_batches
from fsgan_tf.errors import NonFiniteError
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.training import failures, watched
from fsgan_tf.training.callbacks import ProgressBar
from fsgan_tf.training.finish import finish
from fsgan_tf.training.provenance import record_start
from fsgan_tf.training.rollback import Rollbacks, seed_after
from fsgan_tf.training.setup import Training, prepare
from fsgan_tf.training.start import initial_classifier, start
from fsgan_tf.training.stop_request import StopRequest


def train(
    configuration: TrainingConfiguration, stop: StopRequest, notes: Sequence[str] = ()
) -> None:
    """Trains to the last epoch, exports the classifier and attacks it on the test set, once.

    Args:
      configuration: what to train, and how.
      stop: ends the training after the step in progress.
      notes: lines to print when it starts.

    Raises:
      UserError: a flag, the data, the run directory or the hardware do not fit.
      RunError: something failed at run time; the same call resumes from the newest checkpoint.
    """
    training = prepare(configuration, stop, notes)
    initial = initial_classifier(training)
    # Only now is every flag known to be good.
    with failures.told_in_one_line(training.run), training.sole_writer():
        with failures.stops_with_a_line(training.run):
            progress = start(training, initial)
            if training.writes and progress.epoch < training.settings.epochs:
                record_start(training, progress)
            rollbacks = Rollbacks(training)
            stop.after_step = True
            while progress.epoch < training.settings.epochs:
                end = _next_stop(training, progress)
                try:
                    with contextlib.closing(watched.progress_bar(training, progress)) as bar:
                        training.method.fit(**_steps(training, progress, end, bar))
                    progress = end
                except NonFiniteError as error:
                    progress = rollbacks.go_back(progress, error)
            stop.end_of_steps()
        if training.writes:
            finish(training)
        # Workers leave together: the first to go would end the others' wait with an error.
        devices.on_all_workers(training.strategy, 0)


def _next_stop(training: Training, progress: Progress) -> Progress:
    """The end of an epoch that was interrupted, else of the training."""
    epoch = progress.epoch + 1 if progress.step_in_epoch else training.settings.epochs
    return dataclasses.replace(progress, epoch=epoch, step_in_epoch=0)


def _steps(
    training: Training, progress: Progress, end: Progress, bar: ProgressBar
) -> dict[str, Any]:
    """The arguments of Keras' `fit` for the steps from `progress` to `end`."""
    data = training.configuration.data
    seed = seed_after(progress.rollbacks, training.settings.seed)
    training.method.reseed(seed)
    training.method.set_total_steps(training.settings.epochs * training.steps_per_epoch)
    training.method.continues_epoch = progress.step_in_epoch > 0
    batches = training_batches(
        training.dataset.train,
        batch_size=training.global_batch_size,
        seed=seed,
        augmentation=resolve_augmentation(
            data.augmentation, data.dataset, training.dataset.image_shape
        ),
        last_batch=training.settings.last_batch,
        first_epoch=progress.epoch,
        first_batch=progress.step_in_epoch,
    )
    return {
        "x": batches,
        "initial_epoch": progress.epoch,
        "epochs": end.epoch,
        "steps_per_epoch": training.steps_per_epoch - progress.step_in_epoch,
        "callbacks": watched.callbacks(training, progress, bar),
        "shuffle": False,
        "verbose": 0,
    }
