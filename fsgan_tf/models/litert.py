"""The classifier as a LiteRT (TFLite) file, for devices without TensorFlow."""

import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

from fsgan_tf.errors import RunError
from fsgan_tf.models import export_folder
from fsgan_tf.models.saved_models import load_module, plain_path

_SIGNATURE = "serving_default"

# Of the largest logit. float16 weights carry 11 bits.
_TOLERANCE = 1e-4
_TOLERANCE_FLOAT16 = 1e-2


def convert(
    saved_model: Path, class_names: tuple[str, ...], export_dir: Path, *, float16: bool = False
) -> None:
    """Converts an exported SavedModel, once the result answers as it does.

    The folder gets `classifier.tflite`, with the signature `serving_default` alone, and
    `class_names.txt`. Weights of 8 bits are not offered: they change labels.

    Args:
      saved_model: as `saving.save_classifier` writes it.
      class_names: in the order of its logits.
      export_dir: the folder to write; an earlier one is replaced whole.
      float16: whether the file holds the weights in 16 bits, in half the size.

    Raises:
      UserError: `export_dir` holds something else than such an export, or cannot be written.
      RunError: conversion failed, or the file does not answer as the SavedModel does.
    """
    with export_folder.replacing(export_dir, export_folder.LITERT_ENTRIES) as folder:
        content = _convert(saved_model, float16)
        tolerance = _TOLERANCE_FLOAT16 if float16 else _TOLERANCE
        _require_same_answers(content, saved_model, tolerance)
        (folder / export_folder.LITERT_MODEL_FILE).write_bytes(content)
        (folder / export_folder.LITERT_NAMES_FILE).write_text(
            "\n".join(class_names) + "\n", encoding="utf-8"
        )


def interpreter(content: bytes) -> tf.lite.Interpreter:
    """Runs a converted file."""
    with warnings.catch_warnings():
        # Its successor is a package of its own; this one is still part of TensorFlow.
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
        return tf.lite.Interpreter(model_content=content)


def _convert(saved_model: Path, float16: bool) -> bytes:
    with plain_path(saved_model) as plain:
        converter = tf.lite.TFLiteConverter.from_saved_model(plain, signature_keys=[_SIGNATURE])
        if float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return _converted(converter)


def _converted(converter: tf.lite.TFLiteConverter) -> bytes:
    try:
        return converter.convert()
    except Exception as error:  # the converter raises kinds of its own
        raise RunError(f"LiteRT cannot convert this classifier: {error}") from error


def _require_same_answers(content: bytes, saved_model: Path, tolerance: float) -> None:
    """Raises `RunError` unless the file answers as the SavedModel does on random images."""
    signature = load_module(saved_model).signatures[_SIGNATURE]
    shape = signature.structured_input_signature[1]["image"].shape[1:]
    images = np.random.default_rng(0).random((3, *shape), np.float32)
    expected = signature(image=tf.constant(images))["logits"].numpy()
    answer = interpreter(content).get_signature_runner(_SIGNATURE)(image=images)
    difference = np.abs(answer["logits"] - expected).max()
    allowed = tolerance * max(1.0, np.abs(expected).max())
    same_labels = np.array_equal(answer["label"], answer["logits"].argmax(axis=-1))
    if not (difference <= allowed and same_labels):  # written so that NaN fails
        raise RunError(
            f"the converted classifier does not answer as the exported one does: logits differ by "
            f"{difference:.2g}, where at most {allowed:.2g} is allowed; nothing was written"
        )
