"""What a caller of the library gives, converted or refused by one line."""

import functools
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fsgan_tf import norms
from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.data.pixels import unit
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation.settings import EvaluationSettings
from fsgan_tf.networks.half_precision import with_scaled_gradients
from fsgan_tf.threat_model import ThreatModel

_A_FUNCTION = (
    "give a Keras model, or a function of TensorFlow operations from float32 images [b, h, w, c] "
    "in [0, 1] to logits [b, k], such as lambda x: model(x, training=False)"
)
_ONE_OUTPUT = (
    'name the output of the logits by output_name (output="logits" is enough where it has that '
    "name), or give keras.Model(model.inputs, model.outputs[0])"
)
_ANSWER_OF_MODEL = (
    "give a function that returns its logits, such as lambda x: model(x, training=False)[0]"
)
_BINARY = (
    'the classifier returns one score an image; give output="logits", or output="probabilities" '
    "where it ends in a sigmoid, and it is taken for a binary classifier"
)


def as_examples(images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels as arrays.

    Args:
      images: `[n, h, w, c]`, uint8, or floating-point numbers in [0, 1]; an array, a tensor or
        nested lists.
      labels: integers `[n]` or `[n, 1]`, likewise.

    Returns:
      uint8 or float32 images and int32 labels.

    Raises:
      UserError: they are something else.
    """
    pixels, targets = _array("images", images), _array("labels", labels)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim == 2:
        raise UserError(
            f"labels have shape {targets.shape}; give one integer an image, such as "
            "labels.argmax(axis=1) of one-hot labels"
        )
    if pixels.ndim != 4 or targets.shape != pixels.shape[:1] or not len(pixels):
        raise UserError(
            f"images of shape {pixels.shape} and labels of shape {targets.shape} do not fit; give "
            "[n, h, w, c] and [n], n at least 1"
        )
    if not np.issubdtype(targets.dtype, np.integer) or targets.min() < 0:
        raise UserError("labels must be integers from 0")
    return _pixels(pixels), targets.astype(np.int32)


def as_radii(epsilon: float | Sequence[float], norm: str) -> list[float]:
    """The radii, the largest first.

    Args:
      epsilon: one, or several in any order; in the norm's unit, of pixels in [0, 1].
      norm: one of `norms.NAMES`.

    Raises:
      UserError: there is none, or one is not a number that can be a radius in this norm.
    """
    radii = sorted(set(np.ravel(_array("epsilon", epsilon)).tolist()), reverse=True)
    if not radii or not all(isinstance(one, (int, float)) for one in radii):
        raise UserError(f"epsilon is {epsilon!r}; give a number above 0, such as 8/255, or several")
    for radius in radii:
        if fault := norms.radius_fault(norm, radius):
            raise UserError(f"epsilon is {radius:g}; it {fault}")
    return radii


def require_settings(**given: Any) -> None:
    """Raises `UserError` where an option is none that the command's flag of its name takes."""
    try:
        EvaluationSettings(**given)
    except ValueError as error:
        raise UserError(str(error)) from error


def require_names(attacks: Sequence[Attack]) -> None:
    """Raises `UserError` where two attacks share a name, by which results and states know them."""
    names = [attack.name for attack in attacks]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"more than one attack is named {', '.join(repeated)}; give each a name of its own"
        )


def as_classifier(classifier: Any, image: np.ndarray) -> Any:
    """Looks at an answer, so that what the classifier lacks is said in one line.

    A function is called once. A Keras model is traced alone: a call would draw from its seeds.

    Args:
      classifier: what the caller gave.
      image: one, `[1, h, w, c]`, float32 in [0, 1] or uint8.

    Returns:
      The classifier; a function that answers in float16 with its gradients scaled.

    Raises:
      UserError: it is not a function, fails, or does not answer by a tensor `[1, k]`.
    """
    if isinstance(classifier, keras.Model):
        _require_logits_of(classifier, image)
        return classifier
    if isinstance(classifier, Sequence) and not isinstance(classifier, str):
        return classifier
    if not callable(classifier):
        raise UserError(f"the classifier is a {type(classifier).__name__}; {_A_FUNCTION}")
    try:
        logits = classifier(tf.constant(unit(image)))
    except UserError:
        raise
    except Exception as error:  # Whatever the caller's function raises.
        raise UserError(
            f"the classifier fails on an image of shape {image.shape[1:]} ({_reason(error)}); "
            f"{_A_FUNCTION}"
        ) from error
    if not tf.is_tensor(logits):
        raise UserError(
            f"the classifier returns a {type(logits).__name__}, through which no gradient flows; "
            f"{_A_FUNCTION}"
        )
    if logits.shape.rank != 2 or logits.shape[1] < 2:
        raise UserError(
            f"the classifier returns shape {tuple(logits.shape)} for one image; {_A_FUNCTION}"
        )
    return with_scaled_gradients(classifier) if logits.dtype == tf.float16 else classifier


def _require_logits_of(model: keras.Model, image: np.ndarray) -> None:
    answers = tf.function(functools.partial(model, training=False), autograph=False)
    try:
        traced = answers.get_concrete_function(tf.TensorSpec(image.shape, tf.float32))
    except Exception as error:  # Whatever its layers raise.
        raise UserError(
            f"the classifier cannot be called on images of shape {image.shape[1:]}: "
            f"{_reason(error)}"
        ) from error
    scores = traced.structured_outputs
    advice = _ONE_OUTPUT if getattr(model, "outputs", None) else _ANSWER_OF_MODEL
    if not tf.is_tensor(scores):
        raise UserError(f"the classifier returns a {type(scores).__name__}; {advice}")
    if scores.shape.rank == 2 and scores.shape[1] == 1:
        raise UserError(_BINARY)
    if scores.shape.rank != 2:
        raise UserError(
            f"the classifier returns shape {tuple(scores.shape)} for one image; {advice}"
        )


def _reason(error: Exception) -> str:
    """The first line of what failed; Keras writes it in bold among the layer's arguments."""
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", str(error), re.DOTALL)
    said = bold.group(1) if bold else str(error)
    return (said.strip() or type(error).__name__).splitlines()[0]


def require_radius(threat_model: ThreatModel, image_shape: Sequence[int]) -> None:
    """Raises `UserError` where the ball is wider than any two images are apart."""
    widest = threat_model.widest(int(np.prod(image_shape)))
    if threat_model.epsilon > widest:
        raise UserError(
            f"epsilon is {threat_model.epsilon:g}; a radius of {widest:.4g} in "
            f"{threat_model.norm} already turns any {'x'.join(map(str, image_shape))} image into "
            "any other; give a smaller --epsilon"
        )


def require_answers(unanswered: int, count: int) -> None:
    """Raises `UserError` where a classifier answers NaN on every one of `count` images."""
    if unanswered == count:
        raise UserError(
            f"the classifier answers NaN on {unanswered} of {count} images; its accuracy means "
            "nothing: look for weights that are not finite, or for pixels that it cannot take"
        )


def _array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except Exception as error:  # Ragged lists, tensors on devices, objects.
        reason = str(error).partition("\n")[0]
        raise UserError(f"{name} cannot be made an array ({reason})") from error


def _pixels(images: np.ndarray) -> np.ndarray:
    if np.issubdtype(images.dtype, np.floating):
        images = images.astype(np.float32, copy=False)
    elif images.dtype != np.uint8:
        raise UserError(f"images are {images.dtype}; give uint8, or float32 in [0, 1]")
    elif images.dtype == np.uint8:
        return images
    if not (images.min() >= 0 and images.max() <= 1):
        raise UserError(
            f"pixels lie in [{images.min():g}, {images.max():g}]; give float32 in [0, 1], or uint8"
        )
    return images
