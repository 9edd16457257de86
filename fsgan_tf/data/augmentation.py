"""Random changes to training images: pure functions of the images and a seed."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from fsgan_tf.data import registry
from fsgan_tf.errors import UserError

PADDING = 4
_MIN_SIDE = 12


def resolve_augmentation(augmentation: str, dataset: str, image_shape: Sequence[int]) -> str:
    """The augmentation that `auto` stands for.

    Feature-Scatter pads CIFAR by 4, crops and flips it, and leaves SVHN alone
    (Haichao-Zhang/FeatureScatter, `fs_main.py`): photographs may be mirrored, digits may not.

    Args:
      augmentation: `auto`, `none` or `crop_flip`.
      dataset: a data set's name.
      image_shape: height, width and channels.

    Returns:
      `none` or `crop_flip`.
    """
    if augmentation != "auto":
        return augmentation
    mirrored = registry.source_of(dataset).may_be_mirrored(dataset)
    return "crop_flip" if mirrored and min(image_shape[:2]) >= _MIN_SIDE else "none"


def crop_flip(height: int, width: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Zero-pads each side by 4, crops back to the size at random, mirrors half of the images.

    Black is 0 in pixels, -1 after the classifier's normalisation, as in Feature-Scatter.

    Args:
      height: of the images, 12 or more.
      width: of the images, likewise.

    Returns:
      `augment(images, seed)`: from float32 `[b, height, width, c]` in [0, 1] and a stateless seed,
      int32 or int64 `[2]`, to images of the same shape, dtype and range.

    Raises:
      UserError: the images are smaller than that.
    """
    if min(height, width) < _MIN_SIDE:
        # KerasCV's crop would round to the wrong pixel.
        raise UserError(
            f"crop_flip needs images of at least {_MIN_SIDE}x{_MIN_SIDE}, not {height}x{width}; "
            "give --augmentation=none or a larger --image_size"
        )
    crop, flip = crop_to(height, width), mirror()

    def augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images)[0]
        draws = tf.random.stateless_uniform([3, count], seed, alg="philox")
        offsets = tf.cast(draws[:2] * (2 * PADDING + 1), tf.int32)
        return flip(crop(images, offsets[0], offsets[1]), draws[2] < 0.5)

    return augment


def crop_to(height: int, width: int) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """KerasCV's crop of the padded images, with the offsets given instead of drawn.

    Its own draws are stateful: a resumed run would see other crops.

    Returns:
      `crop(images, tops, lefts)`: images float32 `[b, height, width, c]`; offsets int32 `[b]` in
      0..8, into the padded images.
    """
    import keras_cv  # Slow to import, and most data sets are not augmented.

    # Without the dtype a mixed-precision policy would round the pixels.
    layer = keras_cv.layers.RandomCrop(height, width, dtype="float32")
    pads = [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]]

    def crop(images: tf.Tensor, tops: tf.Tensor, lefts: tf.Tensor) -> tf.Tensor:
        fractions = {"tops": _column(tops) / (2 * PADDING), "lefts": _column(lefts) / (2 * PADDING)}
        cropped = layer.augment_images(tf.pad(images, pads), transformations=fractions)
        return tf.ensure_shape(cropped, images.shape)

    return crop


def mirror() -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """KerasCV's horizontal flip, with the choice given instead of drawn.

    Returns:
      `flip(images, chosen)`: images float32 `[b, h, w, c]`; chosen bool `[b]`.
    """
    import keras_cv

    layer = keras_cv.layers.RandomFlip("horizontal", dtype="float32")

    def flip(images: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        chosen = _column(chosen)
        flips = {"flip_horizontals": chosen, "flip_verticals": tf.zeros_like(chosen)}
        return layer.augment_images(images, flips)

    return flip


def _column(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values[:, tf.newaxis], tf.float32)
