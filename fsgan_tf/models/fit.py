"""Whether a classifier fits the data that it is to be measured on."""

import math
from collections.abc import Sequence

import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.errors import UserError
from fsgan_tf.models.classifier import Classifier


def require_fit(
    classifier: Classifier,
    source: str,
    dataset: str,
    image_shape: tuple[int, ...],
    class_names: tuple[str, ...],
) -> None:
    """Checks a classifier against the data: by what it says of itself, then by calling it.

    Args:
      classifier: the classifier.
      source: where it is from, for the message.
      dataset: the data set's name, for the message.
      image_shape: `(h, w, c)` of its images.
      class_names: of its classes, in order.

    Raises:
      UserError: they do not fit.
    """
    image_shape, num_classes = tuple(image_shape), len(class_names)
    if not _takes(classifier.image_shape, image_shape):
        raise UserError(
            f"{source} takes images of shape {classifier.image_shape}; {dataset} has images of "
            f"shape {image_shape} ({_shape_advice(classifier.image_shape, image_shape)})"
        )
    classifier.preprocessing.require_channels(image_shape[-1], source)
    if classifier.num_classes not in (None, num_classes):
        raise UserError(
            f"{source} has {classifier.num_classes} classes; {dataset} has {num_classes} classes "
            "(see --dataset; --class_names where these are some of its classes)"
        )
    known = classifier.class_names or class_names
    if known != class_names:
        label = next(i for i in range(num_classes) if known[i] != class_names[i])
        raise UserError(
            f"class {label} is {known[label]!r} to {source} and {class_names[label]!r} in "
            f"{dataset}; give the data set of the classes it was trained for"
        )
    answered = _answer_shape(classifier, source, image_shape)
    if answered != (2, num_classes):
        raise UserError(
            f"{source} answers 2 images of {dataset} by scores of shape {answered}; it must be "
            f"(2, {num_classes})"
        )


def require_gradients(classifier: Classifier, source: str, attacks: Sequence[Attack]) -> None:
    """Raises `UserError` where attacks need gradients that the classifier does not have."""
    needy = [attack.name for attack in attacks if _needs_gradients(attack)]
    if needy and not classifier.differentiable:
        raise UserError(
            f"{source} has no gradients, which {', '.join(needy)} need; give attacks that need "
            "none: --attacks=square,spsa100, or transfer_pgd20 with --source"
        )


def _needs_gradients(attack: Attack) -> bool:
    return attack.access == "gradients"


def _takes(expected: tuple[int | None, ...], actual: tuple[int, ...]) -> bool:
    if len(expected) == 1:
        return expected[0] == math.prod(actual)
    return all(e in (None, a) for e, a in zip(expected, actual, strict=True))


def _answer_shape(
    classifier: Classifier, source: str, image_shape: tuple[int, ...]
) -> tuple[int, ...]:
    try:
        return tuple(classifier.logits_fn(tf.zeros([2, *image_shape])).shape)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except Exception as error:  # Any kind, about what the model does to such images.
        raise UserError(f"{source} fails on images of shape {image_shape}: {error}") from error


def _shape_advice(expected: tuple[int | None, ...], actual: tuple[int, ...]) -> str:
    if len(expected) == 1:
        return f"{math.prod(actual)} values; see --image_size"
    if expected[-1] in (None, actual[-1]):
        return "see --image_size"
    if expected[0] in (1, 3):
        return "channels must come last"
    return "the channels differ; see --dataset, and --channels for folders"
