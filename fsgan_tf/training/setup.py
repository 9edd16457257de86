"""What a training needs: data, devices, networks, a run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from fsgan_tf import devices
from fsgan_tf.data import loading
from fsgan_tf.data.batches import batches_per_epoch
from fsgan_tf.data.loading import ImageDataset
from fsgan_tf.errors import UserError
from fsgan_tf.files import require_outside
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.runs.settings import TrainingSettings
from fsgan_tf.training.build import build_method
from fsgan_tf.training.stop_request import StopRequest


@dataclasses.dataclass(frozen=True)
class Training:
    """What a training needs, once every flag is known to be good.

    Attributes:
      configuration: its settings.
      strategy: where it runs.
      dataset: its images.
      method: its networks.
      run: where it writes.
      stop: Ctrl-C or SIGTERM.
      notes: lines to print when it starts.
    """

    configuration: TrainingConfiguration
    strategy: tf.distribute.Strategy
    dataset: ImageDataset
    method: TrainingMethod
    run: RunDirectory
    stop: StopRequest
    notes: Sequence[str] = ()

    @property
    def settings(self) -> TrainingSettings:
        """Those that no method, network or data set has for itself."""
        return self.configuration.training

    @property
    def writes(self) -> bool:
        """Whether this process writes files: the only one, or the first of several."""
        return devices.is_chief(self.strategy)

    @property
    def global_batch_size(self) -> int:
        """Images a step, over all replicas."""
        return self.settings.batch_size * self.strategy.num_replicas_in_sync

    @property
    def steps_per_epoch(self) -> int:
        """Batches over all replicas, a smaller last one among them where it is kept."""
        return batches_per_epoch(
            len(self.dataset.train), self.global_batch_size, self.settings.last_batch
        )

    @property
    def images_per_epoch(self) -> int:
        """Training images that an epoch's batches hold."""
        whole = self.steps_per_epoch * self.global_batch_size
        return min(whole, len(self.dataset.train))

    def done_steps(self, progress: Progress) -> int:
        """Steps behind the run."""
        return progress.epoch * self.steps_per_epoch + progress.step_in_epoch

    def sole_writer(self) -> contextlib.AbstractContextManager[None]:
        """Keeps other trainings out of the run directory, if this process writes to it."""
        return self.run.lock() if self.writes else contextlib.nullcontext()


def prepare(
    configuration: TrainingConfiguration, stop: StopRequest, notes: Sequence[str]
) -> Training:
    """Builds everything and writes nothing, so that a bad flag leaves no run directory.

    Raises:
      UserError: a flag, the data or the hardware do not fit.
    """
    run = RunDirectory(configuration.run_dir)
    run.require_same_run(configuration)  # Before faults of what would be trained on.
    if not run.flags_file.is_file():
        require_outside(run.path, configuration.data.dataset, "run_dir")
    strategy = devices.make_strategy(configuration.training.strategy)
    stop.take_signals()
    if configuration.training.deterministic:
        devices.make_deterministic()
    dataset = loading.load(configuration.data.dataset, **data_options(configuration))
    require_held_out(configuration.training, len(dataset.validation))
    require_a_batch(configuration.training, len(dataset.train), strategy.num_replicas_in_sync)
    with strategy.scope():
        method = build_method(configuration, dataset.num_classes, dataset.image_shape)
        method.remember(len(dataset.train))
    return Training(configuration, strategy, dataset, method, run, stop, notes)


def data_options(configuration: TrainingConfiguration) -> dict[str, Any]:
    """What `loading.load` takes beside the name of the data set."""
    counts = ("train_examples", "validation_examples")
    chosen = {name: getattr(configuration.data, name) for name in counts}
    return {**configuration.data_options(), **chosen}


def require_a_batch(settings: TrainingSettings, train_examples: int, replicas: int) -> None:
    """Refuses a training set smaller than one batch and, on several replicas, a smaller last batch.

    Replicas weigh the same in a step, but would hold different numbers of a smaller batch's images.

    Raises:
      UserError: there are fewer, or what an epoch leaves over is kept on several replicas.
    """
    if train_examples < settings.batch_size * replicas:
        raise UserError(
            f"{train_examples} training images are fewer than one batch of {settings.batch_size} "
            f"for each of {replicas} replica(s); give a smaller --batch_size or more data"
        )
    rest = train_examples % (settings.batch_size * replicas)
    if settings.last_batch == "keep" and replicas > 1 and rest:
        raise UserError(
            f"--last_batch=keep would leave {rest} images to split between {replicas} replicas, "
            "each of which must get the same number; give --last_batch=drop or "
            "--strategy=one_device"
        )


def require_held_out(settings: TrainingSettings, validation_examples: int) -> None:
    """Refuses to choose the best epoch by no image.

    Raises:
      UserError: the best epoch is asked for and no image is held out.
    """
    if settings.keep == "best" and not validation_examples:
        raise UserError(
            "--keep=best chooses by held-out images and --validation_examples=0 holds none out; "
            "give --validation_examples=1000, or --keep=last"
        )


def print_notes(notes: Sequence[str]) -> None:
    """Prints settings that would silently weaken a training, as another method's flag file has."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
