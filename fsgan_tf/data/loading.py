"""Data sets by name, cut for training or read for evaluation."""

import functools
import sys
from typing import Any

from fsgan_tf.data import registry
from fsgan_tf.data.opened import Opened
from fsgan_tf.data.source import KnownSize
from fsgan_tf.data.split import Split
from fsgan_tf.errors import UserError


class ImageDataset:
    """A data set cut for training.

    Attributes:
      name: as given by the user.
      class_names: one name a label.
      train: what the networks learn from.
      validation: to watch the training: held out of the training set, or its own split.
    """

    def __init__(self, opened: Opened, train: Split, validation: Split):
        """Takes what was read for training; the test split is read on first use."""
        self.name = opened.name
        self.class_names = opened.class_names
        self.train = train
        self.validation = validation
        self._opened = opened

    @functools.cached_property
    def test(self) -> Split:
        """Untouched until the evaluation: read on first use."""
        return self._opened.read(self._opened.source.splits.test)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.train.image_shape


def load(
    name: str,
    *,
    train_examples: int | None = None,
    validation_examples: int = 1000,
    class_names: str | None = None,
    **options: Any,
) -> ImageDataset:
    """Reads the training set of a data set and holds a validation split out of it.

    A data set with a validation split beside its test split keeps its whole training set, and is
    watched by that.

    Args:
      name: `digits`, a TFDS name, a folder of class folders, or what another source knows.
      train_examples: keep the first N training examples only.
      validation_examples: size of the validation split: the last examples of the training set,
        at most a tenth of it and at least one. 0 for none.
      class_names: file of one class name a line, in the order of the labels.
      **options: of the source (`fsgan_tf.data.source`): `image_size`, `channels`, `memory_limit`,
        `data_dir`.

    Returns:
      The data set; its test split is not read yet.

    Raises:
      UserError: unknown, missing, damaged or unfit data; fewer than `train_examples`.
    """
    opened = Opened(name, class_names, options)
    splits = opened.source.splits
    if splits.train is None:
        raise UserError(
            f"{name} has no training split, only {splits.test}: it can be evaluated, not trained on"
        )
    # Its images are for the end, but its faults are not.
    opened.source.check(splits.test)
    train = opened.read(splits.train)
    if splits.validation and validation_examples:
        held_out = 0
        validation = opened.read(splits.validation).first(validation_examples)
    else:
        validation = _hold_out(train, validation_examples)
        held_out = len(validation)
    available = _available(name, len(train), held_out, train_examples)
    return ImageDataset(opened, train.part(0, train_examples or available), validation)


def load_split(
    name: str,
    split: str | None = None,
    *,
    trained_on: bool = False,
    validation_examples: int = 1000,
    class_names: str | None = None,
    known_names: tuple[str, ...] = (),
    **options: Any,
) -> tuple[Split, tuple[str, ...]]:
    """Reads one split, to evaluate on it.

    Args:
      name: as for `load`.
      split: `test`, `validation` (the whole of one that is stored, or else the images that `load`
        holds out), `train`, `all`, or what the source knows, such as `train[80%:]`. By default all
        labelled images there are to evaluate on: the test split, or every image of a data set
        without one.
      trained_on: whether the classifier was trained on this data set, so that by default only the
        part that trainings set aside is left to evaluate on.
      validation_examples: how many `load` held out, where no validation split is stored.
      class_names: as for `load`.
      known_names: of a classifier's classes, in its order; the labels take it where no
        `class_names` are given and every class of the data is among these.
      **options: as for `load`.

    Returns:
      The split, whose `name` says what was read, and the class names.

    Raises:
      UserError: unknown, missing, damaged or unfit data.
    """
    opened = Opened(name, class_names, options, known_names)
    splits = opened.source.splits
    if split is None:
        everything = None if trained_on else splits.all
        read = opened.read(everything or splits.test)
        if everything:
            print(
                f"note: {name} has no test split: all {len(read)} images are evaluated; for a "
                "classifier that was trained on them, give --split=test, which trainings set aside",
                file=sys.stderr,
            )
        return read, opened.class_names
    if split == "validation" and splits.train and not splits.validation:
        if not validation_examples:
            raise UserError(
                f"no images of {name} were held out (--validation_examples=0); give another --split"
            )
        held_out = _hold_out(opened.read(splits.train), validation_examples)
        return held_out, opened.class_names
    named = {"train": splits.train, "test": splits.test, "validation": splits.validation}
    return opened.read(named.get(split) or split), opened.class_names


def training_size(
    name: str,
    *,
    train_examples: int | None = None,
    validation_examples: int = 1000,
    class_names: str | None = None,
    **options: Any,
) -> KnownSize:
    """How many images a training would have, of how many classes and which shape.

    Nothing is read for the paper's data sets. Arguments and errors are those of `load`.
    """
    known = registry.source_of(name).known_size(name)
    if known is None or class_names or options.get("image_size"):
        dataset = load(
            name,
            train_examples=train_examples,
            validation_examples=validation_examples,
            class_names=class_names,
            **options,
        )
        return KnownSize(len(dataset.train), dataset.num_classes, dataset.image_shape)
    held_out = _held_out(known.train_images, validation_examples)
    available = _available(name, known.train_images, held_out, train_examples)
    return known._replace(train_images=train_examples or available)


def _available(name: str, images: int, held_out: int, wanted: int | None) -> int:
    """Training images beside those held out; raises UserError where more are wanted."""
    available = images - held_out
    if available < (wanted or 1):
        raise UserError(
            f"{name} has {available} training examples beside the {held_out} held out for "
            f"validation; give --train_examples={available} or fewer"
            if available > 0
            else f"{name} has {images} training examples; at least 2 are needed"
        )
    return available


def _hold_out(train: Split, validation_examples: int) -> Split:
    count = len(train) - _held_out(len(train), validation_examples)
    return train.part(count, len(train), "validation")


def _held_out(train_images: int, validation_examples: int) -> int:
    return min(validation_examples, max(1, train_images // 10))
