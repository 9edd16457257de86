"""Classifiers from LiteRT (TFLite) files: forward only, for attacks that need no gradients."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.files import files_sha256
from fsgan_tf.models import inputs, litert, scores
from fsgan_tf.models.adaptation import classifier_of
from fsgan_tf.models.classifier import Classifier
from fsgan_tf.models.export_folder import LITERT_NAMES_FILE
from fsgan_tf.models.preprocessing import Preprocessing, for_input


def load_litert_model(
    path: str,
    *,
    preprocessing: Preprocessing | None = None,
    output: str | None = None,
    output_name: str | None = None,
) -> Classifier:
    """A classifier from a `.tflite` file, which runs on the CPU.

    Args:
      path: the file.
      preprocessing: as for `keras_files.load_keras_model`.
      output: as for `keras_files.load_keras_model`.
      output_name: as for `keras_files.load_keras_model`.

    Returns:
      The classifier, through which no gradient flows. Its class names are those that an export has
      beside the file.

    Raises:
      UserError: the file cannot be loaded, or its model is not a classifier of images.
    """
    output = output or "logits"
    interpreter = _read(path)
    taken = interpreter.get_input_details()
    if len(taken) != 1:
        raise UserError(f"{path} must have one input; it has {len(taken)}")
    (images,) = taken
    returned = _named_outputs(interpreter)
    name = output_name
    if len(returned) > 1 or output_name is not None:
        name = scores.chosen_output(path, list(returned), output, output_name)
    answer = returned[name] if name else next(iter(returned.values()))
    for tensor in (images, answer):
        if tensor["dtype"] in (np.int8, np.int16) or (
            tensor is answer and tensor["dtype"] != np.float32
        ):
            raise UserError(
                f"{path} is quantized to {np.dtype(tensor['dtype']).name} ({tensor['name']}); "
                "convert it with float32 inputs and outputs"
            )
    # A batch of 1 is what converters write for an open one.
    shape = (None, *(int(side) for side in images["shape"][1:]))
    answer_shape = (None, *(int(side) for side in answer["shape"][1:]))
    scores.require_scores(path, answer["name"], answer_shape, "float32")
    dtype = np.dtype(images["dtype"]).name
    run = _runner(interpreter, images["index"], answer["index"])

    def call(pixels: tf.Tensor) -> tf.Tensor:
        logits = tf.numpy_function(run, [pixels], tf.float32, stateful=False)
        return tf.ensure_shape(logits, answer_shape)

    fed = inputs.adapted(path, images["name"], shape, dtype, call)
    return classifier_of(
        dataclasses.replace(fed, differentiable=False),
        output,
        answer_shape[-1],
        for_input(preprocessing, dtype),
        files_sha256=files_sha256([Path(path)]),
        names_file=Path(path).with_name(LITERT_NAMES_FILE),
    )


def _read(path: str) -> tf.lite.Interpreter:
    try:
        interpreter = litert.interpreter(Path(path).read_bytes())
        interpreter.allocate_tensors()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} cannot be loaded as a LiteRT model: {reason}") from error
    return interpreter


def _named_outputs(interpreter: tf.lite.Interpreter) -> dict[str, dict[str, Any]]:
    """By the names of its signature, where it has one, else by those of its tensors."""
    details = interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return {detail["name"]: detail for detail in details}
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    by_tensor = {detail["index"]: detail for detail in details}
    return {
        name: by_tensor[detail["index"]] for name, detail in runner.get_output_details().items()
    }


def _runner(interpreter: tf.lite.Interpreter, taken: int, returned: int) -> Any:
    """Runs the file on batches of any size; one at a time, since it keeps its tensors."""
    lock = threading.Lock()

    def run(pixels: np.ndarray) -> np.ndarray:
        with lock:
            interpreter.resize_tensor_input(taken, pixels.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(taken, pixels)
            interpreter.invoke()
            return interpreter.get_tensor(returned)

    return run
