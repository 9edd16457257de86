"""How much memory images may take."""

import math

import psutil  # type: ignore[import-untyped]

from fsgan_tf.errors import UserError

# A few bytes can announce an image of gigabytes; decoding 2^26 pixels takes about 1.5 GB.
MAX_PIXELS = 2**26

_GIB = 2**30
# A training keeps its images as NumPy has them and as TensorFlow does.
_COPIES = 2


def fits_memory(count: int, image_shape: tuple[int, ...], limit: float | None) -> bool:
    """Whether a training may keep `count` uint8 images in memory.

    Args:
      count: of the images.
      image_shape: of one.
      limit: in GiB; half of the memory that is free now by default.

    Returns:
      Whether both copies of the images that a training keeps are within the limit.
    """
    allowed = psutil.virtual_memory().available / 2 if limit is None else limit * _GIB
    return _COPIES * count * math.prod(image_shape) <= allowed


def check_memory(count: int, image_shape: tuple[int, ...]) -> None:
    """Raises `UserError` when `count` uint8 images exceed this machine's memory."""
    needed, memory = count * math.prod(image_shape), psutil.virtual_memory().total
    if needed > memory:
        raise UserError(
            f"{count} images of {'x'.join(map(str, image_shape))} need {needed / 1e9:.1f} GB of "
            f"memory, this machine has {memory / 1e9:.1f} GB; take fewer images or give a smaller "
            "--image_size"
        )
