"""A trained classifier as a SavedModel that needs nothing of this package.

    python -m fsgan_tf.export --run_dir=runs/digits_fs_gan

The SavedModel holds
  - the signature `serving_default`: `image`, float32 `[n, h, w, c]` in [0, 1];
  - the signature `serving_bytes`: `image_bytes`, string `[n]`, each an encoded PNG or JPEG;
  - `class_names()`, string `[K]`, and the same names in `assets/class_names.txt`.
Both signatures return `logits` float32 `[n, K]`, `probabilities` float32 `[n, K]` and `label`
int32 `[n]`, for any n from 1 up. Gradients flow through `serving_default`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from fsgan_tf import cli, quiet, settings
from fsgan_tf.errors import RunError, UserError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

CLASS_NAMES_FILE = "assets/class_names.txt"
_ENTRIES = {"assets", "fingerprint.pb", "saved_model.pb", "variables"}

_TOLERANCE = 1e-4


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Exports the classifier of `--run_dir` to `--export_dir`."""
    del words
    if flag_values.run_dir is None:
        raise UserError("--run_dir is missing: name the folder of the run to export")
    quiet.start_tensorflow()
    from fsgan_tf.run_dir import restore_classifier

    run_dir = Path(flag_values.run_dir)
    export_dir = Path(flag_values.export_dir or run_dir / "saved_model")
    classifier = restore_classifier(run_dir)
    save_classifier(classifier.model, classifier.class_names, export_dir)
    print(
        f"{export_dir}: use it with python -m fsgan_tf.predict --saved_model={export_dir} IMAGE..."
    )


def save_classifier(model: keras.Model, class_names: tuple[str, ...], export_dir: Path) -> None:
    """Writes the classifier as a SavedModel, once the written one answers as the model does.

    The SavedModel is written beside `export_dir`, loaded again, compared with the model and only
    then renamed into place; an export that was there before is replaced.

    Args:
      model: takes float32 images `[n, h, w, c]` in [0, 1], with h, w and c fixed, and returns
        float32 logits `[n, K]`.
      class_names: K names, in the order of the logits.
      export_dir: the folder that becomes the SavedModel.

    Raises:
      ValueError: the number of names is not the number of logits.
      UserError: `export_dir` holds something else than an export, or cannot be written.
      RunError: writing failed, or the SavedModel does not answer as the model does.
    """
    import tensorflow as tf

    if len(class_names) != model.output_shape[-1]:
        raise ValueError(f"{len(class_names)} class names for {model.output_shape[-1]} logits")
    export_dir = export_dir.resolve()
    try:
        _require_replaceable(export_dir)
        temporary = _make_folder_beside(export_dir)
    except OSError as error:
        raise UserError(f"cannot write to {export_dir}: {error.strerror}") from error
    try:
        _write(model, class_names, temporary)
        _require_same_answers(model, temporary)
        _move(temporary, export_dir)
    except (OSError, tf.errors.OpError) as error:
        raise RunError(f"could not export to {export_dir}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(model: keras.Model, class_names: tuple[str, ...], folder: Path) -> None:
    import tensorflow as tf

    from fsgan_tf.image_decoding import decode_images

    image_shape = model.input_shape[1:]

    def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = model(image, training=False)
        return {
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "label": tf.argmax(logits, axis=-1, output_type=tf.int32),
        }

    @tf.function(input_signature=[tf.TensorSpec([None, *image_shape], tf.float32, "image")])
    def serving_default(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(image)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def serving_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(decode_images(image_bytes, image_shape))

    # A SavedModel of the bare variables: a Keras model inside would add its own functions.
    module = tf.Module()
    module.classifier_variables = [variable.value for variable in model.variables]
    module.class_names = tf.function(lambda: tf.constant(class_names), input_signature=[])
    signatures = {"serving_default": serving_default, "serving_bytes": serving_bytes}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    (folder / CLASS_NAMES_FILE).write_text("\n".join(class_names) + "\n", encoding="utf-8")


def _require_same_answers(model: keras.Model, folder: Path) -> None:
    """Raises `RunError` unless both signatures answer as `model` does on random images."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    pixels = np.random.default_rng(0).integers(0, 256, (3, *model.input_shape[1:]), np.uint8)
    images = tf.constant(pixels.astype(np.float32) / np.float32(255))
    encoded = tf.stack([tf.io.encode_png(image) for image in pixels])
    expected = np.asarray(model(images, training=False))
    answers = {
        "serving_default": loaded.signatures["serving_default"](image=images),
        "serving_bytes": loaded.signatures["serving_bytes"](image_bytes=encoded),
    }
    # Bit for bit the same on a CPU; a GPU may choose other algorithms.
    allowed = _TOLERANCE * max(1.0, np.abs(expected).max())
    for name, answer in answers.items():
        logits = answer["logits"].numpy()
        difference = np.abs(logits - expected).max()
        same_labels = np.array_equal(answer["label"], logits.argmax(axis=-1))
        if not (difference <= allowed and same_labels):  # written so that NaN fails
            raise RunError(
                f"the exported {name} does not answer as the classifier does: logits differ by "
                f"{difference:.2g}, where at most {allowed:.2g} is allowed; nothing was exported"
            )


def _require_replaceable(export_dir: Path) -> None:
    """Raises `UserError` unless `export_dir` is missing, empty or an export and nothing else."""
    if not export_dir.exists():
        return
    if not export_dir.is_dir():
        raise UserError(f"{export_dir} is a file; name another folder with --export_dir")
    names = {entry.name for entry in export_dir.iterdir()}
    is_export = names <= _ENTRIES and (export_dir / CLASS_NAMES_FILE).is_file()
    if names and not is_export:
        raise UserError(
            f"{export_dir} is not empty and holds something else than an earlier export, which is "
            "not deleted; name another folder with --export_dir"
        )


def _make_folder_beside(export_dir: Path) -> Path:
    """An empty folder on the same file system, whose name stays the same: none pile up."""
    folder = export_dir.with_name(f".{export_dir.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _move(folder: Path, export_dir: Path) -> None:
    """Renames `folder` to `export_dir`, replacing what is there."""
    # A folder that is not empty cannot be renamed over; the old export steps aside whole.
    old = export_dir.with_name(f".{export_dir.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if export_dir.exists():
        export_dir.rename(old)
    folder.rename(export_dir)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(cli.run(main, settings.export_flags(), description=__doc__))
