"""Small images for tests, and their files."""

import io
import struct
import zlib

import numpy as np
import tensorflow as tf
from PIL import Image


def random_pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def unit(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(255)


def png(pixels: np.ndarray) -> bytes:
    return tf.io.encode_png(pixels).numpy()


def jpeg(pixels: np.ndarray) -> bytes:
    return tf.io.encode_jpeg(pixels, quality=100).numpy()


def cmyk_jpeg(pixels: np.ndarray) -> bytes:
    """An RGB image as a JPEG of a printer's four inks, which TensorFlow cannot write."""
    stream = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(stream, "JPEG", quality=100)
    return stream.getvalue()


def palette_png(indices: np.ndarray, palette: np.ndarray) -> bytes:
    """A PNG of 8-bit `[h, w]` indices into an `[n, 3]` palette, which TensorFlow cannot write."""
    height, width = indices.shape
    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    return _png(width, height, 3, (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(rows)))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that announces an RGB image of this size, and holds a megabyte of zeros."""
    return _png(width, height, 2, (b"IDAT", zlib.compress(bytes(10**6))))


def _png(width: int, height: int, colour_type: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, content in (header, *chunks, (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        parts += [struct.pack(">I", len(content)), kind, content, checksum]
    return b"".join(parts)
