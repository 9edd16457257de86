"""Trains a robust image classifier, measures it and exports it.

    python -m fsgan_tf.train --flagfile=configs/svhn.flags [--run_dir=runs/NAME] [flags]

The last value given for a flag wins, so flags after --flagfile override it. Run again with the
same --run_dir, it goes on where it stopped.
"""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

from absl import flags

from fsgan_tf import cli, quiet, settings
from fsgan_tf.errors import RunError, UserError

if TYPE_CHECKING:
    import tensorflow as tf

    from fsgan_tf.callbacks import StopRequest
    from fsgan_tf.data import ImageDataset
    from fsgan_tf.methods.base import TrainingMethod
    from fsgan_tf.run_dir import Progress, RestoredClassifier, RunDirectory
    from fsgan_tf.watching import Watcher

# Shape and size of the paper's data sets, so that a dry run needs none of their data.
_KNOWN_SIZES = {
    "svhn_cropped": (73257, 10, (32, 32, 3)),
    "cifar10": (50000, 10, (32, 32, 3)),
    "cifar100": (50000, 100, (32, 32, 3)),
}


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

    from fsgan_tf import hardware
    from fsgan_tf.callbacks import StopRequest
    from fsgan_tf.run_dir import Progress, RunDirectory

    strategy = hardware.make_strategy(flag_values.strategy)
    dataset = _load(flag_values)
    steps_per_epoch = _steps_per_epoch(
        flag_values, len(dataset.train), strategy.num_replicas_in_sync
    )
    with strategy.scope():
        method = build_method(flag_values, dataset.num_classes, dataset.image_shape)
    run = RunDirectory(flag_values.run_dir)
    # A run that goes on has its own weights, and needs no other run for them.
    initial = None if run.has_checkpoint() else _initial_classifier(flag_values, method, dataset)
    # Only now is every flag known to be good.
    run.prepare(flag_values)
    progress = run.restore_checkpoint(method)
    if progress is None:
        progress = Progress(0, 0, dataset.class_names, dataset.image_shape)
        if initial:
            method.classifier.set_weights(initial.model.get_weights())
    _require_same_classes(run, progress, dataset)
    print(
        f"{flag_values.method} on {dataset.name}: {len(dataset.train)} training, "
        f"{len(dataset.validation)} validation, {len(dataset.test)} test images; epochs "
        f"{progress.epoch} to {flag_values.epochs}; {run.path}",
        flush=True,
    )
    with StopRequest() as stop:
        watcher = _fit(flag_values, method, dataset, run, progress, strategy, steps_per_epoch, stop)
    _finish(flag_values, dataset, run, watcher)


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

    from fsgan_tf import hardware, methods, optimizers
    from fsgan_tf.networks.wide_resnet import wide_resnet
    from fsgan_tf.threat_model import ThreatModel

    keras.utils.set_random_seed(values.seed)
    precision = hardware.resolve_precision(values.precision)
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
    from fsgan_tf import data

    return data.load(
        values.dataset,
        data_dir=values.data_dir,
        image_size=values.image_size,
        train_examples=values.train_examples,
        validation_examples=values.validation_examples,
    )


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
    from fsgan_tf.run_dir import restore_classifier

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


def _fit(
    values: flags.FlagValues,
    method: TrainingMethod,
    dataset: ImageDataset,
    run: RunDirectory,
    progress: Progress,
    strategy: tf.distribute.Strategy,
    steps_per_epoch: int,
    stop: StopRequest,
) -> Watcher:
    """Trains from `progress` to the last epoch; an interrupted epoch is completed first."""
    import tensorflow as tf

    from fsgan_tf import data
    from fsgan_tf.callbacks import Checkpoints, LearningRates, ProgressBar
    from fsgan_tf.watching import Watcher

    global_batch_size = values.batch_size * strategy.num_replicas_in_sync
    run.keep_metrics_before(progress.epoch)
    watcher = Watcher(
        method,
        dataset.validation,
        run,
        epochs=values.epochs,
        batch_size=values.batch_size,
        images_per_step=global_batch_size,
        seed=values.seed,
    )
    watcher.describe(values)
    initial_rates = {
        network: float(values[f"{network}_learning_rate"].value)
        for network in method.optimizers_by_network
    }
    done_steps = progress.epoch * steps_per_epoch + progress.step_in_epoch
    bar = ProgressBar(values.epochs, steps_per_epoch, done_steps, global_batch_size)
    callbacks = [
        LearningRates(
            method,
            initial_rates,
            constant=() if values.generator_lr_decay else ("generator",),
            decay_epochs=settings.decay_epochs(values),
            decay_factor=values.lr_decay_factor,
        ),
        bar,
        watcher,
        Checkpoints(method, run, stop, progress),
    ]
    epoch, skipped = progress.epoch, progress.step_in_epoch
    try:
        while epoch < values.epochs:
            batches = data.training_batches(
                dataset.train,
                batch_size=global_batch_size,
                seed=values.seed,
                augmentation=data.resolve_augmentation(values.augmentation, values.dataset),
                first_epoch=epoch,
            )
            last_epoch = epoch + 1 if skipped else values.epochs
            method.fit(
                batches.skip(skipped),
                initial_epoch=epoch,
                epochs=last_epoch,
                steps_per_epoch=steps_per_epoch - skipped,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
            epoch, skipped = last_epoch, 0
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from {run.checkpoints}", file=sys.stderr)
        raise
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0]
        raise RunError(
            f"training failed ({type(error).__name__}: {reason}); the same command goes on from "
            f"{run.checkpoints}"
        ) from error
    finally:
        bar.close()
    return watcher


def _finish(
    values: flags.FlagValues, dataset: ImageDataset, run: RunDirectory, watcher: Watcher
) -> None:
    """Exports the classifier in float32 and attacks it on the test set, once."""
    from fsgan_tf import evaluate, export, report
    from fsgan_tf.attacks import suite
    from fsgan_tf.threat_model import ThreatModel

    restored = run.restore_classifier()
    if _is_finished(run, restored.sha256, min(values.eval_examples, len(dataset.test))):
        print(f"already exported and evaluated: {run.saved_model} {run.evaluation}")
        return
    export.save_classifier(restored.model, restored.class_names, run.saved_model)
    print(f"exported: {run.saved_model}")
    if not values.eval_examples:
        return
    examples = dataset.test.first(values.eval_examples)
    result = evaluate.evaluate_classifier(
        restored.model,
        examples,
        threat_model=ThreatModel(values.epsilon),
        attacks=suite("quick", values.epsilon),
        batch_size=128,
        seed=values.seed,
        standalone=True,
        output_dir=run.evaluation,
        manifest=report.Manifest(
            model=str(run.path),
            dataset=values.dataset,
            split="test",
            dataset_sha256=examples.sha256(),
            class_names=restored.class_names,
            classifier_sha256=restored.sha256,
            command=shlex.join(["python", "-m", "fsgan_tf.train", *sys.argv[1:]]),
        ),
        progress=True,
    )
    watcher.report(
        {
            "test/clean_accuracy": result.clean_accuracy,
            "test/worst_case_accuracy": result.worst_case_accuracy,
            **{f"test/{attack.name}": attack.accuracy for attack in result.attacks},
        }
    )
    print(report.as_table(result))
    print(f"written: {run.evaluation}\nwatch: tensorboard --logdir={run.path.parent}")


def _is_finished(run: RunDirectory, classifier_sha256: str, eval_examples: int) -> bool:
    """Whether the export and the evaluation there are of this very classifier."""
    results = run.evaluation / "results.json"
    if not (run.saved_model.is_dir() and results.is_file()):
        return False
    try:
        found = json.loads(results.read_text())
        return (found["classifier_sha256"], found["split"]) == (classifier_sha256, "test") and (
            found["num_examples"] >= eval_examples
        )
    except (ValueError, KeyError):
        return False


def _dry_run(values: flags.FlagValues) -> None:
    """Prints the resolved configuration and its cost."""
    from fsgan_tf import cost, hardware

    if values.dataset in _KNOWN_SIZES and values.image_size is None:
        train_images, num_classes, image_shape = _KNOWN_SIZES[values.dataset]
        # What `data.load` would hold out.
        train_images -= min(values.validation_examples, train_images // 10)
        train_images = min(values.train_examples or train_images, train_images)
    else:
        dataset = _load(values)
        train_images, num_classes = len(dataset.train), dataset.num_classes
        image_shape = dataset.image_shape
    strategy = hardware.make_strategy(values.strategy)
    steps = _steps_per_epoch(values, train_images, strategy.num_replicas_in_sync)
    with strategy.scope():
        method = build_method(values, num_classes, image_shape)
    print(values.flags_into_string())
    print(f"training images: {train_images}, classes: {num_classes}, image: {image_shape}")
    print(f"replicas: {strategy.num_replicas_in_sync}")
    print(f"precision: {hardware.resolve_precision(values.precision)}")
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
    sys.exit(cli.run(main, settings.training_flags(), description=__doc__ or ""))
