"""Small methods and batches for tests."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fsgan_tf import methods
from fsgan_tf.cli import training_flags
from fsgan_tf.methods.base import Batch, TrainingMethod
from fsgan_tf.settings import Settings
from fsgan_tf.training.build import build_method

IMAGE_SHAPE = (16, 16, 3)
NUM_CLASSES = 5
BATCH_SIZE = 8
TOTAL_STEPS = 10
# `--architecture` of a training whose network does not matter; much quicker than the ResNets.
SMALL = f"{__name__}:small_classifier"


def small_classifier(
    num_classes: int, image_shape: tuple[int, int, int], dtype: str
) -> keras.Model:
    """Two convolutions with batch normalisation, and the ResNets' names of first and last layer."""
    layers = keras.layers
    x = images = keras.Input(image_shape)
    for name in ("stem", "conv"):
        x = layers.Conv2D(8, 3, strides=2, use_bias=False, dtype=dtype, name=name)(x)
        x = layers.BatchNormalization(dtype=dtype, name=f"{name}_bn")(x)
        x = layers.ReLU(dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return keras.Model(images, layers.Dense(num_classes, dtype="float32", name="logits")(x))


def build(name: str = "fs_gan", **flags: Any) -> TrainingMethod:
    """A method of tiny networks."""
    flags = {"precision": "float32", "generator_width": 4, "latent_dim": 3, **flags}
    words = [f"--method={name}", *(f"--{key}={value}" for key, value in flags.items())]
    method = build_method(training_flags.parse(words), NUM_CLASSES, IMAGE_SHAPE)
    method.set_total_steps(TOTAL_STEPS)
    method.remember(TOTAL_STEPS * BATCH_SIZE)
    return method


def _defaults(name: str) -> Settings:
    return methods.declared(name).settings()


def few_steps(name: str) -> dict[str, int]:
    """Settings by which a slow adversary takes two steps, where their number does not matter."""
    default = getattr(_defaults(name), "attack_iterations", 1)
    return {"attack_iterations": 2} if default > 2 else {}


def one_iteration(name: str) -> dict[str, int]:
    """Settings by which an adversary takes one step, where it repeats the same code anyway."""
    return {"attack_iterations": 1} if hasattr(_defaults(name), "attack_iterations") else {}


def build_small(name: str = "fs_gan", **flags: Any) -> TrainingMethod:
    """A method of a small classifier, for what is no ResNet's own."""
    return build(name, **{"architecture": SMALL, **flags})


def build_quick(name: str, **flags: Any) -> TrainingMethod:
    """A method of a small classifier and few adversarial steps."""
    return build_small(name, **{**few_steps(name), **flags})


def batch(seed: int = 0, size: int = BATCH_SIZE) -> Batch:
    """Random images in [0, 1] with labels and numbers."""
    random = np.random.default_rng(seed)
    return {
        "image": tf.constant(random.random((size, *IMAGE_SHAPE)), tf.float32),
        "label": tf.constant(random.integers(0, NUM_CLASSES, size), tf.int32),
        "index": tf.range(size) + seed % TOTAL_STEPS * size,
    }


def dataset(steps: int, size: int = BATCH_SIZE) -> tf.data.Dataset:
    """`steps` different batches."""
    batches = [batch(seed, size) for seed in range(steps)]
    stacked = {key: tf.stack([one[key] for one in batches]) for key in batches[0]}
    return tf.data.Dataset.from_tensor_slices(stacked)


def run(method: TrainingMethod, batches: tf.data.Dataset, steps: int) -> dict[str, float]:
    """Runs steps eagerly, which spares tracing them, and returns the means."""
    reports: dict[str, tf.Tensor] = {}
    for data in batches.take(steps):
        reports = method.train_step(data)
    return {name: float(value) for name, value in reports.items()}


def fit(method: TrainingMethod, batches: tf.data.Dataset, steps: int) -> dict[str, float]:
    """Runs steps as a training does, in a graph, and returns the means."""
    history = method.fit(batches, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0)
    return {name: values[-1] for name, values in history.history.items()}
