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

from fsgan_tf.cli import quiet, runner, training_flags
from fsgan_tf.errors import NonFiniteError, RunError, UserError
from fsgan_tf.reporting import results_file
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.runs.settings import MAX_ROLLBACKS

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
    configuration = training_flags.configuration(flag_values)
    notes = training_flags.notes(flag_values, configuration)
    quiet.start_tensorflow()
    if configuration.training.dry_run:
        _dry_run(configuration, notes)
        return

    from fsgan_tf.training.callbacks import StopRequest

    with StopRequest() as stop:
        _run(configuration, notes, stop)


@dataclasses.dataclass(frozen=True)
class _Training:
    """What a training needs, once every flag is known to be good.

    Attributes:
      configuration: its settings.
      notes: what is said to the person when it starts.
      strategy: where it runs; `writes` is whether this process writes files (the chief does).
      dataset: its images.
      method: its networks.
      run: where it writes.
      steps_per_epoch: complete batches over all replicas.
      stop: Ctrl-C or SIGTERM.
    """

    configuration: TrainingConfiguration
    notes: list[str]
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
        return self.configuration.training.batch_size * self.strategy.num_replicas_in_sync

    def done_steps(self, progress: Progress) -> int:
        """Steps behind the run."""
        return progress.epoch * self.steps_per_epoch + progress.step_in_epoch


def _run(configuration: TrainingConfiguration, notes: list[str], stop: StopRequest) -> None:
    """Builds the training, goes on from its newest checkpoint, exports and evaluates."""
    import tensorflow as tf

    from fsgan_tf import devices
    from fsgan_tf.runs.directory import RunDirectory

    strategy = devices.make_strategy(configuration.training.strategy)
    stop.take_signals()
    if configuration.training.deterministic:
        devices.make_deterministic()
    dataset = _load(configuration)
    steps_per_epoch = _steps_per_epoch(
        configuration, len(dataset.train), strategy.num_replicas_in_sync
    )
    with strategy.scope():
        method = build_method(configuration, dataset.num_classes, dataset.image_shape)
    run = RunDirectory(configuration.run_dir)
    writes = devices.is_chief(strategy)
    training = _Training(
        configuration, notes, strategy, writes, dataset, method, run, steps_per_epoch, stop
    )
    # A run that goes on has its own weights, and needs no other run for them.
    initial = (
        None if run.checkpoints.exist() else _initial_classifier(configuration, method, dataset)
    )
    try:
        # Only now is every flag known to be good.
        with run.lock() if writes else contextlib.nullcontext():
            _train(training, _start(training, initial))
            if writes:
                _finish(configuration, dataset, run)
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

    run, dataset, configuration = training.run, training.dataset, training.configuration
    if training.writes:
        run.prepare(configuration)
    # First: to write a variable, workers may wait for each other.
    _require_agreement(training)
    progress = run.checkpoints.restore(training.method)
    if progress is None:
        progress = Progress(0, 0, dataset.class_names, dataset.image_shape)
        if initial:
            training.method.classifier.set_weights(initial.model.get_weights())
        run.checkpoints.save(training.method, progress, training.writes)
    _require_same_classes(run, progress, dataset)
    _print_notes(training.notes)
    print(
        f"{configuration.training.method} on {dataset.name}: {len(dataset.train)} training "
        f"and {len(dataset.validation)} validation images; epochs "
        f"{progress.epoch} to {configuration.training.epochs}; {run.path}",
        flush=True,
    )
    return progress


def _print_notes(notes: list[str]) -> None:
    """Says what would train something weaker unseen, as another method's flag file does."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _require_agreement(training: _Training) -> None:
    """Raises `UserError` where the workers would train different things."""
    from fsgan_tf import devices
    from fsgan_tf.runs.configuration import CHANGEABLE

    if not devices.has_workers(training.strategy):
        return
    named = training.configuration.texts().items()
    fixed = sorted(flag for flag in named if flag[0] not in CHANGEABLE)
    train = training.dataset.train
    seen = {
        "training flags": repr(fixed).encode(),
        "numbers of epochs": str(training.configuration.training.epochs).encode(),
        "precisions": devices.resolve_precision(training.configuration.training.precision).encode(),
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
    configuration: TrainingConfiguration, num_classes: int, image_shape: tuple[int, int, int]
) -> TrainingMethod:
    """Networks, optimizers and method of these flags; call it in the strategy's scope.

    Args:
      configuration: of the training.
      num_classes: K.
      image_shape: `(h, w, c)`.

    Returns:
      The method, its weights drawn from `--seed`.
    """
    import keras

    from fsgan_tf import devices, methods
    from fsgan_tf.networks import classifiers

    training = configuration.training
    keras.utils.set_random_seed(training.seed)
    classifier = classifiers.build(
        training.architecture,
        configuration.classifier,
        num_classes=num_classes,
        image_shape=image_shape,
        dtype=devices.resolve_precision(training.precision),
    )
    method = methods.get(training.method)(
        classifier,
        epsilon=training.epsilon,
        seed=training.seed,
        **dataclasses.asdict(configuration.method),
    )
    if training.jit_compile:
        method.compile(jit_compile=True)
    return method


def _load(configuration: TrainingConfiguration) -> ImageDataset:
    from fsgan_tf.data import loading

    return loading.load(configuration.data.dataset, **_data_options(configuration))


def _data_options(configuration: TrainingConfiguration) -> dict[str, Any]:
    counts = ("train_examples", "validation_examples")
    chosen = {name: getattr(configuration.data, name) for name in counts}
    return {**configuration.data_options(), **chosen}


def _steps_per_epoch(
    configuration: TrainingConfiguration, train_examples: int, replicas: int
) -> int:
    steps = train_examples // (configuration.training.batch_size * replicas)
    if not steps:
        raise UserError(
            f"{train_examples} training images are fewer than one batch of "
            f"{configuration.training.batch_size} for each of {replicas} replica(s); give a "
            "smaller --batch_size or more data"
        )
    return steps


def _initial_classifier(
    configuration: TrainingConfiguration, method: TrainingMethod, dataset: ImageDataset
) -> RestoredClassifier | None:
    """The classifier of `--init_from`, known to fit."""
    if configuration.training.init_from is None:
        return None
    from fsgan_tf.runs.restored import restore_classifier

    initial = restore_classifier(configuration.training.init_from)
    if initial.class_names != dataset.class_names:
        raise UserError(
            f"--init_from={configuration.training.init_from} was trained for the classes "
            f"{', '.join(initial.class_names)}; {dataset.name} has "
            f"{', '.join(dataset.class_names)}"
        )
    shapes, expected = (
        [tuple(weight.shape) for weight in model.weights]
        for model in (initial.model, method.classifier)
    )
    given = " ".join(
        f"--{name}={value}" for name, value in vars(initial.settings.classifier).items()
    )
    if shapes != expected or initial.model.input_shape != method.classifier.input_shape:
        raise UserError(
            f"--init_from={configuration.training.init_from} holds a {initial.model.name} for "
            f"images {initial.model.input_shape[1:]}, and this training's classifier is a "
            f"{method.classifier.name} for {method.classifier.input_shape[1:]}; give "
            f"--architecture={initial.settings.training.architecture} {given}, or another run"
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
        while progress.epoch < training.configuration.training.epochs:
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
    rolls_back = training.configuration.training.on_nan == "rollback"
    restored = training.run.checkpoints.restore(training.method) if rolls_back else None
    if restored is None:
        raise RunError(
            f"{told}; --on_nan=rollback goes on from it with other random draws; a smaller "
            "learning rate needs another --run_dir"
        ) from error
    place = (restored.epoch, restored.step_in_epoch)
    tries[place] = tries.get(place, 0) + 1
    if tries[place] > MAX_ROLLBACKS:
        raise RunError(
            f"{told}; gave up after {MAX_ROLLBACKS} rollbacks to it; a smaller learning "
            "rate needs another --run_dir"
        ) from error
    print(f"warning: {told}; going on from it with other random draws", file=sys.stderr)
    return dataclasses.replace(restored, rollbacks=progress.rollbacks + 1)


def _fit(training: _Training, progress: Progress) -> None:
    """Trains from `progress` to the last epoch; an interrupted epoch is completed first."""
    from fsgan_tf.data import loading

    configuration, method = training.configuration, training.method
    seed = _seed(configuration.training.seed, progress.rollbacks)
    method.reseed(seed)
    bar, callbacks = _callbacks(training, progress)
    epoch, skipped = progress.epoch, progress.step_in_epoch
    try:
        while epoch < configuration.training.epochs:
            batches = loading.training_batches(
                training.dataset.train,
                batch_size=training.global_batch_size,
                seed=seed,
                augmentation=loading.resolve_augmentation(
                    configuration.data.augmentation, configuration.data.dataset
                ),
                first_epoch=epoch,
            )
            last_epoch = epoch + 1 if skipped else configuration.training.epochs
            method.continues_epoch = bool(skipped)
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

    configuration, method = training.configuration, training.method
    initial_rates = {
        network: float(getattr(configuration.method, f"{network}_learning_rate"))
        for network in method.optimizers_by_network
    }
    generator_drops = getattr(configuration.method, "generator_lr_decay", True)
    bar = ProgressBar(
        configuration.training.epochs,
        training.steps_per_epoch,
        training.done_steps(progress),
        training.global_batch_size,
        shown=training.writes,
    )
    rates = LearningRates(
        method,
        initial_rates,
        constant=() if generator_drops else ("generator",),
        decay_epochs=configuration.training.lr_decay_epochs,
        decay_factor=configuration.training.lr_decay_factor,
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
        epochs=training.configuration.training.epochs,
        batch_size=training.configuration.training.batch_size,
        images_per_step=training.global_batch_size,
        seed=training.configuration.training.seed,
    )
    watcher.describe(training.configuration)
    return watcher


def _seed(seed: int, rollbacks: int) -> int:
    """Another seed after each rollback, within int32."""
    return (seed + 1_000_003 * rollbacks) % 2**31 if rollbacks else seed


def _finish(configuration: TrainingConfiguration, dataset: ImageDataset, run: RunDirectory) -> None:
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
    test = (
        dataset.test.first(configuration.training.eval_examples)
        if configuration.training.eval_examples
        else None
    )
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
        threat_model=ThreatModel(configuration.training.epsilon),
        attacks=suite("quick", configuration.training.epsilon),
        batch_size=128,
        seed=configuration.training.seed,
        standalone=True,
        output_dir=run.evaluation,
        manifest=report.Manifest(
            model=str(run.path),
            dataset=configuration.data.dataset,
            split=test.name,
            dataset_sha256=test.sha256(),
            class_names=restored.class_names,
            classifier_sha256=restored.weights_sha256,
            command=shlex.join(["python", "-m", "fsgan_tf.train", *sys.argv[1:]]),
            suite="quick",
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


def _dry_run(configuration: TrainingConfiguration, notes: list[str]) -> None:
    """Prints the resolved configuration and its cost."""
    from fsgan_tf import devices
    from fsgan_tf.data import loading
    from fsgan_tf.training import cost

    train_images, num_classes, image_shape = loading.training_size(
        configuration.data.dataset, **_data_options(configuration)
    )
    strategy = devices.make_strategy(configuration.training.strategy)
    steps = _steps_per_epoch(configuration, train_images, strategy.num_replicas_in_sync)
    with strategy.scope():
        method = build_method(configuration, num_classes, image_shape)
    _print_notes(notes)
    print(configuration.to_flags())
    print(f"training images: {train_images}, classes: {num_classes}, image: {image_shape}")
    print(f"replicas: {strategy.num_replicas_in_sync}")
    print(f"precision: {devices.resolve_precision(configuration.training.precision)}")
    multiply_adds = 0.0
    for name, network in method.networks.items():
        passes = method.forward_equivalents[name]
        multiply_adds += cost.multiply_adds(network) * passes
        print(
            f"{name}: {cost.parameters(network):,} trainable parameters, "
            f"{cost.multiply_adds(network) / 1e6:,.1f} M multiply-adds an image and pass, "
            f"{passes:g} passes an image and step"
        )
    images = (
        configuration.training.epochs
        * steps
        * configuration.training.batch_size
        * strategy.num_replicas_in_sync
    )
    operations = 2 * multiply_adds * images
    print(f"steps an epoch: {steps}, steps in all: {configuration.training.epochs * steps}")
    print(
        f"arithmetic of the training: {operations:.3g} floating-point operations; "
        + ", ".join(
            f"{operations / (teraflops * 1e12) / 3600:.3g} h at {teraflops:g} TFLOP/s"
            for teraflops in (0.1, 10, 100)
        )
    )


if __name__ == "__main__":
    sys.exit(
        runner.run(
            main,
            training_flags.training_flags(),
            description=__doc__ or "",
            help_text=training_flags.help_text,
        )
    )
