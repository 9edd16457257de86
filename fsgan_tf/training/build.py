"""The networks and the method of a training."""

from __future__ import annotations

import dataclasses

import keras

from fsgan_tf import devices, methods
from fsgan_tf.errors import UserError
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.networks import classifiers
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.threat_model import ThreatModel


def build_method(
    configuration: TrainingConfiguration, num_classes: int, image_shape: tuple[int, int, int]
) -> TrainingMethod:
    """Networks, optimizers and method of a training; call it in the strategy's scope.

    Args:
      configuration: of the training.
      num_classes: K.
      image_shape: `(h, w, c)`.

    Returns:
      The method, its weights drawn from `--seed`, or those that a user's file holds.

    Raises:
      UserError: a network of the user's own cannot be built or trained.
    """
    training = configuration.training
    keras.utils.set_random_seed(training.seed)
    classifier = classifiers.build(
        RunDirectory(configuration.run_dir).architecture(configuration),
        configuration.classifier,
        num_classes=num_classes,
        image_shape=image_shape,
        dtype=devices.resolve_precision(training.precision),
    )
    try:
        method = methods.get(training.method)(
            classifier,
            threat_model=ThreatModel(training.epsilon, norm=training.norm),
            seed=training.seed,
            **dataclasses.asdict(configuration.method),
        )
    except ValueError as error:  # of a network that a method cannot train
        raise UserError(f"--architecture={training.architecture}: {error}") from error
    if training.jit_compile:
        method.compile(jit_compile=True)
    return method
