"""Trains a robust image classifier, measures it and exports it.

    python -m fsgan_tf.train --flagfile=configs/svhn.flags [--run_dir=runs/NAME] [flags]

The last value given for a flag wins, so flags after --flagfile override it. Run again with the
same --run_dir, it goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
import zlib
from typing import TYPE_CHECKING, Any

from absl import flags

from fsgan_tf import settings
from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import NonFiniteError, RunError, UserError
from fsgan_tf.reporting import results_file

if TYPE_CHECKING:
    import tensorflow as tf

    from fsgan_tf.data.loading import ImageDataset, Split
    from fsgan_tf.methods.base import TrainingMethod
    from fsgan_tf.runs.checkpoints import Progress
    from fsgan_tf.runs.directory import RunDirectory
    from fsgan_tf.runs.restored import RestoredClassifier
    from fsgan_tf.training.callbacks import ProgressBar, StopRequest
    from fsgan_tf.training.monitor import Watcher


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Flags -> strategy -> data -> networks -> method -> fit -> evaluate -> export.

    TensorFlow is imported by what this calls, once the flags are known to be good.
    """
    del words
    settings.complete(flag_values)
    quiet.start_tensorflow()
    if flag_values.dry_run:
        _dry_run(flag_values)
        return

    from fsgan_tf.training.callbacks import StopRequest

    with StopRequest() as stop:
        _run(flag_values, stop)


@dataclasses.dataclass(frozen=True)
class _Training:
    """What a training needs, once every flag is known to be good.

    Attributes:
      values: its flags.
      strategy: where it runs; `writes` is whether this process writes files (the chief does).
      dataset: its images.
      method: its networks.
      run: where it writes.
      steps_per_epoch: complete batches over all replicas.
      stop: Ctrl-C or SIGTERM.
    """

    values: flags.FlagValues
    strategy: tf.distribute.Strategy
    writes: bool
    dataset: ImageDataset
    method: TrainingMethod
    run: RunDirectory
    steps_per_epoch: int
    stop: StopRequest

    @property
    def global_batch_size(self) -> int:
        """Images a step, over all replicas."""
        return self.values.batch_size * self.strategy.num_replicas_in_sync

    def done_steps(self, progress: Progress) -> int:
        """Steps behind the run."""
        return progress.epoch * self.steps_per_epoch + progress.step_in_epoch


def _run(values: flags.FlagValues, stop: StopRequest) -> None:
    """Builds the training, goes on from its newest checkpoint, exports and evaluates."""
    import tensorflow as tf

    from fsgan_tf import devices
    from fsgan_tf.runs.directory import RunDirectory

    strategy = devices.make_strategy(values.strategy)
    stop.take_signals()
    if values.deterministic:
        devices.make_deterministic()
    dataset = _load(values)
    steps_per_epoch = _steps_per_epoch(values, len(dataset.train), strategy.num_replicas_in_sync)
    with strategy.scope():
        method = build_method(values, dataset.num_classes, dataset.image_shape)
    run = RunDirectory(values.run_dir)
    writes = devices.is_chief(strategy)
    training = _Training(values, strategy, writes, dataset, method, run, steps_per_epoch, stop)
    # A run that goes on has its own weights, and needs no other run for them.
    initial = None if run.checkpoints.exist() else _initial_classifier(values, method, dataset)
    try:
        # Only now is every flag known to be good.
        with run.lock() if writes else contextlib.nullcontext():
            _train(training, _start(training, initial))
            if writes:
                _finish(values, dataset, run)
            # Workers leave together: the first to go would end the others' wait with an error.
            devices.on_all_workers(strategy, 0)
    except tf.errors.OpError as error:
        raise RunError(
            f"training failed ({type(error).__name__}: {_reason(error)}); the same command goes on "
            f"from {run.checkpoints.folder}"
        ) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(
            f"cannot read or write {error.filename or run.path} ({error.strerror or error}); the "
            f"same command goes on from {run.checkpoints.folder}"
        ) from error


def _reason(error: tf.errors.OpError) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in error.message.splitlines()]
    return next((line for line in lines if line and line != "Graph execution error:"), "")


def _start(training: _Training, initial: RestoredClassifier | None) -> Progress:
    """Restores the newest checkpoint, or makes the first one, to which a rollback can go."""
    from fsgan_tf.runs.checkpoints import Progress

    run, dataset, values = training.run, training.dataset, training.values
    if training.writes:
        run.prepare(values)
    # First: to write a variable, workers may wait for each other.
    _require_agreement(training)
    progress = run.checkpoints.restore(training.method)
    if progress is None:
        progress = Progress(0, 0, dataset.class_names, dataset.image_shape)
        if initial:
            training.method.classifier.set_weights(initial.model.get_weights())
        run.checkpoints.save(training.method, progress, training.writes)
    _require_same_classes(run, progress, dataset)
    _note_departures(values)
    print(
        f"{values.method} on {dataset.name}: {len(dataset.train)} training "
        f"and {len(dataset.validation)} validation images; epochs "
        f"{progress.epoch} to {values.epochs}; {run.path}",
        flush=True,
    )
    return progress


def _note_departures(values: flags.FlagValues) -> None:
    """Says what would train a weaker baseline unseen, as another method's flag file does."""
    if departures := settings.departures(values):
        print(
            f"note: {values.method} is trained with {', '.join(departures)}; configs/baselines "
            "has their settings",
            file=sys.stderr,
        )


def _require_agreement(training: _Training) -> None:
    """Raises `UserError` where the workers would train different things."""
    from fsgan_tf import devices
    from fsgan_tf.runs.directory import CHANGEABLE_FLAGS

    if not devices.has_workers(training.strategy):
        return
    named = training.values.flag_values_dict().items()
    fixed = sorted(flag for flag in named if flag[0] not in CHANGEABLE_FLAGS)
    train = training.dataset.train
    seen = {
        "training flags": repr(fixed).encode(),
        "numbers of epochs": str(training.values.epochs).encode(),
        "precisions": devices.resolve_precision(training.values.precision).encode(),
        "training images": train.fingerprint(),
        "checkpoints (--run_dir must be one folder that all of them see)": repr(
            training.run.checkpoints.read_progress()
        ).encode(),
    }
    for what, content in seen.items():
        # 31 bits of the hash: what goes between workers is int32.
        hashes = devices.on_all_workers(training.strategy, zlib.crc32(content) >> 1)
        if len(set(hashes)) > 1:
            raise UserError(f"the workers have different {what}; start all with the same command")


def build_method(
    values: flags.FlagValues, num_classes: int, image_shape: tuple[int, int, int]
) -> TrainingMethod:
    """Networks, optimizers and method of these flags; call it in the strategy's scope.

    Args:
      values: the training flags.
      num_classes: K.
      image_shape: `(h, w, c)`.

    Returns:
      The method, its weights drawn from `--seed`.
    """
    import keras

    from fsgan_tf import devices, methods
    from fsgan_tf.methods.parts import optimizers
    from fsgan_tf.networks.classifiers.wide_resnet import wide_resnet
    from fsgan_tf.threat_model import ThreatModel

    keras.utils.set_random_seed(values.seed)
    precision = devices.resolve_precision(values.precision)
    classifier = wide_resnet(
        depth=values.classifier_depth,
        width=values.classifier_width,
        num_classes=num_classes,
        image_shape=image_shape,
        dtype=precision,
    )
    classifier_optimizer = optimizers.build(
        "sgd",
        classifier.trainable_variables,
        learning_rate=values.classifier_learning_rate,
        momentum=values.momentum,
        l2=values.weight_decay,
        name="classifier_optimizer",
        loss_scaling=precision == "mixed_float16",
    )
    return methods.get(values.method).from_flags(
        values,
        classifier=classifier,
        classifier_optimizer=classifier_optimizer,
        threat_model=ThreatModel(values.epsilon),
        seed=values.seed,
        jit_compile=values.jit_compile,
        gradient_clip_norm=values.gradient_clip_norm,
    )


def _load(values: flags.FlagValues) -> ImageDataset:
    from fsgan_tf.data import loading

    return loading.load(values.dataset, **_data_options(values))


def _data_options(values: flags.FlagValues) -> dict[str, Any]:
    names = ("data_dir", "image_size", "channels", "class_names", "memory_limit")
    counts = ("train_examples", "validation_examples")
    return {name: values[name].value for name in (*names, *counts)}


def _steps_per_epoch(values: flags.FlagValues, train_examples: int, replicas: int) -> int:
    steps = train_examples // (values.batch_size * replicas)
    if not steps:
        raise UserError(
            f"{train_examples} training images are fewer than one batch of {values.batch_size} "
            f"for each of {replicas} replica(s); give a smaller --batch_size or more data"
        )
    return steps


def _initial_classifier(
    values: flags.FlagValues, method: TrainingMethod, dataset: ImageDataset
) -> RestoredClassifier | None:
    """The classifier of `--init_from`, known to fit."""
    if values.init_from is None:
        return None
    from fsgan_tf.runs.restored import restore_classifier

    initial = restore_classifier(values.init_from)
    if initial.class_names != dataset.class_names:
        raise UserError(
            f"--init_from={values.init_from} was trained for the classes "
            f"{', '.join(initial.class_names)}; {dataset.name} has "
            f"{', '.join(dataset.class_names)}"
        )
    shapes, expected = (
        [tuple(weight.shape) for weight in model.weights]
        for model in (initial.model, method.classifier)
    )
    if shapes != expected or initial.model.input_shape != method.classifier.input_shape:
        raise UserError(
            f"--init_from={values.init_from} holds a {initial.model.name} for images "
            f"{initial.model.input_shape[1:]}, and this training's classifier is a "
            f"{method.classifier.name} for {method.classifier.input_shape[1:]}; give "
            f"--classifier_depth={initial.settings.classifier_depth} "
            f"--classifier_width={initial.settings.classifier_width}, or another run"
        )
    return initial


def _require_same_classes(run: RunDirectory, progress: Progress, dataset: ImageDataset) -> None:
    if (progress.class_names, progress.image_shape) != (dataset.class_names, dataset.image_shape):
        raise UserError(
            f"{run.path} was trained on images {progress.image_shape} of the classes "
            f"{', '.join(progress.class_names)}; {dataset.name} has {dataset.image_shape} and "
            f"{', '.join(dataset.class_names)}; give another --run_dir"
        )


def _train(training: _Training, progress: Progress) -> None:
    """Trains from `progress` to the last epoch, over `--on_nan` rollbacks."""
    tries: dict[tuple[int, int], int] = {}
    training.stop.after_step = True
    try:
        while progress.epoch < training.values.epochs:
            try:
                _fit(training, progress)
                break
            except NonFiniteError as error:
                progress = _roll_back(training, progress, tries, error)
        training.stop.end_of_steps()
    except KeyboardInterrupt:
        print(
            f"stopped; the same command goes on from {training.run.checkpoints.folder}",
            file=sys.stderr,
        )
        raise


def _roll_back(
    training: _Training,
    progress: Progress,
    tries: dict[tuple[int, int], int],
    error: NonFiniteError,
) -> Progress:
    """Restores the last good checkpoint; from there on, draws and data order are others.

    Args:
      training: the training.
      progress: where the failed attempt started.
      tries: attempts so far from a checkpoint's (epoch, step), counted here.
      error: what happened.

    Returns:
      The checkpoint's progress, with one rollback more.

    Raises:
      RunError: `--on_nan=stop`, or too many attempts from this checkpoint.
    """
    checkpoint = training.run.checkpoints.newest_file()
    told = f"{error}; the last good checkpoint is {checkpoint}"
    rolls_back = training.values.on_nan == "rollback"
    restored = training.run.checkpoints.restore(training.method) if rolls_back else None
    if restored is None:
        raise RunError(
            f"{told}; --on_nan=rollback goes on from it with other random draws; a smaller "
            "learning rate needs another --run_dir"
        ) from error
    place = (restored.epoch, restored.step_in_epoch)
    tries[place] = tries.get(place, 0) + 1
    if tries[place] > settings.MAX_ROLLBACKS:
        raise RunError(
            f"{told}; gave up after {settings.MAX_ROLLBACKS} rollbacks to it; a smaller learning "
            "rate needs another --run_dir"
        ) from error
    print(f"warning: {told}; going on from it with other random draws", file=sys.stderr)
    return dataclasses.replace(restored, rollbacks=progress.rollbacks + 1)


def _fit(training: _Training, progress: Progress) -> None:
    """Trains from `progress` to the last epoch; an interrupted epoch is completed first."""
    from fsgan_tf.data import loading

    values, method = training.values, training.method
    seed = _seed(values.seed, progress.rollbacks)
    method.reseed(seed)
    bar, callbacks = _callbacks(training, progress)
    epoch, skipped = progress.epoch, progress.step_in_epoch
    try:
        while epoch < values.epochs:
            batches = loading.training_batches(
                training.dataset.train,
                batch_size=training.global_batch_size,
                seed=seed,
                augmentation=loading.resolve_augmentation(values.augmentation, values.dataset),
                first_epoch=epoch,
            )
            last_epoch = epoch + 1 if skipped else values.epochs
            method.fit(
                batches.skip(skipped),
                initial_epoch=epoch,
                epochs=last_epoch,
                steps_per_epoch=training.steps_per_epoch - skipped,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
            epoch, skipped = last_epoch, 0
    finally:
        bar.close()


def _callbacks(training: _Training, progress: Progress) -> tuple[ProgressBar, list[Any]]:
    """The progress bar, which is to be closed, and all callbacks in order."""
    from fsgan_tf.training.callbacks import Checkpoints, FiniteReports, LearningRates, ProgressBar

    values, method = training.values, training.method
    initial_rates = {
        network: float(str(values[f"{network}_learning_rate"].value))
        for network in method.optimizers_by_network
    }
    bar = ProgressBar(
        values.epochs,
        training.steps_per_epoch,
        training.done_steps(progress),
        training.global_batch_size,
        shown=training.writes,
    )
    rates = LearningRates(
        method,
        initial_rates,
        constant=() if values.generator_lr_decay else ("generator",),
        decay_epochs=settings.decay_epochs(values),
        decay_factor=values.lr_decay_factor,
    )
    checkpoints = Checkpoints(
        method, training.run, training.stop, progress, training.strategy, training.writes
    )
    watchers = [_watcher(training, progress)] if training.writes else []
    return bar, [rates, bar, FiniteReports(method), *watchers, checkpoints]


def _watcher(training: _Training, progress: Progress) -> Watcher:
    """Takes back what an earlier process wrote after its last checkpoint, then watches."""
    from fsgan_tf.training.monitor import Watcher
    from fsgan_tf.training.tensorboard_log import TensorBoardLog

    training.run.metrics.keep_before(progress.epoch)
    TensorBoardLog(training.run.tensorboard).keep_until(training.done_steps(progress))
    watcher = Watcher(
        training.method,
        training.dataset.validation,
        training.run,
        epochs=training.values.epochs,
        batch_size=training.values.batch_size,
        images_per_step=training.global_batch_size,
        seed=training.values.seed,
    )
    watcher.describe(training.values)
    return watcher


def _seed(seed: int, rollbacks: int) -> int:
    """Another seed after each rollback, within int32."""
    return (seed + 1_000_003 * rollbacks) % 2**31 if rollbacks else seed


def _finish(values: flags.FlagValues, dataset: ImageDataset, run: RunDirectory) -> None:
    """Exports the classifier in float32 and attacks it on the test set, once."""
    from fsgan_tf import evaluate
    from fsgan_tf.attacks import suite
    from fsgan_tf.models.saving import save_classifier
    from fsgan_tf.reporting import report
    from fsgan_tf.runs.restored import restore_classifier
    from fsgan_tf.threat_model import ThreatModel
    from fsgan_tf.training.monitor import write_test_figures

    restored = restore_classifier(run.path)
    # Read only now: no step of the training saw it.
    test = dataset.test.first(values.eval_examples) if values.eval_examples else None
    if _is_finished(run, restored.weights_sha256, test):
        print(f"already exported and evaluated: {run.saved_model} {run.evaluation}")
        write_test_figures(run)
        return
    save_classifier(restored.model, restored.class_names, run.saved_model)
    print(f"exported: {run.saved_model}", flush=True)
    if test is None:
        return
    result = evaluate.evaluate_classifier(
        restored.model,
        test,
        threat_model=ThreatModel(values.epsilon),
        attacks=suite("quick", values.epsilon),
        batch_size=128,
        seed=values.seed,
        standalone=True,
        output_dir=run.evaluation,
        manifest=report.Manifest(
            model=str(run.path),
            dataset=values.dataset,
            split=test.name,
            dataset_sha256=test.sha256(),
            class_names=restored.class_names,
            classifier_sha256=restored.weights_sha256,
            command=shlex.join(["python", "-m", "fsgan_tf.train", *sys.argv[1:]]),
        ),
        progress=True,
    )
    write_test_figures(run)
    print(report.as_table(result))
    print(f"written: {run.evaluation}\nwatch: tensorboard --logdir={run.path.parent}")


def _is_finished(run: RunDirectory, classifier_sha256: str, test: Split | None) -> bool:
    """Whether the export and the evaluation there are of this very classifier and these images."""
    results = run.evaluation / "results.json"
    if not (run.saved_model.is_dir() and results.is_file()):
        return False
    try:
        found = results_file.read(results)
    except UserError:
        return False
    if found["classifier_sha256"] != classifier_sha256:
        return False
    return test is None or (found["split"] == test.name and found["num_examples"] >= len(test))


def _dry_run(values: flags.FlagValues) -> None:
    """Prints the resolved configuration and its cost."""
    from fsgan_tf import devices
    from fsgan_tf.data import loading
    from fsgan_tf.training import cost

    train_images, num_classes, image_shape = loading.training_size(
        values.dataset, **_data_options(values)
    )
    strategy = devices.make_strategy(values.strategy)
    steps = _steps_per_epoch(values, train_images, strategy.num_replicas_in_sync)
    with strategy.scope():
        method = build_method(values, num_classes, image_shape)
    _note_departures(values)
    print(values.flags_into_string())
    print(f"training images: {train_images}, classes: {num_classes}, image: {image_shape}")
    print(f"replicas: {strategy.num_replicas_in_sync}")
    print(f"precision: {devices.resolve_precision(values.precision)}")
    multiply_adds = 0.0
    for name, network in method.networks.items():
        passes = method.forward_equivalents[name]
        multiply_adds += cost.multiply_adds(network) * passes
        print(
            f"{name}: {cost.parameters(network):,} trainable parameters, "
            f"{cost.multiply_adds(network) / 1e6:,.1f} M multiply-adds an image and pass, "
            f"{passes:g} passes an image and step"
        )
    images = values.epochs * steps * values.batch_size * strategy.num_replicas_in_sync
    operations = 2 * multiply_adds * images
    print(f"steps an epoch: {steps}, steps in all: {values.epochs * steps}")
    print(
        f"arithmetic of the training: {operations:.3g} floating-point operations; "
        + ", ".join(
            f"{operations / (teraflops * 1e12) / 3600:.3g} h at {teraflops:g} TFLOP/s"
            for teraflops in (0.1, 10, 100)
        )
    )


if __name__ == "__main__":
    sys.exit(runner.run(main, settings.training_flags(), description=__doc__ or ""))
