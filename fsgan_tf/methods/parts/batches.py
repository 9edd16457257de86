"""What a user's data set yields, as the methods take it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

Batch = dict[str, tf.Tensor]
# Beyond [0, 1] by no more than arithmetic leaves: resizing and augmentation round.
_TOLERANCE = 1e-3


def as_batch(data: Any) -> Batch:
    """`{"image": float32 [b, h, w, c], "label": int32 [b]}` of what a data set yields.

    With it comes `"index": int32 [b]`, the images' numbers, where a dictionary has them.

    Args:
      data: (images, labels), or a dictionary that holds `image` and `label`.

    Raises:
      ValueError: it is something else, images are whole numbers, or labels are not.
    """
    if isinstance(data, dict) and {"image", "label"} <= set(data):
        images, labels = data["image"], data["label"]
    elif isinstance(data, (tuple, list)) and len(data) == 2 and not isinstance(data[0], dict):
        images, labels = data
    elif (
        isinstance(data, (tuple, list))
        and len(data)
        and isinstance(data[0], dict)
        and all(rest is None for rest in data[1:])
    ):
        return as_batch(data[0])
    else:
        raise ValueError(
            "batches must be (images, labels), or dictionaries of image and label; sample weights "
            "and batches without labels are not supported"
        )
    if not images.dtype.is_floating:
        raise ValueError(
            f"images are {images.dtype.name}; give float32 images in [0, 1], such as "
            "tf.cast(images, tf.float32) / 255"
        )
    if labels.shape.rank == 2 and labels.shape[1] == 1:
        labels = tf.squeeze(labels, axis=1)
    if not labels.dtype.is_integer or labels.shape.rank not in (None, 1):
        raise ValueError(
            f"labels are {labels.dtype.name} of shape {labels.shape}; give one whole number an "
            "image (for one-hot labels, tf.argmax(labels, axis=1))"
        )
    batch = {"image": tf.cast(images, tf.float32), "label": tf.cast(labels, tf.int32)}
    if isinstance(data, dict) and "index" in data:
        batch["index"] = tf.cast(data["index"], tf.int32)
    return batch


def extremes_of(batch: Batch) -> tf.Tensor:
    """Smallest and largest pixel, smallest and largest label; float32 `[4]`."""
    images, labels = batch["image"], tf.cast(batch["label"], tf.float32)
    return tf.stack(
        [reduce(x) for x in (images, labels) for reduce in (tf.reduce_min, tf.reduce_max)]
    )


def require_an_image_each(sizes: Sequence[int]) -> None:
    """Raises `ValueError` where a replica has no image of a batch.

    Args:
      sizes: how many images of it each replica has.
    """
    if not all(sizes):
        raise ValueError(
            f"a batch of {sum(sizes)} does not give each of {len(sizes)} replicas an image; leave "
            "such a last batch out, as dataset.batch(size, drop_remainder=True) does, or give "
            "another batch size"
        )


def require_images_and_labels(extremes: np.ndarray, num_classes: int) -> None:
    """Raises `ValueError` unless a batch of these extremes can be trained on.

    Args:
      extremes: what `extremes_of` returned on each replica, `[replicas, 4]`.
      num_classes: K.
    """
    darkest, _, first_label, _ = map(float, extremes.min(axis=0))
    _, brightest, _, last_label = map(float, extremes.max(axis=0))
    if not -_TOLERANCE <= darkest <= brightest <= 1 + _TOLERANCE:
        raise ValueError(
            f"the first batch's pixels lie in [{darkest:.4g}, {brightest:.4g}], and epsilon is in "
            "pixels of [0, 1]; give images in [0, 1] (divide those of 0 to 255 by 255), and put "
            "what the network needs beyond that, such as keras.layers.Normalization or Rescaling, "
            "at the classifier's beginning"
        )
    if not 0 <= first_label <= last_label < num_classes:
        raise ValueError(
            f"the first batch's labels lie in [{first_label:.0f}, {last_label:.0f}], and the "
            f"classifier has {num_classes} classes: labels must be 0 to {num_classes - 1}"
        )


def cannot_be_judged(batch: Batch, num_classes: int) -> tf.Tensor:
    """Whether a batch has pixels beyond [0, 1] or labels of no class; bool scalar.

    Args:
      batch: as `as_batch` makes it.
      num_classes: K.
    """
    images, labels = batch["image"], batch["label"]
    # NaN lies nowhere.
    pixels = (images >= -_TOLERANCE) & (images <= 1 + _TOLERANCE)
    classes = (labels >= 0) & (labels < num_classes)
    return ~(tf.reduce_all(pixels) & tf.reduce_all(classes))


def twice(x: tf.Tensor) -> tf.Tensor:
    """A batch and the same once more, `[2b, ...]`."""
    return tf.concat([x, x], axis=0)
