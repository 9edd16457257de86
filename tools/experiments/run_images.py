"""What tools look at a trained run with: its generator, and images such as its own."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import tensorflow as tf

from fsgan_tf.data import loading
from fsgan_tf.errors import UserError
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.runs.restored import RestoredClassifier, restore_classifier
from fsgan_tf.training.build import build_method

if TYPE_CHECKING:
    import numpy as np

    from fsgan_tf.data.split import Split


def restore_fs_gan(run_dir: str) -> RestoredClassifier:
    """The classifier of a run, known to be of FS-GAN.

    Raises:
      UserError: it is no run, or one of another method.
    """
    restored = restore_classifier(run_dir)
    if restored.configuration.training.method != "fs_gan":
        raise UserError(
            f"{run_dir} is a run of --method={restored.configuration.training.method}; a run of "
            "--method=fs_gan is needed here"
        )
    return restored


def load(
    restored: RestoredClassifier, run_dir: str, split_name: str, data_dir: str | None = None
) -> Split:
    """Images known to be such as a run was trained on.

    Args:
      restored: the run's classifier.
      run_dir: the run, for messages.
      split_name: train, validation or test.
      data_dir: of TFDS; the run's own by default.

    Raises:
      UserError: the data are not there, or other images or classes than the run's.
    """
    data, options = restored.configuration.data, restored.configuration.data_options()
    if data_dir:
        options["data_dir"] = data_dir
    split, class_names = loading.load_split(
        data.dataset,
        split_name,
        trained_on=True,
        validation_examples=data.validation_examples,
        **options,
    )
    image_shape = restored.progress.image_shape
    if (restored.class_names, image_shape) != (class_names, split.image_shape):
        raise UserError(
            f"{run_dir} was trained on images {image_shape} of the classes "
            f"{', '.join(restored.class_names)}; {data.dataset} has {split.image_shape} and "
            f"{', '.join(class_names)}"
        )
    return split


def whole_batches(images: Split, batch_size: int, num_examples: int) -> list[Split]:
    """The first images in whole batches, at least `num_examples` if there are so many.

    Raises:
      UserError: a batch is larger than the images.
    """
    if batch_size > len(images):
        raise UserError(
            f"a batch of {batch_size} is larger than the {len(images)} images of {images.name}; "
            f"give --batch_size={len(images)} or less, or another --split"
        )
    count = min(-(-num_examples // batch_size), len(images) // batch_size)
    if count * batch_size < num_examples:
        print(
            f"note: {images.name} has {count * batch_size} images in whole batches, fewer than "
            f"--num_examples={num_examples}",
            file=sys.stderr,
        )
    return [images.part(i * batch_size, (i + 1) * batch_size) for i in range(count)]


def pixels(batch: Split) -> tf.Tensor:
    """float32 `[b, h, w, c]` in [0, 1]."""
    return tf.constant(batch.images, tf.float32) / 255.0


def generator_weights(run_dir: str, restored: RestoredClassifier) -> list[np.ndarray]:
    """The generator's weights in the run's newest checkpoint."""
    configuration = restored.configuration
    # The checkpoint fits in any precision but float16, whose optimizers keep a loss scale.
    if configuration.training.precision != "mixed_float16":
        exact = dataclasses.replace(configuration.training, precision="float32")
        configuration = dataclasses.replace(configuration, training=exact)
    method = build_method(configuration, len(restored.class_names), restored.progress.image_shape)
    RunDirectory(run_dir).checkpoints.restore(method)
    return method.networks["generator"].get_weights()
