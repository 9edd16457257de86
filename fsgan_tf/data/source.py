"""What a source of images is: one file of `fsgan_tf.data.sources`, with its settings in it.

The registry finds the file, and flags are made from its settings. At its top it may import neither
TensorFlow nor anything else that is slow, since `--help` imports it.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from fsgan_tf import settings
from fsgan_tf.data.settings import ImageSettings
from fsgan_tf.data.split import Split

# What a training on natural images does unless a flag says otherwise, where that is not what a
# training on the digits does; by flag.
NATURAL_IMAGES = {"epsilon": "8/255"}


@dataclasses.dataclass(frozen=True)
class SplitNames:
    """Which split to read for what.

    Attributes:
      train: to learn from; None where there is nothing to learn from.
      test: to evaluate on.
      validation: to watch a training by; None where it is to be held out of `train`.
      all: every labelled image, where `test` is a part of them that is set aside for trainings;
        None where the data set has a test split of its own.
    """

    train: str | None
    test: str
    validation: str | None = None
    all: str | None = None


class KnownSize(NamedTuple):
    """What a training needs to know of data that it has not read."""

    train_images: int
    num_classes: int
    image_shape: tuple[int, int, int]


class Source(abc.ABC):
    """A data set, in an order that never changes.

    Attributes:
      help: how `--dataset` names it, a phrase.
      precedence: of the sources that own a name, the one of the lowest precedence has it: 0 for
        exact names, 1 for what is on disk, 2 for any name.
      sorts_classes: whether labels follow the sorted names for want of another order.
      recommended: the defaults of trainings on it, by flag, where they are not the settings' own;
        a method or network that does not read a flag goes without it.
      Settings: its own, beside `ImageSettings`.
      class_names: one name a label.
      splits: which split to read for what.
    """

    help: ClassVar[str]
    precedence: ClassVar[int] = 0
    sorts_classes: ClassVar[bool] = False
    recommended: ClassVar[Mapping[str, str]] = NATURAL_IMAGES
    Settings: ClassVar[type[settings.Settings]] = settings.Settings
    class_names: tuple[str, ...]
    splits: SplitNames

    @classmethod
    @abc.abstractmethod
    def owns(cls, name: str) -> bool:
        """Whether this name of a data set belongs to this source."""

    @classmethod
    def may_be_mirrored(cls, name: str) -> bool:
        """Whether a mirrored image of this data set still shows its class, as with photographs."""
        del name
        return True

    @classmethod
    def known_size(cls, name: str) -> KnownSize | None:
        """The size of a data set that need not be read for it; None for others."""
        del name
        return None

    @abc.abstractmethod
    def __init__(self, name: str, images: ImageSettings, own: Any):
        """Opens the data set of this name; reads no image.

        Args:
          name: of the data set, which is this source's.
          images: what is asked of every source.
          own: an object of `Settings`.

        Raises:
          UserError: it is missing, damaged or unfit.
        """

    def check(self, split: str) -> None:
        """Finds what is wrong with a split, as far as that can be told without reading an image.

        Raises:
          UserError: as for `read`.
        """
        del split

    @abc.abstractmethod
    def read(self, split: str) -> Split:
        """Reads a split: one of `splits`, or another that this source knows.

        Raises:
          UserError: there is no such split, or it is damaged.
        """
