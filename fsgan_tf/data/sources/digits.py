"""The embedded data set: scikit-learn's 1,797 handwritten digits, read without a network."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fsgan_tf.data.memory import check_memory
from fsgan_tf.data.settings import ImageSettings
from fsgan_tf.data.source import Source, SplitNames
from fsgan_tf.data.split import Split
from fsgan_tf.errors import UserError

_BRIGHTEST = 16.0  # load_digits counts the set pixels of 4x4 blocks.


class DigitsSource(Source):
    """8x8 digits, enlarged bilinearly to equal channels; a fixed stratified 80/20 split.

    The images are the test part of the UCI "Optical Recognition of Handwritten Digits", as
    `sklearn.datasets.load_digits` holds them.
    """

    help = "digits (embedded)"
    precedence = 0
    class_names = tuple("0123456789")
    splits = SplitNames(train="train", test="test")
    recommended: ClassVar[Mapping[str, str]] = {}  # The settings' own defaults are the digits'.

    @classmethod
    def owns(cls, name: str) -> bool:
        """Whether this name is `digits`."""
        return name == "digits"

    @classmethod
    def may_be_mirrored(cls, name: str) -> bool:
        """A mirrored 2 is not a digit."""
        del name
        return False

    def __init__(self, name: str, images: ImageSettings, own: Any):
        """Opens the digits, 32x32 with 3 channels by default."""
        del name, own
        self._shape = (*(images.image_size or (32, 32)), images.channels or 3)

    def read(self, split: str) -> Split:
        """Reads `train` or `test`."""
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        labels = digits.target.astype(np.int32)
        check_memory(len(labels), self._shape)
        train, test = train_test_split(
            np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels
        )
        rows = {"train": train, "test": test}.get(split)
        if rows is None:
            raise UserError(f"digits has no split {split!r}; it has train and test")
        return Split(self._enlarge(digits.images[rows]), labels[rows], split)

    def _enlarge(self, images: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        grey = images[..., np.newaxis] * (255.0 / _BRIGHTEST)
        large = tf.image.resize(grey, self._shape[:2], "bilinear")
        return np.repeat(np.rint(large.numpy()).astype(np.uint8), self._shape[2], axis=-1)
