"""The networks and the method of a training."""

from __future__ import annotations

import dataclasses

import keras

from fsgan_tf import devices, methods
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.networks import classifiers
from fsgan_tf.runs.configuration import TrainingConfiguration


def build_method(
    configuration: TrainingConfiguration, num_classes: int, image_shape: tuple[int, int, int]
) -> TrainingMethod:
    """Networks, optimizers and method of a training; call it in the strategy's scope.

    Args:
      configuration: of the training.
      num_classes: K.
      image_shape: `(h, w, c)`.

    Returns:
      The method, its weights drawn from `--seed`.
    """
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
