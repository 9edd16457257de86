"""What a training would be and cost."""

from __future__ import annotations

from collections.abc import Sequence

from fsgan_tf import devices
from fsgan_tf.data import loading
from fsgan_tf.data.batches import batches_per_epoch
from fsgan_tf.evaluation.estimate import duration
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.training import cost, setup
from fsgan_tf.training.build import build_method
from fsgan_tf.training.start import named_classifier, require_same_network, without_drops

# What whole trainings or steps of FS-GAN sustained, TFLOP/s: docs/benchmarks.md. Networks much
# smaller than Wide ResNets of width 4 reach less of it.
_MEASURED = {
    "2 cores of an Intel Xeon, float32": 0.30,
    "2 cores of an Intel Xeon with AMX, mixed_bfloat16": 0.84,
    "an NVIDIA H100, mixed_bfloat16 (steps alone)": 279,
}


def print_plan(configuration: TrainingConfiguration, notes: Sequence[str] = ()) -> None:
    """Prints the resolved configuration and its cost.

    Nothing is written but the data, where they are not there yet: TFDS downloads and prepares them.

    Raises:
      UserError: a flag, the data or the hardware do not fit.
    """
    settings = configuration.training
    train_images, num_classes, image_shape = loading.training_size(
        configuration.data.dataset, **setup.data_options(configuration)
    )
    strategy = devices.make_strategy(settings.strategy)
    replicas = strategy.num_replicas_in_sync
    setup.require_held_out(settings, configuration.data.validation_examples)
    setup.require_a_batch(settings, train_images, replicas)
    with strategy.scope():
        method = build_method(configuration, num_classes, image_shape)
    _require_initial(configuration, method)
    setup.print_notes(notes)
    print(configuration.to_flags())
    print(f"training images: {train_images}, classes: {num_classes}, image: {image_shape}")
    print(f"replicas: {replicas}")
    print(f"precision: {method.dtype_policy_name}")
    _print_networks(method)
    if kept := method.bytes_an_example:
        print(
            f"kept of the training images: {kept * train_images / 1e9:.2f} GB, in memory for each "
            "replica and in every checkpoint"
        )
    batch_size = settings.batch_size * replicas
    steps = batches_per_epoch(train_images, batch_size, settings.last_batch)
    print(f"steps an epoch: {steps}, steps in all: {settings.epochs * steps}")
    if told := without_drops(settings):
        print(told.strip(" ()"))
    _print_arithmetic(method, images=settings.epochs * min(steps * batch_size, train_images))


def _require_initial(configuration: TrainingConfiguration, method: TrainingMethod) -> None:
    """Raises `UserError` where the training could not begin with the classifier it names."""
    source = configuration.training.init_from
    if source is None or RunDirectory(configuration.run_dir).checkpoints.exist():
        return
    require_same_network(source, named_classifier(source), method.classifier)


def _print_networks(method: TrainingMethod) -> None:
    for name, network in method.networks.items():
        print(
            f"{name}: {cost.parameters(network):,} trainable parameters, "
            f"{cost.multiply_adds(network) / 1e6:,.1f} M multiply-adds an image and pass, "
            f"{method.forward_equivalents[name]:g} passes an image and step"
        )


def _print_arithmetic(method: TrainingMethod, images: int) -> None:
    multiply_adds = sum(
        cost.multiply_adds(network) * method.forward_equivalents[name]
        for name, network in method.networks.items()
    )
    operations = 2 * multiply_adds * images
    print(f"arithmetic of the training: {operations:.3g} floating-point operations")
    print(
        "time, at rates measured with WRN-16-4 and WRN-28-10 (smaller networks take several "
        "times as long for the same arithmetic):"
    )
    for hardware, teraflops in _MEASURED.items():
        print(f"  {hardware}: {duration(operations / (teraflops * 1e12))}")
