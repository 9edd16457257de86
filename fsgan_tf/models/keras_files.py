"""Classifiers from Keras files: `.keras`, and `.h5` or `.hdf5` of plain layers."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from fsgan_tf.errors import UserError, one_line
from fsgan_tf.files import files_sha256
from fsgan_tf.models import inputs, scores
from fsgan_tf.models.adaptation import classifier_of
from fsgan_tf.models.classifier import Classifier
from fsgan_tf.models.preprocessing import Preprocessing, for_input
from fsgan_tf.networks import heads
from fsgan_tf.networks.half_precision import computes_in_float16, with_scaled_gradients
from fsgan_tf.untrusted.keras_files import check_keras_file, hdf5_keras_version

_MESSAGE_LENGTH = 300


def load_keras_model(
    path: str,
    *,
    preprocessing: Preprocessing | None = None,
    output: str | None = None,
    output_name: str | None = None,
) -> Classifier:
    """A classifier from a Keras file; code within it is not run.

    A softmax or sigmoid at its end is cut off, and attacks see its logits. A batch size that the
    file fixes is opened, and integer images are taken as real numbers.

    Args:
      path: the file.
      preprocessing: from pixels in [0, 1] to what the model takes; by default pixels in [0, 1], or
        0 to 255 where it takes integers.
      output: what it returns: `logits` (by default) or `probabilities`.
      output_name: name of the output to take; by default the one named as `output` says, else the
        only one of another name.

    Returns:
      The classifier. Where it returns probabilities, their logarithms are its logits.

    Raises:
      UserError: the file cannot be loaded, or its model is not a classifier of images.
    """
    check_keras_file(path)
    return keras_classifier(
        _read(path),
        path,
        preprocessing=preprocessing,
        output=output,
        output_name=output_name,
        files_sha256=files_sha256([Path(path)]),
    )


def keras_classifier(
    model: keras.Model,
    source: str = "the model",
    *,
    preprocessing: Preprocessing | None = None,
    output: str | None = None,
    output_name: str | None = None,
    files_sha256: str | None = None,
) -> Classifier:
    """A classifier from a functional or sequential model; see `load_keras_model`.

    Args:
      model: the model.
      source: what it is called in messages.
      preprocessing: as for `load_keras_model`.
      output: as for `load_keras_model`.
      output_name: as for `load_keras_model`.
      files_sha256: hash of its file, if it is from one.

    Returns:
      The classifier; its `logits_fn` is for `evaluate`.

    Raises:
      UserError: it is not a classifier of images.
    """
    output = output or "logits"
    images = _only_input(source, getattr(model, "inputs", None))
    answer = _output(source, model, output, output_name)
    scores.require_scores(source, answer.name, tuple(answer.shape), answer.dtype)
    answer, cut = heads.without_probabilities(answer)
    notes = []
    if cut:
        output = "logits"
        notes.append(f"its final {cut} is cut off: attacks see the logits before it")
    plain = _opened(keras.Model(images, answer), notes)
    images = plain.inputs[0]

    def call(pixels: tf.Tensor) -> tf.Tensor:
        return plain(pixels, training=False)

    scaled = with_scaled_gradients(call) if computes_in_float16(plain) else call
    fed = inputs.adapted(source, images.name, tuple(images.shape), images.dtype, scaled)
    return classifier_of(
        fed,
        output,
        answer.shape[-1],
        for_input(preprocessing, model.inputs[0].dtype),
        files_sha256=files_sha256,
        notes=tuple(notes),
    )


def _read(path: str) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds, all about what is in the file.
        version = _keras_version(Path(path))
        if version.startswith("2."):
            raise UserError(
                f"{path} was made by Keras {version}, whose files Keras {keras.__version__} does "
                "not read; load it there, call model.export(DIR), and give --saved_model=DIR"
            ) from error
        reason = one_line(error)
        if len(reason) > _MESSAGE_LENGTH:
            reason = f"{reason[:_MESSAGE_LENGTH]} ..."
        raise UserError(f"{path} cannot be loaded as a Keras model: {reason}") from error


def _keras_version(file: Path) -> str:
    """That made the file; empty where it does not say."""
    if not zipfile.is_zipfile(file):
        return hdf5_keras_version(file)
    try:
        with zipfile.ZipFile(file) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (OSError, KeyError, ValueError, TypeError):
        return ""


def _only_input(path: str, tensors: Any) -> Any:
    if not tensors or len(tensors) != 1:
        names = scores.listed([tensor.name for tensor in tensors or ()])
        raise UserError(f"{path} must have one input; it has {names}")
    return tensors[0]


def _output(path: str, model: keras.Model, output: str, asked: str | None) -> Any:
    """The tensor of the scores; where there is one output, its name says nothing."""
    tensors = model.outputs
    if len(tensors) == 1 and asked is None:
        return tensors[0]
    named = getattr(model, "_outputs_struct", None)
    if not isinstance(named, dict):
        named = dict(zip(model.output_names, tensors, strict=True))
    return named[scores.chosen_output(path, list(named), output, asked)]


def _opened(model: keras.Model, notes: list[str]) -> keras.Model:
    """The model on the same layers, for any number of real-valued images.

    Where its layers do not allow it, the model as it is.
    """
    images = model.inputs[0]
    takes_integers = "float" not in images.dtype
    if images.shape[0] is None and not takes_integers:
        return model
    fresh = keras.Input(images.shape[1:], name=images.name, dtype="float32")
    try:
        clone = keras.models.clone_model(
            model, input_tensors=fresh, clone_function=lambda layer: layer
        )
        is_open = clone.inputs[0].shape[0] is None and clone.outputs[0].shape[0] is None
    except Exception:  # Whatever a layer has against it.
        return model
    if not is_open:
        return model
    if takes_integers:
        notes.append(
            f"it takes {images.dtype}: it is rebuilt for float32, through which gradients flow"
        )
    return clone
