"""Pictures of adversarial examples: the clean image, the adversarial one, what was added."""

import collections
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from fsgan_tf.data.pixels import unit
from fsgan_tf.reporting.manifest import class_name
from fsgan_tf.results.findings import AdversarialExamples
from fsgan_tf.threat_model import ThreatModel

_LONGEST_SIDE = 128  # Pixels; a report of large images stays small.


@dataclasses.dataclass(frozen=True)
class ExamplePicture:
    """One adversarial example as a person sees it.

    Attributes:
      index: among the evaluated examples.
      attack: that found it.
      true_class: its name.
      predicted_class: name of the class that the adversarial image is taken for.
      clean: uint8 `[h, w, 1 or 3]`.
      adversarial: the same, rounded to 8 bits as all pictures are.
      perturbation: the same: 0, grey and white are -epsilon, 0 and epsilon; in l_2 and l_1 the
        example's largest change stands in for epsilon.
    """

    index: int
    attack: str
    true_class: str
    predicted_class: str
    clean: np.ndarray
    adversarial: np.ndarray
    perturbation: np.ndarray


def pictures(
    examples: AdversarialExamples,
    threat_model: ThreatModel,
    class_names: Sequence[str],
    count: int = 8,
) -> list[ExamplePicture]:
    """Pictures of at most `count` examples, of as many classes as there are, by rising index."""
    return [
        _picture(examples, threat_model, class_names, position)
        for position in _varied(examples.labels, count)
    ]


def png(picture: np.ndarray) -> bytes:
    """A uint8 `[h, w, 1 or 3]` picture as a PNG file."""
    return tf.io.encode_png(picture).numpy()


def _varied(labels: np.ndarray, count: int) -> list[int]:
    """Positions of the first example of each class, then of the second ones, and so on."""
    seen: collections.Counter[int] = collections.Counter()
    ranks = []
    for position, label in enumerate(labels.tolist()):
        ranks.append((seen[label], position))
        seen[label] += 1
    return sorted(position for _, position in sorted(ranks)[:count])


def _picture(
    examples: AdversarialExamples,
    threat_model: ThreatModel,
    class_names: Sequence[str],
    position: int,
) -> ExamplePicture:
    clean, adversarial = unit(examples.clean_images[position]), examples.images[position]
    return ExamplePicture(
        index=int(examples.indices[position]),
        attack=examples.attacks[position],
        true_class=class_name(class_names, int(examples.labels[position])),
        predicted_class=class_name(class_names, int(examples.predictions[position])),
        clean=_drawn(clean),
        adversarial=_drawn(adversarial),
        perturbation=_drawn(magnified(adversarial - clean, threat_model)),
    )


def magnified(change: np.ndarray, threat_model: ThreatModel) -> np.ndarray:
    """A perturbation `[h, w, c]` as a picture in [0, 1]; see `ExamplePicture`."""
    whole = threat_model.epsilon
    if threat_model.norm != "linf":
        whole = float(np.abs(change).max()) or 1.0
    return 0.5 + change / (2 * whole)


def _drawn(image: np.ndarray) -> np.ndarray:
    """A float `[h, w, c]` image in [0, 1] as uint8; every k-th pixel where it is large."""
    stride = math.ceil(max(image.shape[:2]) / _LONGEST_SIDE)
    image = image[::stride, ::stride]
    if image.shape[-1] not in (1, 3):
        image = image.mean(axis=-1, keepdims=True)
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
