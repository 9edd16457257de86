"""Decodes PNG and JPEG files inside a graph, so that an exported classifier takes them anywhere."""

import tensorflow as tf

from fsgan_tf.data.memory import MAX_PIXELS

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8\xff"


def decode_images(image_bytes: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Decodes PNG and JPEG images; part of a graph, so that it works wherever the export does.

    Images are converted to `c` channels; an alpha channel is dropped, a 16-bit PNG keeps its
    depth, an image of another size is resized (bilinear, antialiased).

    Args:
      image_bytes: string `[n]`, each an encoded PNG or JPEG of at most `MAX_PIXELS` pixels.
      image_shape: `(h, w, c)` of the result.

    Returns:
      float32 `[n, h, w, c]` in [0, 1].

    Raises:
      tf.errors.InvalidArgumentError: names the index of each image that cannot be decoded.
    """
    height, width, channels = image_shape

    def decode(index: tf.Tensor, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.resize(_decode(encoded, channels), (height, width), antialias=True)
        return index, tf.ensure_shape(image, image_shape)

    # Only tf.data can outlive an image that does not decode, and so tell which one it was: such
    # images go missing. A blank one at the end lets a batch be empty.
    count = tf.size(image_bytes, out_type=tf.int64)
    decoded = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))
    decoded = decoded.filter(lambda _, encoded: is_image(encoded)).map(decode).ignore_errors()
    blank = tf.data.Dataset.from_tensors((count, tf.zeros(image_shape)))
    indices, images = decoded.concatenate(blank).batch(count + 1).get_single_element()
    malformed = tf.sets.difference(tf.range(count)[tf.newaxis], indices[tf.newaxis]).values
    message = tf.strings.format(
        f"no readable PNG or JPEG of at most {MAX_PIXELS} pixels at these indices of image_bytes: "
        "{}",
        malformed,
        summarize=-1,
    )
    with tf.control_dependencies([tf.debugging.Assert(tf.size(malformed) == 0, [message])]):
        return images[:-1]


def is_image(encoded: tf.Tensor) -> tf.Tensor:
    """Whether the bytes, a string scalar, start as a PNG or JPEG of at most `MAX_PIXELS` pixels.

    Returns:
      A bool scalar.

    Raises:
      tf.errors.InvalidArgumentError: a JPEG ends before it has told its size.
    """

    def png_sides() -> tf.Tensor:
        # Big-endian, after the signature and the length and type of the first chunk.
        return tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)

    is_png = _starts_with(encoded, _PNG_START)
    sides = tf.case(
        [
            (is_png & (tf.strings.length(encoded) >= 24), png_sides),
            (_starts_with(encoded, _JPEG_START), lambda: tf.io.extract_jpeg_shape(encoded)[:2]),
        ],
        default=lambda: tf.zeros([2], tf.int32),
    )
    num_pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
    return (num_pixels > 0) & (num_pixels <= MAX_PIXELS)


def decode_jpeg(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """A JPEG, a string scalar, as uint8 `[height, width, channels]`.

    Raises:
      tf.errors.InvalidArgumentError: it cannot be decoded.
    """

    def decoded(channels: int) -> tf.Tensor:
        # TensorFlow's default is fast and, at quality 95 and more, can be wrong by 9 levels of 255
        # and more: above the epsilon of many a threat model.
        return tf.io.decode_jpeg(encoded, channels, dct_method="INTEGER_ACCURATE")

    if channels != 1:
        return decoded(channels)
    # The library turns the four inks of a printer's file into colours, but not into grey.
    is_cmyk = tf.io.extract_jpeg_shape(encoded)[2] == 4
    return tf.cond(is_cmyk, lambda: tf.image.rgb_to_grayscale(decoded(3)), lambda: decoded(1))


def _decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """One PNG or JPEG as float32 `[height, width, channels]` in [0, 1]."""

    def png() -> tf.Tensor:
        # 8-bit values come as 257 times themselves, so that the quotient is v / 255 to the bit.
        return tf.cast(tf.io.decode_png(encoded, channels, tf.uint16), tf.float32) / 65535

    def jpeg() -> tf.Tensor:
        return tf.cast(decode_jpeg(encoded, channels), tf.float32) / 255

    return tf.cond(_starts_with(encoded, _PNG_START), png, jpeg)


def _starts_with(encoded: tf.Tensor, start: bytes) -> tf.Tensor:
    return tf.strings.substr(encoded, 0, len(start)) == start
