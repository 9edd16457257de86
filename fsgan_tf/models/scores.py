"""What models return, as logits."""

from collections.abc import Callable, Iterable

import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.models.inputs import NO_GRADIENTS
from fsgan_tf.models.settings import OUTPUTS
from fsgan_tf.results.findings import Check

# The logarithm of less than this, and its gradient's factor 1/p, would come near float32's limits.
_LEAST_PROBABILITY = 1e-30
# The closest that a float32 below 1 comes to it.
_LEAST_COMPLEMENT = 2.0**-24

# That half precision may take a probability beyond [0, 1].
_ROUNDING = 1e-2

# What it means for a robust accuracy that log-probabilities are used as logits.
UPPER_BOUND = Check(
    "logits_are_seen",
    "warn",
    "The model returns probabilities, and its softmax or sigmoid cannot be cut off.",
    "Where it is saturated attacks see no gradient and fool fewer images than through the logits, "
    "so that the robust accuracy is an upper bound: export the model with its logits.",
)
BINARY_NOTE = "its one output is taken for a binary classifier: the logits are (0, output)"


def as_logits(
    call: Callable[[tf.Tensor], tf.Tensor], output: str, num_outputs: int | None
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A model's function of images, with logits of at least two classes as its result.

    Args:
      call: images to `[b, k]` logits or probabilities.
      output: which of the two.
      num_outputs: k; None if not known. One output is the score of the second of two classes.

    Returns:
      Images to `[b, max(k, 2)]` logits. Of probabilities these are the logarithms, up to a number
      that is the same for all classes.
    """

    def logits_fn(images: tf.Tensor) -> tf.Tensor:
        scores = call(images)
        if output == "probabilities":
            probabilities = tf.cast(scores, tf.float32)
            if tf.executing_eagerly():
                _require_probabilities(probabilities)
            scores = tf.math.log(tf.maximum(probabilities, _LEAST_PROBABILITY))
            if num_outputs == 1:
                scores -= tf.math.log(tf.maximum(1 - probabilities, _LEAST_COMPLEMENT))
        if num_outputs == 1:
            scores = tf.concat([tf.zeros_like(scores), scores], axis=1)
        return scores

    return logits_fn


def _require_probabilities(scores: tf.Tensor) -> None:
    """Raises `UserError` where scores lie outside [0, 1]; NaN is found later."""
    least, largest = (float(reduce(scores)) for reduce in (tf.reduce_min, tf.reduce_max))
    if least < -_ROUNDING or largest > 1 + _ROUNDING:
        raise UserError(
            f"its scores lie in [{least:.4g}, {largest:.4g}], so that they are no probabilities; "
            "leave --output=probabilities out"
        )


def upper_bound(output: str, differentiable: bool) -> Check | None:
    """A check that warns of what attacks do not see of a model; None where they see all."""
    if not differentiable:
        return NO_GRADIENTS
    return UPPER_BOUND if output == "probabilities" else None


def num_classes(num_outputs: int | None) -> int | None:
    """Classes of a model with so many outputs."""
    return 2 if num_outputs == 1 else num_outputs


def chosen_output(path: str, names: list[str], output: str, asked: str | None) -> str:
    """The name of the output that holds the scores.

    Args:
      path: of the model, for the message.
      names: of its outputs.
      output: `logits` or `probabilities`, which is also a name that says it.
      asked: the name that the user gave, if any.

    Returns:
      What was asked for, else the one named as `output` says, else the only one of another name.

    Raises:
      UserError: there is none, or several.
    """
    if asked is not None and asked not in names:
        raise UserError(f"{path} has no output {asked}; its outputs are {listed(names)}")
    unnamed = [name for name in names if name not in OUTPUTS]
    candidates = [asked] if asked else [output] if output in names else unnamed
    if len(candidates) != 1:
        raise UserError(
            f"{path} does not say which output holds its {output}; its outputs are "
            f"{listed(names)} (--output, --output_name)"
        )
    return candidates[0]


def require_scores(path: str, name: str, shape: tuple[int | None, ...] | None, dtype: str) -> None:
    """Raises `UserError` unless an output is `[b, k]` of floating-point numbers."""
    if "float" not in dtype or (shape is not None and len(shape) != 2):
        raise UserError(
            f"{path} returns {dtype} {shape} ({name}); it must return floating-point logits or "
            "probabilities (None, classes)"
        )


def listed(names: Iterable[str]) -> str:
    """Names in order, for a message."""
    return ", ".join(sorted(names)) or "none"
