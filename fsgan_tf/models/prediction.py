"""Labels for image files, by an export or by a run's classifier."""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.types.experimental import ConcreteFunction

from fsgan_tf.data.image_decoding import decode_images
from fsgan_tf.data.image_files import exif_orientation
from fsgan_tf.errors import UserError
from fsgan_tf.files import printable
from fsgan_tf.models.saved_models import load_module
from fsgan_tf.runs import restored
from fsgan_tf.untrusted.saved_models import check_saved_model

# Together they bound the memory that the files of a batch take.
BATCH_SIZE = 16
_MAX_FILE_BYTES = 128 * 2**20
_ENDINGS = (".png", ".jpg", ".jpeg")

# Data type and rank of each tensor of a signature.
_Tensors = dict[str, tuple[str, int | None]]
_INPUTS: _Tensors = {"image_bytes": ("string", 1)}
_OUTPUTS: _Tensors = {"probabilities": ("float32", 2), "label": ("int32", 1)}


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the classifier says of one image.

    Attributes:
      class_names: from the most probable class down.
      probabilities: of these classes, in [0, 1].
    """

    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]


class FileClassifier:
    """A classifier of encoded PNG and JPEG images."""

    def __init__(
        self,
        source: str,
        answer: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
        class_names: Sequence[str],
    ):
        """Takes a function; see `of_saved_model` and `of_run`.

        Args:
          source: the flag that named it, for messages.
          answer: string `[n]` to int32 labels `[n]` and float32 probabilities `[n, K]`.
          class_names: K names.
        """
        self._source = source
        self._answer = answer
        self._class_names = tuple(class_names)

    def predict(self, images: Sequence[bytes]) -> list[Prediction | None]:
        """Labels encoded PNG and JPEG images; None where one cannot be decoded.

        Raises:
          UserError: the answer is not one label and K probabilities an image.
        """
        if not images:
            return []
        try:
            answered = self._answer(tf.constant(images, tf.string))
        except tf.errors.InvalidArgumentError:
            if len(images) == 1:
                return [None]
            return [self.predict([image])[0] for image in images]
        labels, probabilities = (tensor.numpy() for tensor in answered)
        count, num_classes = len(images), len(self._class_names)
        fits = labels.shape == (count,) and probabilities.shape == (count, num_classes)
        if not fits or not np.isin(labels, range(num_classes)).all():
            raise UserError(
                f"{self._source}: does not answer {count} images with as many labels "
                f"below {num_classes} and as many rows of {num_classes} probabilities"
            )
        return [
            self._prediction(int(label), row)
            for label, row in zip(labels, probabilities, strict=True)
        ]

    def _prediction(self, label: int, probabilities: np.ndarray) -> Prediction:
        others = [int(i) for i in np.argsort(-probabilities, kind="stable") if i != label]
        order = [label, *others]
        return Prediction(
            tuple(self._class_names[index] for index in order),
            tuple(float(probabilities[index]) for index in order),
        )


def of_saved_model(path: Path) -> FileClassifier:
    """The classifier of an export, once it is known to do nothing but compute.

    Raises:
      UserError: the folder is not a SavedModel, or one of another kind.
    """
    source = f"--saved_model={path}"
    check_saved_model(path)
    try:
        loaded = load_module(path)
    except Exception as error:  # a damaged file can raise almost anything
        raise UserError(f"{source}: cannot be loaded: {error}") from error
    _require_signature(loaded, source)
    num_classes = loaded.signatures["serving_bytes"].structured_outputs["probabilities"].shape[-1]

    def answer(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Through `loaded`: a signature alone does not keep its variables alive.
        answered = loaded.signatures["serving_bytes"](image_bytes=images)
        return answered["label"], answered["probabilities"]

    return FileClassifier(source, answer, _class_names(loaded, source, num_classes))


def of_run(path: Path) -> FileClassifier:
    """The newest classifier of a run.

    Raises:
      UserError: the folder is not a run, or has no checkpoint of a step.
    """
    found = restored.restore_classifier(path)
    image_shape = found.model.input_shape[1:]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def answer(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = found.model(decode_images(images, image_shape), training=False)
        return tf.argmax(logits, axis=-1, output_type=tf.int32), tf.nn.softmax(logits)

    return FileClassifier(f"--run_dir={path}", answer, found.class_names)


def image_files(paths: Sequence[str]) -> list[str]:
    """The files among these and those in the folders among them, in order.

    Of a folder and what is below it: PNG and JPEG files by their endings, sorted, hidden ones not.

    Raises:
      UserError: a folder holds no such file.
    """
    files: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        found = sorted(_images_below(path))
        if not found:
            raise UserError(
                f"{printable(path)}: the folder holds no file named .png, .jpg or .jpeg"
            )
        files += found
    return files


def predict_files(
    classifier: FileClassifier, paths: Sequence[str]
) -> Iterator[Prediction | UserError]:
    """Labels files in order, a batch at a time; yields a `UserError` for each that cannot be."""
    for start in range(0, len(paths), BATCH_SIZE):
        yield from _predict_batch(classifier, paths[start : start + BATCH_SIZE])


def _images_below(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(_ENDINGS):
                yield os.path.join(parent, name)


def _predict_batch(
    classifier: FileClassifier, paths: Sequence[str]
) -> Iterator[Prediction | UserError]:
    contents = [_read(path) for path in paths]
    predictions = iter(classifier.predict([item for item in contents if isinstance(item, bytes)]))
    for path, item in zip(paths, contents, strict=True):
        result = next(predictions) if isinstance(item, bytes) else item
        yield result or UserError(f"{printable(path)}: not a PNG or JPEG image, or a damaged one")


def _read(path: str) -> bytes | UserError:
    """The file's bytes, or what keeps them from being an image."""
    name = printable(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return UserError(f"{name}: not a regular file")
        if status.st_size == 0:
            return UserError(f"{name}: the file is empty")
        if status.st_size > _MAX_FILE_BYTES:
            return UserError(f"{name}: larger than {_MAX_FILE_BYTES // 2**20} MiB")
        contents = Path(path).read_bytes()
    except OSError as error:
        return UserError(f"{name}: {error.strerror}")
    if exif_orientation(contents) != 1:
        print(
            f"warning: {name} is a turned photograph (EXIF orientation), which an exported "
            "classifier sees as it is stored; turn its pixels before, as photo editors do",
            file=sys.stderr,
        )
    return contents


def _require_signature(loaded: tf.Module, source: str) -> None:
    """Raises `UserError` unless there is a signature as `saving.save_classifier` writes it."""
    signatures = getattr(loaded, "signatures", {})
    signature = signatures.get("serving_bytes")
    if signature is None or not _fits(signature):
        found = "; ".join(f"{name}: {_describe(signatures[name])}" for name in signatures)
        raise UserError(
            f"{source}: needs a signature serving_bytes from {_text(_INPUTS)} "
            f"to {_text(_OUTPUTS)}, as fsgan_tf.export writes it; it has {found or 'none'}"
        )


def _class_names(loaded: tf.Module, source: str, num_classes: int | None) -> list[str]:
    """The names that travel with the classifier; a `UserError` unless they fit it."""
    try:
        names = [name.decode() for name in loaded.class_names().numpy()]
    except Exception:  # no such function, or one that returns something else
        names = []
    # What is printed must not steer the terminal.
    if len(names) != num_classes or not all(name.isprintable() for name in names):
        raise UserError(
            f"{source}: has no printable names for its {num_classes} classes; "
            "export the classifier with fsgan_tf.export"
        )
    return names


def _fits(signature: ConcreteFunction) -> bool:
    inputs, outputs = _tensors(signature)
    return inputs == _INPUTS and outputs.items() >= _OUTPUTS.items()


def _describe(signature: ConcreteFunction) -> str:
    inputs, outputs = _tensors(signature)
    return f"from {_text(inputs)} to {_text(outputs)}"


def _tensors(signature: ConcreteFunction) -> tuple[_Tensors, _Tensors]:
    """Data type and rank of a signature's inputs and outputs by name."""
    _, inputs = signature.structured_input_signature
    return (
        {name: (spec.dtype.name, spec.shape.rank) for name, spec in inputs.items()},
        {
            name: (spec.dtype.name, spec.shape.rank)
            for name, spec in signature.structured_outputs.items()
        },
    )


def _text(tensors: _Tensors) -> str:
    return ", ".join(f"{name} ({dtype}, rank {rank})" for name, (dtype, rank) in tensors.items())
