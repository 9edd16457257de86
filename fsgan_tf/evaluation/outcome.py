"""One run of an attack on one batch, and what it yields once verified."""

from typing import NamedTuple

import numpy as np

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.results.findings import AdversarialExamples


class Task(NamedTuple):
    """One run of an attack on one batch.

    Attributes:
      attack: the attack.
      restart: from 0.
      number: of the batch within the restart, from 0.
      batch: int64 `[b]`, positions of its examples; the last batch repeats its own.
    """

    attack: Attack
    restart: int
    number: int
    batch: np.ndarray

    @property
    def examples(self) -> np.ndarray:
        """int64 `[m]`, the positions without repetition, which are the first m of `batch`."""
        return np.unique(self.batch)


class Outcome(NamedTuple):
    """What one run of an attack did to the m examples of a batch, v of which it fooled.

    Attributes:
      indices: int64 `[m]`, the examples' positions.
      claimed: bool `[m]`, claimed successes.
      fooled: bool `[m]`, verified ones, claimed or not.
      fooled_8bit: bool `[m]`, those still verified once their pixels are rounded to 8 bits.
      images: float32 `[v, h, w, c]`, the verified images.
      predictions: int32 `[v]`, what the classifier says of them.
      seconds: that the run took on its device.
      wrong_calls: int64 `[m, 2]`, of a classifier whose answers differ: the calls of both rounds
        that misclassify the image; no rows otherwise.
    """

    indices: np.ndarray
    claimed: np.ndarray
    fooled: np.ndarray
    fooled_8bit: np.ndarray
    images: np.ndarray
    predictions: np.ndarray
    seconds: float
    wrong_calls: np.ndarray = np.zeros((0, 2), np.int64)


class MostFooling:
    """Of a classifier whose answers differ, each example's image that fools most of its calls.

    Attributes:
      wrong_calls: int64 `[n, 2]`, the calls of both rounds that misclassify it.
    """

    def __init__(self, clean_wrong: np.ndarray):
        """Starts from the unchanged images, of which int `[n]` calls were wrong."""
        self.wrong_calls = np.stack([clean_wrong, clean_wrong], axis=1)
        self._fooled = np.zeros(len(clean_wrong), bool)

    def add(self, outcome: Outcome) -> None:
        """Chooses by what counts as fooled, then by the first round; the second is only kept."""
        before = self._fooled[outcome.indices]
        more = outcome.wrong_calls[:, 0] > self.wrong_calls[outcome.indices, 0]
        chosen = np.where(outcome.fooled == before, more, outcome.fooled)
        self.wrong_calls[outcome.indices[chosen]] = outcome.wrong_calls[chosen]
        self._fooled[outcome.indices] |= outcome.fooled


class FirstFound:
    """Collects the first verified image of each example."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[str, np.ndarray, int]] = {}

    def add(self, attack_name: str, outcome: Outcome) -> None:
        """Keeps the images of examples that had none before."""
        indices = outcome.indices[outcome.fooled].tolist()
        for index, image, prediction in zip(
            indices, outcome.images, outcome.predictions.tolist(), strict=True
        ):
            self._found.setdefault(index, (attack_name, image, prediction))

    def collected(self, images: np.ndarray, labels: np.ndarray) -> AdversarialExamples:
        """The images by rising index, beside the clean ones they were made from."""
        indices = sorted(self._found)
        found = [self._found[index] for index in indices]
        pixels = np.empty((len(found), *images.shape[1:]), np.float32)
        for row, (_, image, _) in enumerate(found):
            pixels[row] = image
        return AdversarialExamples(
            indices=np.array(indices, np.int64),
            attacks=tuple(name for name, _, _ in found),
            images=pixels,
            clean_images=images[indices],
            labels=labels[indices],
            predictions=np.array([prediction for _, _, prediction in found], np.int32),
        )
