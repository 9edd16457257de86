"""Writes a classifier as a SavedModel that needs nothing of this package.

It holds
  - the signature `serving_default`: `image`, float32 `[n, h, w, c]` in [0, 1];
  - the signature `serving_bytes`: `image_bytes`, string `[n]`, each an encoded PNG or JPEG;
  - `class_names()`, string `[K]`, and the same names in `assets/class_names.txt`.
Both signatures return `logits` float32 `[n, K]`, `probabilities` float32 `[n, K]` and `label`
int32 `[n]`, for any n from 1 up. Gradients flow through `serving_default`.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fsgan_tf.data.image_decoding import decode_images
from fsgan_tf.data.pixels import unit
from fsgan_tf.errors import RunError
from fsgan_tf.models import export_folder
from fsgan_tf.models.saved_models import load_module

_TOLERANCE = 1e-4


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
    with export_folder.replacing(export_dir, export_folder.SAVED_MODEL_ENTRIES) as folder:
        _write(model, class_names, folder)
        _require_same_answers(model, folder)


def is_export_of(model: keras.Model, class_names: tuple[str, ...], folder: Path) -> bool:
    """Whether a folder holds an export of this very classifier: one that answers as it does.

    Args:
      model: as for `save_classifier`.
      class_names: as for `save_classifier`.
      folder: an export, something else or nothing.
    """
    try:
        _require_same_answers(model, folder)
        names = (folder / export_folder.CLASS_NAMES_FILE).read_text("utf-8").splitlines()
    except (RunError, OSError, ValueError, LookupError, AttributeError, tf.errors.OpError):
        return False
    return tuple(names) == class_names


def _write(model: keras.Model, class_names: tuple[str, ...], folder: Path) -> None:
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
    (folder / export_folder.CLASS_NAMES_FILE).write_text(
        "\n".join(class_names) + "\n", encoding="utf-8"
    )


def _require_same_answers(model: keras.Model, folder: Path) -> None:
    """Raises `RunError` unless both signatures answer as `model` does on random images."""
    loaded = load_module(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *model.input_shape[1:]), np.uint8)
    images = tf.constant(unit(pixels))
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
