"""Image files of many formats as uint8 arrays; decoded in Python, so that EXIF orientation counts.

PNG and JPEG are decoded by TensorFlow, as the exported classifier decodes them; WebP and BMP by
Pillow.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from fsgan_tf.data.memory import MAX_PIXELS
from fsgan_tf.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = "PNG, JPEG, WebP or BMP"
_BY_TENSORFLOW, _BY_PILLOW = ("PNG", "JPEG"), ("WEBP", "BMP")

# From the stored image to the upright one, by the value of EXIF's orientation; 1 is upright.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}


def decode_file(path: Path, image_shape: tuple[int, int, int]) -> np.ndarray | None:
    """Reads an image file upright, with 8 bits a channel, resized with antialiasing.

    Args:
      path: the file.
      image_shape: `(h, w, c)` of the result, with 1 or 3 channels.

    Returns:
      uint8 `[h, w, c]`; None if the file holds no readable PNG, JPEG, WebP or BMP image of at most
      `memory.MAX_PIXELS` pixels.

    Raises:
      UserError: the file cannot be read, or holds an animation.
    """
    import tensorflow as tf

    height, width, channels = image_shape
    contents = _contents(path)
    header = _header(contents)
    if header is None:
        return None
    _require_still(header, path)
    with tf.device("CPU:0"):
        if header.format in _BY_PILLOW:
            image = _decode_by_pillow(header, channels)
        else:
            image = _decode_by_tensorflow(contents, channels)
        if image is None:
            return None
        turn = _TURNS.get(_orientation(header))
        upright = image if turn is None else turn(np.asarray(image))
        resized = tf.image.resize(upright, [height, width], antialias=True).numpy()
        # In NumPy: tf.saturate_cast, called from several threads at once, can fail.
        return np.clip(np.rint(resized), 0, 255).astype(np.uint8)


def looks_whole(path: Path) -> bool:
    """Whether a file starts and ends as an image that `decode_file` reads; decodes no pixels.

    Raises:
      UserError: the file cannot be read, or holds an animation.
    """
    contents = _contents(path)
    header = _header(contents)
    if header is None:
        return False
    _require_still(header, path)
    end = {"PNG": b"IEND", "JPEG": b"\xff\xd9", "MPO": b"\xff\xd9"}.get(header.format or "", b"")
    # Cameras append what they like to a whole JPEG.
    return end in contents[-(2**16) :]


def exif_orientation(contents: bytes) -> int:
    """The orientation, 1 to 8, that an encoded image asks for; 1, upright, if it asks for none."""
    header = _header(contents)
    return 1 if header is None else _orientation(header)


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _header(contents: bytes) -> Image.Image | None:
    """The image with its pixels still encoded; None for no image, or one of too many pixels."""
    try:
        with warnings.catch_warnings():
            # The limit is ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(contents), formats=_BY_TENSORFLOW + _BY_PILLOW)
    except Exception:  # A damaged file can raise almost anything.
        return None
    width, height = image.size
    return image if 0 < width * height <= MAX_PIXELS else None


def _require_still(image: Image.Image, path: Path) -> None:
    # An MPO is a photograph with its preview or its second eye.
    frames = getattr(image, "n_frames", 1)
    if image.format != "MPO" and frames > 1:
        raise UserError(
            f"{path} is an animation of {frames} frames; put one of them in its place, or remove it"
        )


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # As in a header.
        return 1
    return orientation if orientation in _TURNS else 1


def _decode_by_pillow(image: Image.Image, channels: int) -> np.ndarray | None:
    """uint8 `[h, w, channels]`; an alpha channel is dropped."""
    try:
        pixels = np.asarray(image.convert("RGB").convert("L" if channels == 1 else "RGB"))
    except Exception:  # As in a header.
        return None
    return pixels.reshape(*pixels.shape[:2], channels)


def _decode_by_tensorflow(contents: bytes, channels: int) -> tf.Tensor | None:
    """uint8 `[h, w, channels]`, of what the exported classifier decodes and as it does."""
    import tensorflow as tf

    from fsgan_tf.data.image_decoding import decode_jpeg, is_image

    try:
        if not is_image(contents):
            return None
        if tf.io.is_jpeg(contents):
            return decode_jpeg(contents, channels)
        return tf.io.decode_png(contents, channels=channels)
    except tf.errors.InvalidArgumentError:
        return None
