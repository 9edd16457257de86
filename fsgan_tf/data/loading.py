"""Data sets by name, and the batches a training draws from them.

A batch is `{"image": float32 [b, h, w, c] in [0, 1], "label": int32 [b]}`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from fsgan_tf.data.augmentation import crop_flip, resolve_augmentation
from fsgan_tf.data.image_source import Source, Split
from fsgan_tf.data.sources.digits import DigitsSource
from fsgan_tf.data.sources.image_folder import FolderSource
from fsgan_tf.data.sources.tfds_images import TfdsSource
from fsgan_tf.errors import UserError

__all__ = [
    "ImageDataset",
    "Split",
    "load",
    "load_test",
    "resolve_augmentation",
    "training_batches",
]


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """A data set cut for training.

    Attributes:
      name: as given by the user.
      class_names: one name a label.
      train: what the networks learn from.
      validation: held out of the training set, to watch the training.
      test: untouched until the evaluation.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def load(
    name: str,
    *,
    data_dir: str | None = None,
    image_size: int | None = None,
    train_examples: int | None = None,
    validation_examples: int = 1000,
) -> ImageDataset:
    """Loads a data set and holds a validation split out of its training set.

    Args:
      name: `digits`, a TFDS name, or a folder of class folders.
      data_dir: folder of TFDS data; `~/tensorflow_datasets` by default.
      image_size: height and width to resize to; the data set's own by default (32 for folders).
      train_examples: keep the first N training examples only.
      validation_examples: size of the validation split: the last examples of the training set,
        at most a tenth of it and at least one.

    Returns:
      The data set, in memory.

    Raises:
      UserError: unknown, missing, damaged or unfit data; fewer than `train_examples`.
    """
    source = _open(name, data_dir, image_size)
    train, test = source.read("train", "test")
    _check(name, source, train, test)
    held_out = max(1, min(validation_examples, len(train) // 10))
    available = len(train) - held_out
    if available < (train_examples or 1):
        raise UserError(
            f"{name} has {available} training examples beside the {held_out} held out for "
            f"validation; give --train_examples={available} or fewer"
            if available > 0
            else f"{name} has {len(train)} training examples; at least 2 are needed"
        )
    return ImageDataset(
        name=name,
        class_names=source.class_names,
        train=train.first(train_examples or available),
        validation=Split(train.images[available:], train.labels[available:]),
        test=test,
    )


def load_test(
    name: str, *, data_dir: str | None = None, image_size: int | None = None
) -> tuple[Split, tuple[str, ...]]:
    """Loads the test split alone, the same as `load` gives.

    Args:
      name: as for `load`.
      data_dir: as for `load`.
      image_size: as for `load`.

    Returns:
      The test split and the class names.

    Raises:
      UserError: unknown, missing, damaged or unfit data.
    """
    source = _open(name, data_dir, image_size)
    (test,) = source.read("test")
    _check(name, source, test)
    return test, source.class_names


def training_batches(
    split: Split, *, batch_size: int, seed: int, augmentation: str, first_epoch: int = 0
) -> tf.data.Dataset:
    """Endless shuffled batches, a pure function of the arguments.

    An epoch is `len(split) // batch_size` batches; what is left over is dropped. The order depends
    on (seed, epoch), the augmentation on (seed, epoch, batch), so a stream that starts at a later
    epoch gives bit for bit what an uninterrupted one gives from there on.

    Args:
      split: the training images.
      batch_size: examples a batch, over all replicas.
      seed: 0 or more.
      augmentation: `none` or `crop_flip`.
      first_epoch: epoch to start with.

    Returns:
      Batches of static size.

    Raises:
      UserError: the split is smaller than a batch.
    """
    num_batches = len(split) // batch_size
    if not num_batches:
        raise UserError(
            f"the training set has {len(split)} examples, fewer than the batch of {batch_size} "
            "over all replicas; give a smaller --batch_size"
        )
    gather = _gather_from(split)
    height, width, _ = split.images.shape[1:]
    augment = crop_flip(height, width) if augmentation == "crop_flip" else None

    def epoch_indices(epoch: tf.Tensor) -> tf.data.Dataset:
        order = _permutation(len(split), _stream(seed, epoch, 0))[: num_batches * batch_size]
        indices = tf.reshape(order, [num_batches, batch_size])
        return (
            tf.data.Dataset.from_tensor_slices(indices)
            .enumerate(1)
            .map(lambda batch, rows: (rows, _stream(seed, epoch, batch)))
        )

    def batch_of(rows: tf.Tensor, batch_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = gather(rows)
        if augment:
            batch["image"] = augment(batch["image"], batch_seed)
        return batch

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    stream = epochs.flat_map(epoch_indices).map(batch_of, tf.data.AUTOTUNE, deterministic=True)
    return stream.prefetch(tf.data.AUTOTUNE).with_options(_options())


def _open(name: str, data_dir: str | None, image_size: int | None) -> Source:
    if name == "digits":
        return DigitsSource(image_size)
    folder = Path(name).expanduser()
    # TFDS names may hold a slash too (NAME/CONFIG), but never start as a path does.
    if (name and folder.is_dir()) or name.startswith(("/", ".", "~")):
        return FolderSource(folder, image_size)
    return TfdsSource(name, data_dir, image_size)


def _check(name: str, source: Source, *splits: Split) -> None:
    classes = len(source.class_names)
    if not all(map(str.isprintable, source.class_names)):
        # They are written a line each, and shown on terminals.
        raise UserError(f"{name} has class names of unprintable characters; rename its classes")
    for split in splits:
        outside = split.labels[(split.labels < 0) | (split.labels >= classes)]
        if outside.size:
            raise UserError(
                f"{name} has {outside.size} labels outside its {classes} classes (such as "
                f"{outside[0]}); use a data set whose examples are all labelled"
            )


def _gather_from(split: Split) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    # On the CPU, held as tensors: constants of the graph are limited to 2 GB.
    with tf.device("CPU:0"):
        images, labels = tf.constant(split.images), tf.constant(split.labels)

    def gather(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.cast(tf.gather(images, rows), tf.float32) / 255.0
        return {"image": pixels, "label": tf.gather(labels, rows)}

    return gather


def _stream(seed: int, epoch: tf.Tensor, index: int | tf.Tensor) -> tf.Tensor:
    """A stateless seed: index 0 for an epoch's order, 1 + batch for a batch's augmentation."""
    base = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.fold_in(base, tf.cast(index, tf.int64), alg="philox")


def _permutation(count: int, seed: tf.Tensor) -> tf.Tensor:
    """int32 `[count]`. 64 random bits a row leave no ties to decide."""
    keys = tf.random.stateless_uniform(
        [count], seed, minval=None, maxval=None, dtype=tf.int64, alg="philox"
    )
    return tf.argsort(keys, stable=True)


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # Several workers share one stream: each takes its part of every global batch.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options
