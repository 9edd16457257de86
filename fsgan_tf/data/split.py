"""Labelled images: in memory, or read from where they are stored as they are needed.

TensorFlow is imported where it is used: sources import this, and `--help` imports the sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fsgan_tf.data.memory import check_memory
from fsgan_tf.errors import UserError, said_within

if TYPE_CHECKING:
    import tensorflow as tf

_READ_TOGETHER = 64


class Split:
    """Labelled images in memory.

    Attributes:
      labels: int32 `[n]`, indices into the class names.
      name: of the split that was read, such as `test`, `val` or `train[80%:]`.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, name: str = ""):
        """Takes uint8 images `[n, h, w, c]` of pixels in [0, 255], and their labels."""
        self._images = images
        self.labels = labels
        self.name = name

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> np.ndarray:
        """uint8 `[n, h, w, c]`, pixels in [0, 255]."""
        return self._images

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        height, width, channels = self._images.shape[1:]
        return height, width, channels

    def part(self, start: int, stop: int, name: str | None = None) -> Split:
        """The examples from `start` to before `stop`, under a name of their own if it is given."""
        return Split(self._images[start:stop], self.labels[start:stop], name or self.name)

    def relabelled(self, labels: np.ndarray) -> Split:
        """The same images under other labels, int32 `[n]`."""
        return Split(self._images, labels, self.name)

    def first(self, count: int | None) -> Split:
        """The first `count` examples; all of them when `count` is None or larger."""
        return self.part(0, len(self) if count is None else count)

    def lookup(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """A function for graphs: from rows, int `[b]`, to uint8 images `[b, h, w, c]`."""
        import tensorflow as tf

        # On the CPU, held as a tensor: constants of the graph are limited to 2 GB.
        with tf.device("CPU:0"):
            images = tf.constant(self._images)
        return lambda rows: tf.gather(images, rows)

    def sha256(self) -> str:
        """Hash of the images, then the labels: whether two evaluations saw the same examples."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()

    def fingerprint(self) -> bytes:
        """Tells whether two processes read the same examples, without decoding what is streamed."""
        return self.sha256().encode()


class StoredImages(Protocol):
    """Images that are read by their row, in any order."""

    image_shape: tuple[int, int, int]

    def __len__(self) -> int:
        """Their number."""

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """Decodes in a graph: from int64 `[b]` to uint8 `[b, h, w, c]`."""

    def fingerprint(self) -> bytes:
        """Changes when the stored images do; decodes nothing."""


class StreamedSplit(Split):
    """Labelled images that stay where they are stored, with their labels in memory.

    `images` reads them all into memory, once: for parts that are small enough.
    """

    def __init__(
        self,
        stored: StoredImages,
        labels: np.ndarray,
        name: str = "",
        rows: np.ndarray | None = None,
    ):
        """Takes the stored images, the labels, and which of the images these are; all by default.

        Args:
          stored: images, read by their row.
          labels: int32 `[n]`.
          name: of the split.
          rows: int64 `[n]`.
        """
        self.labels = labels
        self.name = name
        self._stored = stored
        self._rows = np.arange(len(stored), dtype=np.int64) if rows is None else rows
        self._read: np.ndarray | None = None

    @property
    def images(self) -> np.ndarray:
        """uint8 `[n, h, w, c]`, read on first use.

        Raises:
          UserError: one is damaged or gone, or they do not fit the memory.
        """
        if self._read is None:
            check_memory(len(self), self.image_shape)
            self._read = self._read_all()
        return self._read

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self._stored.image_shape

    def part(self, start: int, stop: int, name: str | None = None) -> Split:
        """The examples from `start` to before `stop`, under a name of their own if it is given."""
        rows, labels = self._rows[start:stop], self.labels[start:stop]
        return StreamedSplit(self._stored, labels, name or self.name, rows)

    def relabelled(self, labels: np.ndarray) -> Split:
        """The same images under other labels, int32 `[n]`."""
        return StreamedSplit(self._stored, labels, self.name, self._rows)

    def lookup(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """A function for graphs: from rows, int `[b]`, to uint8 images `[b, h, w, c]`."""
        import tensorflow as tf

        with tf.device("CPU:0"):
            stored_rows = tf.constant(self._rows, tf.int64)
        return lambda rows: self._stored.read(tf.gather(stored_rows, rows))

    def _read_all(self) -> np.ndarray:
        import tensorflow as tf

        rows = tf.data.Dataset.from_tensor_slices(self._rows).batch(_READ_TOGETHER)
        parts = rows.map(self._stored.read, tf.data.AUTOTUNE, deterministic=True)
        images = np.empty((len(self), *self.image_shape), np.uint8)
        start = 0
        try:
            for part in parts.as_numpy_iterator():
                images[start : start + len(part)] = part
                start += len(part)
        except tf.errors.OpError as error:
            if said := said_within(error.message):
                raise UserError(said) from error
            raise
        return images

    def fingerprint(self) -> bytes:
        """Tells whether two processes read the same examples, without decoding any."""
        digest = hashlib.sha256(self._stored.fingerprint())
        digest.update(np.ascontiguousarray(self._rows).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.digest()
