"""Where a training starts: at its newest checkpoint, at another run's classifier, or anew."""

from __future__ import annotations

from pathlib import Path

import keras

from fsgan_tf.errors import UserError
from fsgan_tf.runs import pretrained
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.runs.restored import RestoredClassifier, restore_classifier
from fsgan_tf.runs.settings import TrainingSettings
from fsgan_tf.training.agreement import require_agreement
from fsgan_tf.training.setup import Training, print_notes


def start(training: Training, initial: RestoredClassifier | None) -> Progress:
    """Restores the newest checkpoint, or makes the first one, to which a rollback can go.

    Args:
      training: the training; it holds the run directory's lock.
      initial: the classifier to begin with, where there is no checkpoint yet.

    Raises:
      UserError: the run directory holds a run of other flags or data, or cannot be read.
    """
    run, dataset, settings = training.run, training.dataset, training.settings
    if training.writes:
        run.prepare(training.configuration)
    # First: to write a variable, workers may wait for each other.
    require_agreement(training)
    progress = run.checkpoints.restore(training.method, lambda found: _require_fit(training, found))
    if progress is None:
        replicas = training.strategy.num_replicas_in_sync
        progress = Progress(0, 0, dataset.class_names, dataset.image_shape, replicas=replicas)
        if initial:
            training.method.classifier.set_weights(initial.model.get_weights())
        run.checkpoints.save(training.method, progress, training.writes)
    print_notes([*training.notes, *_short_average(training), *_missing_rows(run, progress)])
    print(
        f"{settings.method} on {dataset.name}: {len(dataset.train)} training "
        f"and {len(dataset.validation)} validation images; epochs "
        f"{progress.epoch} to {settings.epochs}{without_drops(settings)}; {run.path}",
        flush=True,
    )
    return progress


def without_drops(settings: TrainingSettings) -> str:
    """Says that the learning rate never drops, where it was to and the training is too short."""
    drops = settings.lr_decay_epochs
    if (
        settings.schedule != "steps"
        or not drops
        or settings.lr_decay_factor == 1
        or min(drops) < settings.epochs
    ):
        return ""
    return f" (the learning rate never drops: --lr_decay_epochs={','.join(map(str, drops))})"


def _missing_rows(run: RunDirectory, progress: Progress) -> list[str]:
    """Says that the figures of the epochs so far are gone."""
    if not progress.epoch or run.metrics.file.is_file():
        return []
    return [
        f"{run.metrics.file} is missing: nothing tells the figures of the {progress.epoch} epochs "
        "so far"
    ]


def _short_average(training: Training) -> list[str]:
    """Says that an average reaches back to the first steps, where the training is that short."""
    decay = training.configuration.method.ema_decay
    steps = training.settings.epochs * training.steps_per_epoch
    fitting = max(0.5, round(1 - 10 / steps, 4))
    if steps * (1 - decay) > 5 or decay <= fitting:
        return []
    return [
        f"--ema_decay={decay} averages over about {1 / (1 - decay):.0f} steps, and this training "
        f"has {steps}: the average stays near the initial weights; a smaller decay fits, such as "
        f"{fitting:g}"
    ]


def initial_classifier(training: Training) -> RestoredClassifier | None:
    """The classifier of `--init_from`, known to fit; none for a run that has weights of its own.

    Raises:
      UserError: it cannot be read, or does not fit.
    """
    source = training.settings.init_from
    if source is None or training.run.checkpoints.exist():
        return None
    initial, dataset = named_classifier(source), training.dataset
    if initial.class_names != dataset.class_names:
        raise UserError(
            f"--init_from={source} was trained for the classes "
            f"{', '.join(initial.class_names)}; {dataset.name} has "
            f"{', '.join(dataset.class_names)}"
        )
    require_same_network(source, initial, training.method.classifier)
    return initial


def require_same_network(source: str, initial: RestoredClassifier, classifier: keras.Model) -> None:
    """Refuses weights that a classifier cannot take over.

    Args:
      source: what `--init_from` names.
      initial: the classifier there.
      classifier: the one to be trained.

    Raises:
      UserError: they are of different networks, or for other images or numbers of classes.
    """
    ours, theirs = classifier.output_shape[-1], initial.model.output_shape[-1]
    if ours != theirs:
        raise UserError(
            f"--init_from={source} was trained for {theirs} classes, and this training has {ours}"
        )
    shapes, expected = (
        [tuple(weight.shape) for weight in model.weights] for model in (initial.model, classifier)
    )
    if shapes != expected or initial.model.input_shape != classifier.input_shape:
        network = vars(initial.configuration.classifier).items()
        flags = " ".join(f"--{name}={value}" for name, value in network)
        raise UserError(
            f"--init_from={source} holds a {initial.model.name} for images "
            f"{initial.model.input_shape[1:]}, and this training's classifier is a "
            f"{classifier.name} for {classifier.input_shape[1:]}; give "
            f"--architecture={initial.configuration.training.architecture} {flags}, or another run"
        )


def named_classifier(source: str) -> RestoredClassifier:
    """The classifier of a run directory, or one of the package's.

    Raises:
      UserError: there is none of this name, or it cannot be read.
    """
    if Path(source).is_dir():
        return restore_classifier(source)
    if pretrained.is_named(source):
        return pretrained.restore(source)
    raise UserError(
        f"--init_from={source} is not a run directory, nor a classifier of the package "
        f"({', '.join(pretrained.names())})"
    )


def _require_fit(training: Training, progress: Progress) -> None:
    """Raises UserError where a training that got so far cannot go on with this data and device."""
    dataset = training.dataset
    if (progress.class_names, progress.image_shape) != (dataset.class_names, dataset.image_shape):
        raise UserError(
            f"{training.run.path} was trained on images {progress.image_shape} of the classes "
            f"{', '.join(progress.class_names)}; {dataset.name} has {dataset.image_shape} and "
            f"{', '.join(dataset.class_names)}; give another --run_dir"
        )
    replicas = training.strategy.num_replicas_in_sync
    if progress.replicas not in (0, replicas):
        raise UserError(
            f"{training.run.path} was trained on {progress.replicas} devices and there are "
            f"{replicas} here, which take other batches and steps; resume it on the same number "
            "of devices, or give another --run_dir"
        )
    if progress.step_in_epoch >= training.steps_per_epoch:
        raise UserError(
            f"{training.run.path} stopped after step {progress.step_in_epoch} of an epoch that has "
            f"{training.steps_per_epoch} steps here; resume it with the same data, or give "
            "another --run_dir"
        )
