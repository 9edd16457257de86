"""What a peer attacks, and what counts as a success of it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fsgan_tf.runs.restored import RestoredClassifier

# Which images an attack fools, bool `[m]`, of float32 `[m, h, w, c]` and int32 `[m]`.
Attack = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Of the feasibility of a peer's image.
_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Task:
    """What is attacked.

    Attributes:
      restored: the run's classifier.
      saved_model: folder of its SavedModel.
      images: float32 `[n, h, w, c]` in [0, 1].
      labels: int32 `[n]`.
      dataset_sha256: hash of the images and labels.
      epsilon: radius of the ball, in the norm's unit.
      batch_size: images attacked together.
      seed: of the random starts.
      clones: folders of authors' code, by the peer's name.
      norm: that measures perturbations.
    """

    restored: "RestoredClassifier"
    saved_model: Path
    images: np.ndarray
    labels: np.ndarray
    dataset_sha256: str
    epsilon: float
    batch_size: int
    seed: int
    clones: Mapping[str, str]
    norm: str = "linf"


def fooled(
    task: Task, adversarial: np.ndarray, images: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Which images lie in the ball and the pixel range and are misclassified."""
    changes = (adversarial - images).reshape(len(images), -1).astype(np.float64)
    distance = np.linalg.norm(changes, {"linf": np.inf, "l2": 2, "l1": 1}[task.norm], axis=1)
    pixels = adversarial.reshape(len(images), -1)
    in_range = (pixels >= 0).all(axis=1) & (pixels <= 1).all(axis=1)
    # Of sums over all values a peer's float32 rounds more.
    tolerance = _TOLERANCE if task.norm == "linf" else _TOLERANCE * max(1, 10 * task.epsilon)
    feasible = (distance <= task.epsilon + tolerance) & in_range
    return feasible & (answers(task, adversarial) != labels)


def answers(task: Task, images: np.ndarray) -> np.ndarray:
    """The classes that the classifier names, `[m]`."""
    classes = np.zeros(len(images), np.int64)
    for start in range(0, len(images), task.batch_size):
        rows = slice(start, start + task.batch_size)
        classes[rows] = np.asarray(task.restored.model(images[rows], training=False)).argmax(axis=1)
    return classes
