"""The embedded data set: scikit-learn's 1,797 handwritten digits, read without a network."""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fsgan_tf.data.image_source import Split, check_memory, check_sides

_DEFAULT_SIZE = 32
_BRIGHTEST = 16.0  # load_digits counts the set pixels of 4x4 blocks.


class DigitsSource:
    """8x8 digits, enlarged bilinearly to three equal channels; a fixed stratified 80/20 split.

    The images are the test part of the UCI "Optical Recognition of Handwritten Digits", as
    `sklearn.datasets.load_digits` holds them.
    """

    class_names = tuple("0123456789")

    def __init__(self, image_size: int | None = None):
        self._size = image_size or _DEFAULT_SIZE
        check_sides(self._size, self._size)

    def read(self, *splits: str) -> list[Split]:
        """Reads the named splits of `train` and `test`."""
        digits = load_digits()
        labels = digits.target.astype(np.int32)
        check_memory(len(labels), (self._size, self._size, 3))
        train, test = train_test_split(
            np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels
        )
        rows = {"train": train, "test": test}
        images = self._enlarge(digits.images)
        return [Split(images[rows[split]], labels[rows[split]]) for split in splits]

    def _enlarge(self, images: np.ndarray) -> np.ndarray:
        grey = images[..., np.newaxis] * (255.0 / _BRIGHTEST)
        large = tf.image.resize(grey, [self._size, self._size], "bilinear")
        return np.repeat(np.rint(large.numpy()).astype(np.uint8), 3, axis=-1)
