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

from absl import flags

from fsgan_tf import cli, quiet, settings
from fsgan_tf.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.types.experimental import ConcreteFunction

# Together they bound the memory that the files of a batch take.
_BATCH_SIZE = 16
_MAX_FILE_BYTES = 128 * 2**20

_INPUTS = {"image_bytes": "string"}
_OUTPUTS = {"probabilities": "float32", "label": "int32"}


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
        """Loads the SavedModel.

        Args:
          saved_model: its folder.

        Raises:
          UserError: the folder is no SavedModel, or one of another kind.
        """
        loaded = _load(saved_model)
        _require_export(loaded, saved_model)
        self._signature = loaded.signatures["serving_bytes"]
        self._class_names = [name.decode() for name in loaded.class_names().numpy()]

    def predict(self, images: Sequence[bytes]) -> list[Prediction | None]:
        """Labels encoded PNG and JPEG images; None where one cannot be decoded."""
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
    classifier = SavedClassifier(Path(flag_values.saved_model))
    num_failed = 0
    for path, result in zip(words, predict_files(classifier, words), strict=True):
        if isinstance(result, UserError):
            num_failed += 1
            print(f"error: {result}", file=sys.stderr)
        else:
            print(f"{_printable(path)}  {result.class_name}  {result.probability:.3f}")
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
    import tensorflow as tf

    if not saved_model.is_dir():
        raise UserError(f"--saved_model={saved_model}: no such folder")
    if not (saved_model / "saved_model.pb").is_file():
        raise UserError(f"--saved_model={saved_model}: no SavedModel (it holds no saved_model.pb)")
    try:
        return tf.saved_model.load(str(saved_model))
    except Exception as error:  # a damaged file can raise almost anything
        raise UserError(f"--saved_model={saved_model}: cannot be loaded: {error}") from error


def _require_export(loaded: tf.Module, saved_model: Path) -> None:
    """Raises `UserError` unless the SavedModel is one that `fsgan_tf.export` wrote."""
    signature = loaded.signatures.get("serving_bytes")
    if signature is None or not _fits(signature):
        found = "; ".join(
            f"{name}: {_describe(loaded.signatures[name])}" for name in loaded.signatures
        )
        raise UserError(
            f"--saved_model={saved_model}: needs a signature serving_bytes from {_INPUTS} to "
            f"{_OUTPUTS}, as fsgan_tf.export writes it; it has {found or 'no signature'}"
        )
    num_classes = signature.structured_outputs["probabilities"].shape[-1]
    if not hasattr(loaded, "class_names") or len(loaded.class_names()) != num_classes:
        raise UserError(
            f"--saved_model={saved_model}: has no names for its {num_classes} classes; export the "
            "classifier with fsgan_tf.export"
        )


def _fits(signature: ConcreteFunction) -> bool:
    inputs, outputs = _dtypes(signature)
    return inputs == _INPUTS and outputs.items() >= _OUTPUTS.items()


def _describe(signature: ConcreteFunction) -> str:
    inputs, outputs = _dtypes(signature)
    return f"from {inputs} to {outputs}"


def _dtypes(signature: ConcreteFunction) -> tuple[dict[str, str], dict[str, str]]:
    """Data types of a signature's inputs and outputs by name."""
    _, inputs = signature.structured_input_signature
    return (
        {name: spec.dtype.name for name, spec in inputs.items()},
        {name: spec.dtype.name for name, spec in signature.structured_outputs.items()},
    )


def _printable(path: str) -> str:
    """The path with bytes that are no text in it replaced."""
    return os.fsencode(path).decode(errors="replace")


if __name__ == "__main__":
    sys.exit(cli.run(main, settings.predict_flags(), description=__doc__, takes_words=True))
