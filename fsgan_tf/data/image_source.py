"""What every source of images gives, and what is asked of all of them."""

import dataclasses
import hashlib
import os
from typing import Protocol

import numpy as np

from fsgan_tf.errors import UserError

_SIDE_MULTIPLE = 4  # The generator halves the image twice.


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled images in memory.

    Attributes:
      images: uint8 `[n, h, w, c]`, pixels in [0, 255].
      labels: int32 `[n]`, indices into the class names.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> "Split":
        """The first `count` examples; all of them when `count` is None or larger."""
        return Split(self.images[:count], self.labels[:count])

    def sha256(self) -> str:
        """Hash of the images, then the labels: whether two evaluations saw the same examples."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


class Source(Protocol):
    """A data set of two splits, `train` and `test`, in an order that never changes."""

    class_names: tuple[str, ...]

    def read(self, *splits: str) -> list[Split]:
        """Reads the named splits, and nothing else, into memory."""


def check_sides(height: int, width: int) -> None:
    """Raises `UserError` unless the generator can halve both sides twice."""
    if height % _SIDE_MULTIPLE or width % _SIDE_MULTIPLE:
        nearest = max(2, round(height / _SIDE_MULTIPLE)) * _SIDE_MULTIPLE
        raise UserError(
            f"images of {height}x{width} do not fit the generator, which halves them twice: sides "
            f"must be multiples of {_SIDE_MULTIPLE}; try --image_size={nearest}"
        )


def check_memory(count: int, shape: tuple[int, ...]) -> None:
    """Raises `UserError` when `count` uint8 images of `shape` exceed this machine's memory."""
    needed = count * int(np.prod(shape))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory:
        raise UserError(
            f"{count} images of {'x'.join(map(str, shape))} need {needed / 1e9:.1f} GB of memory, "
            f"this machine has {memory / 1e9:.1f} GB; give a smaller --image_size"
        )
