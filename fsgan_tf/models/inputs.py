"""What models take, fed from float32 images `[b, h, w, c]` of any b."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.results.findings import Check

Shape = tuple[int | None, ...]
Function = Callable[[tf.Tensor], tf.Tensor]

_CHANNELS = (1, 3)

# What it means for a robust accuracy that a file runs forward only.
NO_GRADIENTS = Check(
    "gradients_are_seen",
    "warn",
    "The file has no gradients: only attacks that need none were tried.",
    "They fool fewer images than those that climb a gradient, so that the robust accuracy is an "
    "upper bound: attack the model that the file was made of, or one that takes float32 images.",
)


@dataclasses.dataclass(frozen=True)
class ImageFunction:
    """A model as a function of images.

    Attributes:
      call: float32 `[b, h, w, c]` pixels in the model's own range to its output.
      image_shape: as in `Classifier`.
      notes: a sentence on each thing that was adapted.
      differentiable: whether gradients flow through what was adapted.
    """

    call: Function
    image_shape: Shape
    notes: tuple[str, ...] = ()
    differentiable: bool = True


def adapted(path: str, name: str, shape: Shape | None, dtype: str, call: Function) -> ImageFunction:
    """Feeds a model's input from batches of images.

    Args:
      path: of the model, for messages.
      name: of its input.
      shape: of its input, with the batch; None where the rank is not known.
      dtype: of its input.
      call: takes a tensor of that shape and type.

    Returns:
      The function of images.

    Raises:
      UserError: the input can take no images.
    """
    if shape is None:
        shape = (None,) * 4
    if len(shape) not in (2, 3, 4) or (len(shape) == 2 and shape[1] is None):
        raise UserError(
            f"{path} takes {shape} ({name}); it must take images (None, height, width, channels)"
        )
    notes: list[str] = []
    fed, differentiable = _of_dtype(path, name, dtype, call, notes)
    if shape[0] is not None:
        fed = _in_batches(fed, shape[0])
        notes.append(
            f"it takes {shape[0]} images at a time: other batches are padded and the answers cut"
        )
    arranged, image_shape = _arranged(shape, fed, notes)
    return ImageFunction(arranged, image_shape, tuple(notes), differentiable)


def _of_dtype(
    path: str, name: str, dtype: str, call: Function, notes: list[str]
) -> tuple[Function, bool]:
    if dtype == "float32":
        return call, True
    if dtype in ("float16", "bfloat16", "float64"):
        return lambda images: call(tf.cast(images, dtype)), True
    if dtype not in ("uint8", "int32", "int64"):
        raise UserError(f"{path} takes {dtype} ({name}); it must take images of float32 or uint8")
    notes.append(
        f"it takes {dtype}, through which no gradient flows: only attacks without gradients can be "
        "tried (square, spsaN, transfer_...); export it with float32 images for the others"
    )
    return lambda images: call(tf.cast(tf.round(images), dtype)), False


def _in_batches(call: Function, size: int) -> Function:
    """`call` for any number of images, `size` at a time; the last ones are padded by zeros."""

    def padded(images: tf.Tensor) -> tf.Tensor:
        count, item = tf.shape(images)[0], images.shape[1:]
        zeros = tf.zeros(tf.concat([[-count % size], tf.shape(images)[1:]], axis=0), images.dtype)
        batches = tf.reshape(
            tf.concat([images, zeros], axis=0),
            tf.concat([[-1, size], tf.shape(images)[1:]], axis=0),
        )
        batches = tf.ensure_shape(batches, [None, size, *item])
        answers = tf.map_fn(
            lambda batch: tf.cast(call(batch), tf.float32),
            batches,
            fn_output_signature=tf.TensorSpec([size, None], tf.float32),
        )
        return tf.reshape(answers, [-1, tf.shape(answers)[-1]])[:count]

    return padded


def _arranged(shape: Shape, call: Function, notes: list[str]) -> tuple[Function, Shape]:
    """The dimensions after the batch, from height, width and channels."""
    if len(shape) == 2:
        size = shape[1]
        notes.append(f"it takes {size} values in a row: images are flattened, row by row")
        return lambda images: call(tf.reshape(images, [-1, size])), (size,)
    if len(shape) == 3:
        notes.append("it takes images without a channel dimension: grey ones lose theirs")
        return lambda images: call(images[..., 0]), (*shape[1:], 1)
    if shape[1] in _CHANNELS and shape[3] not in _CHANNELS:
        notes.append("it takes channels first: images are transposed")
        return lambda images: call(tf.transpose(images, [0, 3, 1, 2])), (*shape[2:], shape[1])
    return call, shape[1:]
