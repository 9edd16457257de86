"""Labels image files with an exported classifier.

    python -m fsgan_tf.predict --saved_model=runs/digits_fs_gan/saved_model IMAGE...

Prints one line a PNG or JPEG file: its path, its class and the probability of that class.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from fsgan_tf.cli import flags as command_flags
from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.models.untrusted import check_saved_model

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.types.experimental import ConcreteFunction

# Together they bound the memory that the files of a batch take.
_BATCH_SIZE = 16
_MAX_FILE_BYTES = 128 * 2**20

# Data type and rank of each tensor of a signature.
_Tensors = dict[str, tuple[str, int | None]]
_INPUTS: _Tensors = {"image_bytes": ("string", 1)}
_OUTPUTS: _Tensors = {"probabilities": ("float32", 2), "label": ("int32", 1)}


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the classifier says of one image.

    Attributes:
      class_name: of the most probable class.
      probability: of that class, in [0, 1].
    """

    class_name: str
    probability: float


class SavedClassifier:
    """A classifier that `fsgan_tf.export` wrote."""

    def __init__(self, saved_model: Path):
        """Loads the SavedModel, once it is known to do nothing but compute.

        Args:
          saved_model: its folder.

        Raises:
          UserError: the folder is no SavedModel, or one of another kind.
        """
        self._path = saved_model
        loaded = _load(saved_model)
        _require_signature(loaded, saved_model)
        self._signature = loaded.signatures["serving_bytes"]
        num_classes = self._signature.structured_outputs["probabilities"].shape[-1]
        self._class_names = _class_names(loaded, saved_model, num_classes)

    def predict(self, images: Sequence[bytes]) -> list[Prediction | None]:
        """Labels encoded PNG and JPEG images; None where one cannot be decoded.

        Raises:
          UserError: the answer is not one label and K probabilities an image.
        """
        import tensorflow as tf

        if not images:
            return []
        try:
            answer = self._signature(image_bytes=tf.constant(images, tf.string))
        except tf.errors.InvalidArgumentError:
            if len(images) == 1:
                return [None]
            return [self.predict([image])[0] for image in images]
        labels, probabilities = answer["label"].numpy(), answer["probabilities"].numpy()
        count, num_classes = len(images), len(self._class_names)
        fits = labels.shape == (count,) and probabilities.shape == (count, num_classes)
        if not fits or not np.isin(labels, range(num_classes)).all():
            raise UserError(
                f"--saved_model={self._path}: does not answer {count} images with as many labels "
                f"below {num_classes} and as many rows of {num_classes} probabilities"
            )
        return [
            Prediction(self._class_names[label], float(row[label]))
            for label, row in zip(labels, probabilities, strict=True)
        ]


def predict_files(
    classifier: SavedClassifier, paths: Sequence[str]
) -> Iterator[Prediction | UserError]:
    """Labels files in order, a batch at a time; yields a `UserError` for each that cannot be."""
    for start in range(0, len(paths), _BATCH_SIZE):
        yield from _predict_batch(classifier, paths[start : start + _BATCH_SIZE])


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Prints a label for each file of `words`."""
    if flag_values.saved_model is None:
        raise UserError("--saved_model is missing: name the folder of an exported classifier")
    if not words:
        raise UserError("no image given: name one or more PNG or JPEG files")
    # The decoders would log a damaged file without its name; this command names it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    quiet.start_tensorflow()
    import tensorflow as tf

    classifier = SavedClassifier(Path(flag_values.saved_model))
    num_failed = 0
    try:
        for path, result in zip(words, predict_files(classifier, words), strict=True):
            if isinstance(result, UserError):
                num_failed += 1
                print(f"error: {result}", file=sys.stderr)
            else:
                print(f"{_printable(path)}  {result.class_name}  {result.probability:.3f}")
    except tf.errors.OpError as error:
        raise RunError(f"--saved_model={flag_values.saved_model} failed: {error}") from error
    if num_failed:
        raise UserError(f"{num_failed} of {len(words)} files could not be labelled")


def _predict_batch(
    classifier: SavedClassifier, paths: Sequence[str]
) -> Iterator[Prediction | UserError]:
    contents = [_read(path) for path in paths]
    predictions = iter(classifier.predict([item for item in contents if isinstance(item, bytes)]))
    for path, item in zip(paths, contents, strict=True):
        result = next(predictions) if isinstance(item, bytes) else item
        yield result or UserError(f"{_printable(path)}: no PNG or JPEG image, or a damaged one")


def _read(path: str) -> bytes | UserError:
    """The file's bytes, or what keeps them from being an image."""
    name = _printable(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return UserError(f"{name}: not a regular file")
        if status.st_size == 0:
            return UserError(f"{name}: the file is empty")
        if status.st_size > _MAX_FILE_BYTES:
            return UserError(f"{name}: larger than {_MAX_FILE_BYTES // 2**20} MiB")
        return Path(path).read_bytes()
    except OSError as error:
        return UserError(f"{name}: {error.strerror}")


def _load(saved_model: Path) -> tf.Module:
    from fsgan_tf.models.saved_models import load_module

    check_saved_model(saved_model)
    try:
        return load_module(saved_model)
    except Exception as error:  # a damaged file can raise almost anything
        raise UserError(f"--saved_model={saved_model}: cannot be loaded: {error}") from error


def _require_signature(loaded: tf.Module, saved_model: Path) -> None:
    """Raises `UserError` unless there is a signature as `fsgan_tf.export` writes it."""
    signatures = getattr(loaded, "signatures", {})
    signature = signatures.get("serving_bytes")
    if signature is None or not _fits(signature):
        found = "; ".join(f"{name}: {_describe(signatures[name])}" for name in signatures)
        raise UserError(
            f"--saved_model={saved_model}: needs a signature serving_bytes from {_text(_INPUTS)} "
            f"to {_text(_OUTPUTS)}, as fsgan_tf.export writes it; it has {found or 'none'}"
        )


def _class_names(loaded: tf.Module, saved_model: Path, num_classes: int | None) -> list[str]:
    """The names that travel with the classifier; a `UserError` unless they fit it."""
    try:
        names = [name.decode() for name in loaded.class_names().numpy()]
    except Exception:  # no such function, or one that returns something else
        names = []
    # What is printed must not steer the terminal.
    if len(names) != num_classes or not all(name.isprintable() for name in names):
        raise UserError(
            f"--saved_model={saved_model}: has no printable names for its {num_classes} classes; "
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


def _printable(path: str) -> str:
    """The path with bytes that are no text in it replaced."""
    return os.fsencode(path).decode(errors="replace")


if __name__ == "__main__":
    sys.exit(runner.run(main, command_flags.predict_flags(), description=__doc__, takes_words=True))
