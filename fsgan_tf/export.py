"""A trained classifier as a SavedModel that needs nothing of this package, or as a LiteRT file.

    python -m fsgan_tf.export --run_dir=runs/digits_fs_gan [--format=litert]

The SavedModel holds
  - the signature `serving_default`: `image`, float32 `[n, h, w, c]` in [0, 1];
  - the signature `serving_bytes`: `image_bytes`, string `[n]`, each an encoded PNG or JPEG;
  - `class_names()`, string `[K]`, and the same names in `assets/class_names.txt`.
Both signatures return `logits` float32 `[n, K]`, `probabilities` float32 `[n, K]` and `label`
int32 `[n]`, for any n from 1 up. Gradients flow through `serving_default`. A LiteRT file has
`serving_default` alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from fsgan_tf import settings
from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.models import export_folder

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

CLASS_NAMES_FILE = "assets/class_names.txt"
_ENTRIES = (CLASS_NAMES_FILE, "fingerprint.pb", "saved_model.pb", "variables")

_TOLERANCE = 1e-4


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Exports the classifier of `--run_dir` to `--export_dir`."""
    del words
    if flag_values.run_dir is None:
        raise UserError("--run_dir is missing: name the folder of the run to export")
    quiet.start_tensorflow()
    from fsgan_tf.runs.restored import restore_classifier

    run_dir = Path(flag_values.run_dir)
    classifier = restore_classifier(run_dir)
    if flag_values.format == "saved_model":
        export_dir = Path(flag_values.export_dir or run_dir / "saved_model")
        save_classifier(classifier.model, classifier.class_names, export_dir)
        use = f"python -m fsgan_tf.predict --saved_model={export_dir} IMAGE..."
        print(f"{export_dir}: use it with {use}")
        return
    from fsgan_tf.models import litert

    export_dir = Path(flag_values.export_dir or run_dir / "litert")
    with tempfile.TemporaryDirectory() as folder:
        saved_model = Path(folder, "saved_model")
        save_classifier(classifier.model, classifier.class_names, saved_model)
        float16 = flag_values.format == "litert_float16"
        litert.convert(saved_model, classifier.class_names, export_dir, float16=float16)
    print(f"{export_dir / litert.MODEL_FILE}: its signature is serving_default")


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
    if len(class_names) != model.output_shape[-1]:
        raise ValueError(f"{len(class_names)} class names for {model.output_shape[-1]} logits")
    with export_folder.replacing(export_dir, _ENTRIES) as folder:
        _write(model, class_names, folder)
        _require_same_answers(model, folder)


def _write(model: keras.Model, class_names: tuple[str, ...], folder: Path) -> None:
    import tensorflow as tf

    from fsgan_tf.data.image_decoding import decode_images

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


if __name__ == "__main__":
    sys.exit(runner.run(main, settings.export_flags(), description=__doc__))
