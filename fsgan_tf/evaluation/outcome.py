"""One run of an attack on one batch, and what it yields once verified."""

from collections.abc import Mapping
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
      images: float32 `[v, h, w, c]`, the verified images; of a classifier whose answers differ,
        `[m, h, w, c]`, all.
      predictions: int32, what the classifier says of `images`.
      seconds: that the run took on its device.
      wrong_calls: int64 `[m]`, of a classifier whose answers differ: the calls of the first round
        that misclassify the image; empty otherwise.
    """

    indices: np.ndarray
    claimed: np.ndarray
    fooled: np.ndarray
    fooled_8bit: np.ndarray
    images: np.ndarray
    predictions: np.ndarray
    seconds: float
    wrong_calls: np.ndarray = np.zeros(0, np.int64)


class MostFooling:
    """Of a classifier whose answers differ, the image of each example that fools most of its calls.

    It is chosen by the very calls that it fooled, so these prove nothing of it: what it counts for
    is left to calls that are made after the choice.
    """

    def __init__(self, num_examples: int):
        """Starts without any image."""
        self._wrong_calls = np.full(num_examples, -1, np.int64)
        self._fooled = np.zeros(num_examples, bool)
        self._found: dict[int, tuple[str, np.ndarray]] = {}

    def add(self, attack_name: str, outcome: Outcome) -> None:
        """Chooses by what counts as fooled, then by the first round of calls."""
        before = self._fooled[outcome.indices]
        more = outcome.wrong_calls > self._wrong_calls[outcome.indices]
        chosen = np.flatnonzero(np.where(outcome.fooled == before, more, outcome.fooled))
        indices = outcome.indices[chosen]
        self._wrong_calls[indices] = outcome.wrong_calls[chosen]
        self._fooled[outcome.indices] |= outcome.fooled
        for index, image in zip(indices.tolist(), outcome.images[chosen], strict=True):
            self._found[index] = (attack_name, image)

    @property
    def indices(self) -> np.ndarray:
        """int64, the examples that were attacked, in rising order."""
        return np.array(sorted(self._found), np.int64)

    def images(self, indices: np.ndarray) -> np.ndarray:
        """float32 `[m, h, w, c]`, of examples that were attacked."""
        return np.stack([self._found[index][1] for index in indices.tolist()])

    def found_by(self, attack_name: str) -> np.ndarray:
        """Bool `[n]`, whose image is this attack's."""
        found = np.zeros(len(self._fooled), bool)
        found[[index for index, (name, _) in self._found.items() if name == attack_name]] = True
        return found

    def collected(
        self, fooled: np.ndarray, images: np.ndarray, labels: np.ndarray, predictions: np.ndarray
    ) -> AdversarialExamples:
        """The images of the examples that are fooled, bool `[n]`; see `FirstFound.collected`."""
        indices = np.flatnonzero(fooled).tolist()
        return _collected(
            {index: (*self._found[index], predictions[index]) for index in indices}, images, labels
        )


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
        return _collected(self._found, images, labels)


def _collected(
    found_of: Mapping[int, tuple[str, np.ndarray, int]], images: np.ndarray, labels: np.ndarray
) -> AdversarialExamples:
    """Of examples by index: the attack, its image and what the classifier says of it."""
    indices = sorted(found_of)
    found = [found_of[index] for index in indices]
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
