"""The callbacks of a run, which watch it and write its files, in order."""

from __future__ import annotations

import keras

from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.training.callbacks import (
    BestEpoch,
    Checkpointing,
    Diagnoses,
    EpochLine,
    FiniteReports,
    GeneratorDisplacement,
    LearningRates,
    MetricsFile,
    Pictures,
    ProgressBar,
    RobustAccuracy,
    StepLearningRates,
    TensorBoardScalars,
    Throughput,
    Warnings,
)
from fsgan_tf.training.callbacks.learning_rates import Schedule, constant, steps
from fsgan_tf.training.callbacks.step_learning_rates import (
    StepSchedule,
    constant_rate,
    cosine,
    one_cycle,
)
from fsgan_tf.training.setup import Training
from fsgan_tf.training.tensorboard_log import TensorBoardLog, write_flags

# Not shown as hyper-parameters: where things are.
_NO_HPARAMS = ("run_dir", "data_dir", "dry_run")


def progress_bar(training: Training, progress: Progress) -> ProgressBar:
    """A bar over the whole run, which is to be closed."""
    return ProgressBar(
        training.settings.epochs,
        steps_per_epoch=training.steps_per_epoch,
        images_per_step=training.global_batch_size,
        images_per_epoch=training.images_per_epoch,
        done_steps=training.done_steps(progress),
        shown=training.writes,
    )


def callbacks(
    training: Training, progress: Progress, bar: ProgressBar
) -> list[keras.callbacks.Callback]:
    """All callbacks of a run that resumes from `progress`; the checkpoint comes last."""
    checkpointing = Checkpointing(
        training.run.checkpoints,
        progress,
        stop=training.stop,
        strategy=training.strategy,
        saves=training.writes,
        scores=training.run.metrics.robust_accuracies if keeps_best(training) else dict,
    )
    return [
        _learning_rates(training, progress),
        bar,
        FiniteReports(),
        Throughput(
            training.global_batch_size,
            less_at_last=training.steps_per_epoch * training.global_batch_size
            - training.images_per_epoch,
        ),
        *(_watchers(training, progress) if training.writes else ()),
        checkpointing,
    ]


def keeps_best(training: Training) -> bool:
    """Whether the best epoch's classifier is kept, beside the newest."""
    return training.settings.keep == "best"


def _learning_rates(training: Training, progress: Progress) -> keras.callbacks.Callback:
    if training.settings.schedule == "steps":
        return LearningRates(schedules(training))
    return StepLearningRates(step_schedules(training), training.done_steps(progress))


def schedules(training: Training) -> dict[str, Schedule]:
    """The learning rates of every network by epoch, of `--schedule=steps`."""
    settings = training.settings
    return {
        network: steps(rate, settings.lr_decay_epochs, settings.lr_decay_factor)
        if changes
        else constant(rate)
        for network, rate, changes in _rates(training)
    }


def step_schedules(training: Training) -> dict[str, StepSchedule]:
    """The learning rates of every network by step, of the other schedules."""
    schedule = {"one_cycle": one_cycle, "cosine": cosine}[training.settings.schedule]
    total_steps = training.settings.epochs * training.steps_per_epoch
    return {
        network: schedule(rate, total_steps) if changes else constant_rate(rate)
        for network, rate, changes in _rates(training)
    }


def _rates(training: Training) -> list[tuple[str, float, bool]]:
    """Every network's name, learning rate and whether the schedule changes it."""
    method = training.configuration.method
    return [
        (
            network,
            float(getattr(method, f"{network}_learning_rate")),
            network != "generator" or getattr(method, "generator_lr_decay", True),
        )
        for network in training.method.optimizers_by_network
    ]


def _watchers(training: Training, progress: Progress) -> list[keras.callbacks.Callback]:
    """Takes back what an earlier process wrote after its last checkpoint, then watches."""
    settings, run = training.settings, training.run
    run.metrics.keep_before(progress.epoch)
    log = TensorBoardLog(run.tensorboard)
    log.keep_until(training.done_steps(progress))
    listed = training.configuration.values().items()
    flags = {name: value for name, value in listed if name not in _NO_HPARAMS}
    log.write("flags", 0, lambda: write_flags(flags))
    return [
        *held_out(training),
        *([BestEpoch(run)] if keeps_best(training) else ()),
        GeneratorDisplacement(),
        EpochLine(settings.epochs),
        Warnings(run.metrics.read()),
        MetricsFile(run.metrics),
        TensorBoardScalars(log),
        *_pictures(training, log),
    ]


def held_out(training: Training) -> list[keras.callbacks.Callback]:
    """What measures held-out images; nothing where none are."""
    split, settings = training.dataset.validation, training.settings
    if not len(split):
        return []
    images, labels = split.images, split.labels
    return [
        RobustAccuracy(images, labels, batch_size=settings.batch_size),
        Diagnoses(images, labels, batch_size=settings.batch_size, seed=settings.seed),
    ]


def _pictures(training: Training, log: TensorBoardLog) -> list[keras.callbacks.Callback]:
    """What draws held-out images; nothing where none are."""
    settings = training.settings
    held_out = training.dataset.validation.first(settings.batch_size)
    if not len(held_out):
        return []
    return [Pictures(log, held_out.images, held_out.labels, seed=settings.seed)]
