"""From a run directory to an exported training and back. Needs TensorFlow."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from exported import training as exported
from exported.epoch import epoch_function
from exported.training import Description, Record
from fsgan_tf.data.augmentation import resolve_augmentation
from fsgan_tf.errors import UserError
from fsgan_tf.files import atomic_file
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.runs.checkpoints import Progress, assign, variables_of
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.training import watched
from fsgan_tf.training.callbacks import GeneratorDisplacement
from fsgan_tf.training.provenance import record_start
from fsgan_tf.training.setup import Training, prepare
from fsgan_tf.training.start import initial_classifier, start
from fsgan_tf.training.stop_request import StopRequest


def export(configuration: TrainingConfiguration, folder: Path) -> None:
    """Exports a training from the newest checkpoint of its run directory, or from its start.

    Args:
      configuration: of the training, as `fsgan_tf.train` has it.
      folder: of all exported trainings; this one's is named as its run directory.

    Raises:
      UserError: the training cannot start, or not be exported.
    """
    training = prepare(configuration, StopRequest(), ())
    _require_exportable(training)
    initial = initial_classifier(training)
    with training.sole_writer():
        progress = start(training, initial)
    if progress.step_in_epoch or progress.rollbacks:
        raise UserError(
            f"{training.run.path} stands within an epoch, or went back to a checkpoint; only a "
            "training at the end of an epoch can be exported"
        )
    images, labels = training.dataset.train.images, training.dataset.train.labels
    _write_images(folder / exported.IMAGES, images, labels)
    program, variables = _program(training)
    description = Description(
        run_dir=str(training.run.path),
        images_sha256=exported.sha256_of(images, labels),
        seed=training.settings.seed,
        first_epoch=progress.epoch,
        batch_size=training.settings.batch_size,
        networks=list(training.method.optimizers_by_network),
        rates=_rates(training, progress),
        reports=list(training.method.reports),
        variables={
            name: exported.write_array(folder, np.asarray(variable))
            for name, variable in variables.items()
        },
    )
    exported.write(folder / training.run.path.name, program, description)


def _require_exportable(training: Training) -> None:
    kept = training.settings.last_batch == "keep"
    if training.strategy.num_replicas_in_sync > 1:
        raise UserError("a training on several replicas cannot be exported")
    if kept and len(training.dataset.train) % training.settings.batch_size:
        raise UserError("a training of --last_batch=keep cannot be exported: steps differ in size")
    if training.settings.keep == "best":
        raise UserError("a training of --keep=best cannot be exported: no epoch is validated there")


def _write_images(file: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes them once for all trainings.

    Raises:
      UserError: the trainings there have others.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as temporary:
            np.savez_compressed(temporary, images=images, labels=labels)
        return
    with np.load(file) as there:
        same = np.array_equal(there["images"], images) and np.array_equal(there["labels"], labels)
    if not same:
        raise UserError(f"{file} holds other training images; give another folder")


def _program(training: Training) -> tuple[bytes, dict[str, tf.Variable]]:
    """The program of an epoch, and the variables it takes by their names in checkpoints."""
    method, dataset = training.method, training.dataset.train
    method.set_total_steps(training.settings.epochs * training.steps_per_epoch)
    data = training.configuration.data
    function = epoch_function(
        method,
        examples=len(dataset),
        batch_size=training.settings.batch_size,
        augmentation=resolve_augmentation(
            data.augmentation, data.dataset, training.dataset.image_shape
        ),
    )
    arguments = (
        tf.TensorSpec((len(dataset), *dataset.image_shape), tf.uint8),
        tf.TensorSpec([len(dataset)], tf.int32),
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([training.steps_per_epoch, len(method.optimizers_by_network)], tf.float32),
    )
    concrete = function.get_concrete_function(*arguments)
    by_handle = {id(variable.handle): variable for variable in concrete.graph.variables}
    captured = [by_handle[id(handle)] for handle in concrete.captured_inputs]
    names = {id(_handle(variable)): name for name, variable in variables_of(method).items()}
    program = function.experimental_get_compiler_ir(*arguments)("stablehlo_serialized")
    # What an epoch sets before it reads it is in no checkpoint.
    return program, {
        names.get(id(variable.handle), f"unsaved/{variable.name}"): variable
        for variable in captured
    }


def _handle(variable: object) -> object:
    """Of a Keras variable or TensorFlow's own."""
    return getattr(variable, "value", variable).handle  # type: ignore[attr-defined]


def _rates(training: Training, progress: Progress) -> list[list[list[float]]]:
    """See `Description`."""
    networks, epochs = training.method.optimizers_by_network, training.settings.epochs
    if training.settings.schedule == "steps":
        by_epoch = watched.schedules(training)
        return [
            [[by_epoch[network](epoch) for network in networks]]
            for epoch in range(progress.epoch, epochs)
        ]
    by_step, steps = watched.step_schedules(training), training.steps_per_epoch
    return [
        [
            [by_step[network](step) for network in networks]
            for step in range(epoch * steps, (epoch + 1) * steps)
        ]
        for epoch in range(progress.epoch, epochs)
    ]


def restore(folder: Path, result: Path) -> str:
    """Brings a trained result back into the run directory of its training, unless it is there.

    The directory gets a new checkpoint; where the result is not precise, one that holds the
    networks alone, from which no training goes on.

    Args:
      folder: of all exported trainings.
      result: the file that came back, NAME.npz.

    Returns:
      What was done, in words.

    Raises:
      UserError: the files do not fit each other, or the run directory.
    """
    arrays, record = exported.read_result(result)
    description = exported.read_description(folder / result.stem)
    if record.export_sha256 != exported.sha256_of_export(folder / result.stem):
        raise UserError(
            f"{result} was trained from another export than {folder / result.stem} holds now; "
            "restore it beside the one it was trained from, or train again from this one"
        )
    run = RunDirectory(description.run_dir)
    if _is_restored(run, description, record):
        return f"already restored: {run.path}"
    training = prepare(run.read_configuration(), StopRequest(), ())
    with run.lock():
        begun = run.checkpoints.restore(training.method)
        if begun is None or begun.epoch != description.first_epoch:
            raise UserError(f"{run.path} is not at the checkpoint that {folder} was exported from")
        held = training.method if record.precise else _networks_of(training.method)
        named = description.variables
        assign({name: v for name, v in variables_of(held).items() if name in named}, arrays, result)
        _measure(training, record.rows[-1])
        # Those of a restoring that was interrupted.
        run.metrics.keep_before(begun.epoch)
        for row in record.rows:
            run.metrics.append(row)
        done = dataclasses.replace(begun, epoch=begun.epoch + len(record.rows))
        # Before the checkpoint, with which it is restored.
        record_start(
            training,
            begun,
            command="python tools/train_exported.py train",
            machine=record.device,
        )
        run.checkpoints.save(held, done)
    return f"restored: {run.path}"


def _is_restored(run: RunDirectory, description: Description, record: Record) -> bool:
    """Whether the run is at the end of the result, and its rows are those of the record."""
    progress, end = run.checkpoints.read_progress(), description.first_epoch + len(record.rows)
    if progress is None or progress.epoch != end:
        return False
    rows = {row["epoch"]: row for row in run.metrics.read()}
    # The last has what was measured on held-out images too.
    return all(row.items() <= rows.get(row["epoch"], {}).items() for row in record.rows)


def _measure(training: Training, row: dict[str, Any]) -> None:
    """Adds to the last epoch's figures what a training measures on held-out images."""
    for callback in (*watched.held_out(training), GeneratorDisplacement()):
        callback.set_model(training.method)
        callback.on_epoch_end(row["epoch"], row)


def _networks_of(method: TrainingMethod) -> SimpleNamespace:
    """The part of a method that an imprecise result holds."""
    return SimpleNamespace(
        networks=method.networks,
        average=method.average,
        optimizers_by_network={},
        memory=None,
        means={},
    )
