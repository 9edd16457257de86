"""Before any attack: does the model see images as it saw them in its training?

A model that is given other pixels than it was trained on is a bad classifier, and its robust
accuracy says nothing. Clean accuracy tells, where it is known or where another common way to
prepare the pixels gives far more of it.
"""

import math

import numpy as np
import tensorflow as tf

from fsgan_tf.data.pixels import unit
from fsgan_tf.errors import UserError
from fsgan_tf.models.classifier import Classifier
from fsgan_tf.models.preprocessing import INPUT_RANGES, Preprocessing

_SLICE_SIZE = 200
# Another way to prepare the pixels is clearly better by this much, and by so many standard errors
# of a paired comparison; some 15 ways are tried.
_CLEAR_GAIN, _CLEAR_STANDARD_ERRORS = 0.05, 4.0
_EXPECTED_STANDARD_ERRORS = 2.0

# Means and standard deviations that published models were trained with.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
_CIFAR100 = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
_MNIST = ((0.1307,), (0.3081,))
_IMAGENET_RGB_MEAN = (123.68, 116.779, 103.939)


def better_preprocessing(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, *, batch_size: int
) -> str | None:
    """Compares clean accuracy under every common preprocessing on a slice of the images.

    Args:
      classifier: read as the user says.
      images: uint8 `[n, h, w, c]`, or float32 in [0, 1].
      labels: integer `[n]`.
      batch_size: images given to it at a time.

    Returns:
      A sentence on the one that is clearly better than what is given; None if none is.
    """
    rows = np.unique(np.linspace(0, len(labels) - 1, _SLICE_SIZE).astype(int))
    pixels, targets = unit(images[rows]), labels[rows]

    def correct(preprocessing: Preprocessing) -> np.ndarray:
        return _correct(classifier, preprocessing, pixels, targets, batch_size)

    as_given = correct(classifier.preprocessing)
    best, best_correct = classifier.preprocessing, as_given
    for other in common_preprocessings(pixels):
        answered = correct(other)
        if answered.sum() > best_correct.sum():
            best, best_correct = other, answered
    gained = int(np.sum(best_correct & ~as_given))
    lost = int(np.sum(as_given & ~best_correct))
    is_clear = gained - lost >= max(
        _CLEAR_GAIN * len(targets), _CLEAR_STANDARD_ERRORS * math.sqrt(gained + lost)
    )
    if best == classifier.preprocessing or not is_clear:
        return None
    return (
        f"under {best} clean accuracy is {best_correct.mean():.1%}, under yours "
        f"({classifier.preprocessing}) {as_given.mean():.1%}, on {len(targets)} images"
    )


def require_expected(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    expected: float,
    *,
    batch_size: int,
) -> None:
    """Measures clean accuracy on all images.

    Args:
      classifier: read as the user says.
      images: uint8 `[n, h, w, c]`, or float32 in [0, 1].
      labels: integer `[n]`.
      expected: what the model's makers report, in [0, 1].
      batch_size: images given to it at a time.

    Raises:
      UserError: it differs by more than two standard errors.
    """
    count = len(labels)
    pixels = unit(images)
    correct = _correct(classifier, classifier.preprocessing, pixels, labels, batch_size)
    measured = float(correct.mean())
    # Of a count with that expectation; never less than one image.
    standard_error = max(math.sqrt(expected * (1 - expected) / count), 0.5 / count)
    if abs(measured - expected) > _EXPECTED_STANDARD_ERRORS * standard_error:
        raise UserError(
            f"clean accuracy is {measured:.1%} on {count} images, and "
            f"--expected_clean_accuracy={expected:g} is more than two standard errors of "
            f"{standard_error:.1%} away; check --input_range, --mean, --std, --channel_order, "
            "--image_size and the order of the classes"
        )


def common_preprocessings(pixels: np.ndarray) -> list[Preprocessing]:
    """What models are commonly trained on.

    Args:
      pixels: float32 `[n, h, w, c]` in [0, 1], whose own mean and standard deviation are tried too.

    Returns:
      Preprocessings for images of so many channels.
    """
    channels = pixels.shape[-1]
    mean, std = _statistics(pixels)
    standardized = [(mean, std), *([_IMAGENET, _CIFAR10, _CIFAR100] if channels == 3 else [_MNIST])]
    found = [Preprocessing(input_range) for input_range in INPUT_RANGES]
    found += [Preprocessing("0,1", mean=mean, std=std) for mean, std in standardized]
    found.append(Preprocessing("0,255", mean=tuple(round(255 * value, 2) for value in mean)))
    if channels != 3:
        return found
    found.append(Preprocessing("0,255", mean=_IMAGENET_RGB_MEAN))
    return found + [_in_bgr(preprocessing) for preprocessing in found]


def _in_bgr(preprocessing: Preprocessing) -> Preprocessing:
    def reversed_(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return values and values[::-1]

    return Preprocessing(
        preprocessing.input_range,
        mean=reversed_(preprocessing.mean),
        std=reversed_(preprocessing.std),
        channel_order="bgr",
    )


def _statistics(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, to four digits."""
    mean = pixels.mean(axis=(0, 1, 2), dtype=np.float64)
    std = np.maximum(pixels.std(axis=(0, 1, 2), dtype=np.float64), 1e-4)
    return tuple(round(float(x), 4) for x in mean), tuple(round(float(x), 4) for x in std)


def _correct(
    classifier: Classifier,
    preprocessing: Preprocessing,
    pixels: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """Which images are classified correctly, bool `[n]`; those with a NaN are not."""
    answers = []
    for start in range(0, len(labels), batch_size):
        batch = tf.constant(pixels[start : start + batch_size])
        logits = np.asarray(classifier.with_preprocessing(preprocessing).logits_fn(batch))
        answers.append(np.where(np.isnan(logits).any(axis=1), -1, logits.argmax(axis=1)))
    return np.concatenate(answers) == labels
