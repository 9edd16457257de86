"""The settings of data."""

import dataclasses

MIN_SIDE = 8


@dataclasses.dataclass(frozen=True)
class SourceSettings:
    """What every source of images reads; each may add its own.

    Attributes:
      image_size: height and width to resize to; the source's own by default.
      channels: 1 for grey, 3 for colour; the source's own by default.
      memory_limit: GiB that the images of a training may take; above it they are read from disk
        as they are needed. Half of the free memory by default.
    """

    image_size: tuple[int, int] | None = None
    channels: int | None = None
    memory_limit: float | None = None
