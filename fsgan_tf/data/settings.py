"""Which images a training reads, and what it does to them."""

import dataclasses

from fsgan_tf import settings
from fsgan_tf.settings import setting

MIN_SIDE = 8


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of a text: `32` for both, or `64,96`.

    Raises:
      ValueError: it is not a size.
    """
    sides = [int(side) for side in text.split(",")]
    if len(sides) > 2:
        raise ValueError
    return sides[0], sides[-1]


def _too_small(size: tuple[int, int]) -> str | None:
    return None if min(size) >= MIN_SIDE else f"must have sides of at least {MIN_SIDE}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSettings(settings.Settings):
    """What every source of images is asked for."""

    image_size: tuple[int, int] | None = setting(
        None,
        "Resize images to this height and width (32), or to a height and a width (64,96); by "
        "default the data set's own, and 32 for folders of images.",
        parse=parse_size,
        noun="a side such as 32, or a height and a width such as 64,96",
        check=_too_small,
    )
    channels: int | None = setting(
        None,
        "Channels of the images in a folder: 1 for grey, 3 for colour (the default).",
        check=lambda count: None if count in (1, 3) else "must be 1 (grey) or 3 (colour)",
    )
    memory_limit: float | None = setting(
        None,
        "Memory that training images may take, in GiB; where they need more, they are read "
        "from disk as they are used. Half of the free memory by default.",
        above=0,
        fraction=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _NamedData(ImageSettings):
    """A data set and its classes."""

    dataset: str | None = setting(
        None,
        "digits (embedded), a TFDS name (svhn_cropped, cifar10, cifar100, ...) or a folder of "
        "class folders.",
    )
    class_names: str | None = setting(
        None,
        "File with one class name a line, in the order of the labels; it may name classes that "
        "the data do not have. Without it an evaluation takes the order of a classifier that names "
        "them all.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings(_NamedData):
    """Data set, sizes and augmentation of a training."""

    dataset: str = "digits"
    train_examples: int | None = setting(
        None, "Train on the first N examples of the training set only.", lower=2
    )
    validation_examples: int = setting(
        1000,
        "Examples held out of the training set to watch the training, at most a tenth of it; 0 "
        "holds out none and watches the loss alone.",
        lower=0,
    )
    augmentation: str = setting(
        "auto",
        "What is done to training images: crop_flip pads by 4, crops and flips; auto is "
        "crop_flip for photographs, none for digits and letters and for images smaller than "
        "12x12.",
        choices=("auto", "none", "crop_flip"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluatedDataSettings(_NamedData):
    """Data set and images of an evaluation; what is None is as in the training."""

    validation_examples: int | None = setting(
        None,
        "Examples that the training held out, which --split=validation takes.",
        lower=1,
    )
    split: str | None = setting(
        None,
        "Examples to attack: test, validation (held out of the training set, to choose "
        "settings on), train, all (class folders without splits, TFDS), or a part as TFDS writes "
        "it, train[80%:]. By default the "
        "test split or, in a data set without one, every image that the classifier was not "
        "trained on.",
    )
    num_examples: int | None = setting(
        None, "Evaluate on the first N examples; on all by default.", lower=1
    )
