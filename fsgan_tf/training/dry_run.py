"""What a training would be and cost."""

from __future__ import annotations

from collections.abc import Sequence

from fsgan_tf import devices
from fsgan_tf.data import loading
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.training import cost, setup
from fsgan_tf.training.build import build_method

_TERAFLOPS = (0.1, 10, 100)


def print_plan(configuration: TrainingConfiguration, notes: Sequence[str] = ()) -> None:
    """Prints the resolved configuration and its cost; writes nothing.

    Raises:
      UserError: a flag, the data or the hardware do not fit.
    """
    settings = configuration.training
    train_images, num_classes, image_shape = loading.training_size(
        configuration.data.dataset, **setup.data_options(configuration)
    )
    strategy = devices.make_strategy(settings.strategy)
    replicas = strategy.num_replicas_in_sync
    setup.require_a_batch(settings, train_images, replicas)
    with strategy.scope():
        method = build_method(configuration, num_classes, image_shape)
    setup.print_notes(notes)
    print(configuration.to_flags())
    print(f"training images: {train_images}, classes: {num_classes}, image: {image_shape}")
    print(f"replicas: {replicas}")
    print(f"precision: {devices.resolve_precision(settings.precision)}")
    _print_networks(method)
    steps = settings.epochs * (train_images // (settings.batch_size * replicas))
    print(f"steps an epoch: {steps // settings.epochs}, steps in all: {steps}")
    _print_arithmetic(method, images=steps * settings.batch_size * replicas)


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
    hours = ", ".join(
        f"{operations / (teraflops * 1e12) / 3600:.3g} h at {teraflops:g} TFLOP/s"
        for teraflops in _TERAFLOPS
    )
    print(f"arithmetic of the training: {operations:.3g} floating-point operations; {hours}")
