"""Classifiers from SavedModels."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.files import files_sha256
from fsgan_tf.models import inputs, scores
from fsgan_tf.models.adaptation import classifier_of
from fsgan_tf.models.classifier import Classifier
from fsgan_tf.models.export_folder import CLASS_NAMES_FILE
from fsgan_tf.models.preprocessing import Preprocessing, for_input
from fsgan_tf.networks.half_precision import with_scaled_gradients
from fsgan_tf.untrusted.saved_models import check_saved_model

# TensorFlow takes names with these for patterns.
_PATTERN_CHARACTERS = "[]*?"


def load_saved_model(
    path: str,
    *,
    signature: str = "serving_default",
    preprocessing: Preprocessing | None = None,
    output: str | None = None,
    output_name: str | None = None,
) -> Classifier:
    """A classifier from a SavedModel's folder.

    Args:
      path: the folder.
      signature: the signature's name.
      preprocessing: as for `keras_files.load_keras_model`.
      output: as for `keras_files.load_keras_model`.
      output_name: as for `keras_files.load_keras_model`.

    Returns:
      The classifier. Where it returns probabilities, their logarithms are its logits.

    Raises:
      UserError: the folder cannot be loaded, or its signature is not a classifier's.
    """
    check_saved_model(path)
    output = output or "logits"
    try:
        loaded = load_module(path)
    except Exception as error:  # Whatever TensorFlow raises is about what is in the folder.
        raise UserError(f"{path} cannot be loaded as a SavedModel: {error}") from error
    function = loaded.signatures.get(signature)
    if function is None:
        raise UserError(
            f"{path} has no signature {signature}; its signatures are "
            f"{scores.listed(list(loaded.signatures))} (--signature)"
        )
    taken, returned = function.structured_input_signature[1], function.structured_outputs
    input_name = _only_input(path, list(taken))
    images = taken[input_name]
    output_name = scores.chosen_output(path, list(returned), output, output_name)
    answer = returned[output_name]
    scores.require_scores(path, output_name, _shape(answer), answer.dtype.name)

    def call(pixels: tf.Tensor) -> tf.Tensor:
        # Through `loaded`: a signature alone does not keep its variables alive.
        return loaded.signatures[signature](**{input_name: pixels})[output_name]

    scaled = with_scaled_gradients(call) if _computes_in_float16(function.graph) else call
    fed = inputs.adapted(path, input_name, _shape(images), images.dtype.name, scaled)
    num_outputs = (_shape(answer) or (None,))[-1]
    return classifier_of(
        fed,
        output,
        num_outputs,
        for_input(preprocessing, images.dtype.name),
        files_sha256=files_sha256(sorted(f for f in Path(path).rglob("*") if f.is_file())),
        names_file=Path(path) / CLASS_NAMES_FILE,
    )


def load_module(path: str | os.PathLike[str]) -> Any:
    """`tf.saved_model.load` of a checked folder, whatever characters are in its path."""
    with plain_path(path) as plain:
        return tf.saved_model.load(plain)


@contextlib.contextmanager
def plain_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """A path to the same folder that TensorFlow does not take for a pattern of file names."""
    text = os.path.abspath(path)
    if not set(_PATTERN_CHARACTERS) & set(text):
        yield os.fspath(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "saved_model"
        link.symlink_to(text, target_is_directory=True)
        yield str(link)


def _computes_in_float16(graph: tf.Graph) -> bool:
    """Whether an operation of a signature, or of a function that it calls, gives float16."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    half = tf.float16.as_datatype_enum
    return any(node.attr["T"].type == half or node.attr["DstT"].type == half for node in nodes)


def _only_input(path: str, names: list[str]) -> str:
    if len(names) != 1:
        raise UserError(f"{path} must take images alone; its inputs are {scores.listed(names)}")
    return names[0]


def _shape(spec: tf.TensorSpec) -> tuple[int | None, ...] | None:
    """None where the rank is not known."""
    return None if spec.shape.rank is None else tuple(spec.shape)
