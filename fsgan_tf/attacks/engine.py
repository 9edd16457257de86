"""Runs attacks on the examples that still stand, and counts what is verified."""

import dataclasses
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from fsgan_tf.attacks import checks
from fsgan_tf.attacks.attack import Attack, Attempt
from fsgan_tf.attacks.attacked_classifier import AttackedClassifier, LogitsFn, is_misclassified
from fsgan_tf.attacks.result import AdversarialExamples, AttackResult, Diagnosis, Result
from fsgan_tf.errors import UserError
from fsgan_tf.threat_model import ThreatModel


def evaluate(
    logits_fn: LogitsFn | keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    threat_model: ThreatModel,
    attacks: Sequence[Attack],
    *,
    batch_size: int = 128,
    seed: int = 0,
    standalone: bool = False,
    progress: bool = False,
) -> Result:
    """Measures a classifier's robust accuracy and checks whether the figure can be believed.

    Args:
      logits_fn: float32 `[b, h, w, c]` images in [0, 1] to `[b, k]` logits, differentiable and in
        inference mode; or a Keras model.
      images: `[n, h, w, c]`, float32 in [0, 1] or uint8 in [0, 255].
      labels: integer `[n]`.
      threat_model: what a perturbation may be.
      attacks: from `catalogue.suite` or `catalogue.by_names`.
      batch_size: images attacked together.
      seed: of the random starts.
      standalone: run every attack on every cleanly classified example, for accuracies to compare
        between papers; otherwise an attack sees what withstood those before it.
      progress: show a progress bar, or a line an attack where the output is no terminal.

    Returns:
      The result, checks included.

    Raises:
      UserError: the images or labels are not as above.
    """
    evaluator = Evaluator(logits_fn, threat_model, min(batch_size, max(len(images), 1)))
    result = evaluator.evaluate(
        images, labels, attacks, seed=seed, standalone=standalone, progress=progress
    )
    diagnosis = Diagnosis(tuple(checks.run(evaluator, images, labels, attacks, result)))
    return dataclasses.replace(result, diagnosis=diagnosis)


class Outcome(NamedTuple):
    """What one run of an attack did to the m examples of a batch, v of which it fooled.

    Attributes:
      indices: int64 `[m]`, the examples' positions.
      claimed: bool `[m]`, claimed successes.
      fooled: bool `[m]`, verified ones, claimed or not.
      fooled_8bit: bool `[m]`, those still verified once their pixels are rounded to 8 bits.
      images: float32 `[v, h, w, c]`, the verified images.
      predictions: int32 `[v]`, what the classifier says of them.
    """

    indices: np.ndarray
    claimed: np.ndarray
    fooled: np.ndarray
    fooled_8bit: np.ndarray
    images: np.ndarray
    predictions: np.ndarray


class Evaluator:
    """A classifier, wrapped and compiled once, to evaluate as often as its weights change."""

    def __init__(
        self, logits_fn: LogitsFn | keras.Model, threat_model: ThreatModel, batch_size: int
    ):
        """See `evaluate` for the arguments. Batches are padded to `batch_size`."""
        self.classifier = AttackedClassifier(logits_fn)
        self.threat_model = threat_model
        self.batch_size = batch_size

    def evaluate(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        attacks: Sequence[Attack],
        *,
        seed: int = 0,
        standalone: bool = False,
        progress: bool = False,
    ) -> Result:
        """Attacks the examples; see the function `evaluate`, which adds the checks.

        What happens to an example depends on the seed, the attack's name and the example's index,
        never on the batch size or on which other examples still stand.
        """
        labels = _validated(images, labels)
        correct = self.correct(images, labels)
        robust, robust_8bit = correct.copy(), correct.copy()
        found = _FirstFound()
        results: list[AttackResult] = []
        for attack in sorted(attacks, key=lambda attack: attack.cost):
            candidates = correct if standalone else robust
            fooled, fooled_8bit = np.zeros_like(correct), np.zeros_like(correct)
            refused = 0
            start = time.monotonic()
            with _Progress(attack, shown=progress) as bar:
                for outcome in self._attack(attack, images, labels, candidates, seed, bar):
                    fooled[outcome.indices] |= outcome.fooled
                    fooled_8bit[outcome.indices] |= outcome.fooled_8bit
                    refused += int(np.sum(outcome.claimed & ~outcome.fooled))
                    found.add(attack.name, outcome)
            robust = robust & ~fooled
            robust_8bit = robust_8bit & ~fooled_8bit
            results.append(
                AttackResult(
                    name=attack.name,
                    parameters=attack.parameters,
                    accuracy=float(np.mean(candidates & ~fooled)),
                    accuracy_8bit=float(
                        np.mean(correct & ~fooled_8bit if standalone else robust_8bit)
                    ),
                    standalone=standalone or not results,
                    seconds=time.monotonic() - start,
                    fooled=fooled,
                    fooled_8bit=fooled_8bit,
                    refused=refused,
                )
            )
        return Result(
            self.threat_model, seed, correct, tuple(results), found.collected(images, labels)
        )

    def correct(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Which examples are classified correctly without attack, bool `[n]`."""
        correct = np.zeros(len(labels), bool)
        for batch in self.batches(np.arange(len(labels))):
            pixels, targets = self.take(images, labels, batch)
            logits = self.classifier.logits(pixels)
            self._require_known_labels(logits, labels)
            correct[batch] = ~is_misclassified(logits, targets).numpy()
        return correct

    def batches(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Splits indices into full batches; the last repeats its own to reach the size."""
        for start in range(0, len(indices), self.batch_size):
            yield np.resize(indices[start : start + self.batch_size], self.batch_size)

    def take(
        self, images: np.ndarray, labels: np.ndarray, batch: np.ndarray
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The examples at indices `batch`: float32 images in [0, 1] and int32 labels."""
        pixels = images[batch]
        if pixels.dtype == np.uint8:
            pixels = pixels.astype(np.float32) / np.float32(255)
        return tf.constant(pixels), tf.constant(labels[batch], tf.int32)

    def _attack(
        self,
        attack: Attack,
        images: np.ndarray,
        labels: np.ndarray,
        candidates: np.ndarray,
        seed: int,
        bar: "_Progress",
    ) -> Iterator[Outcome]:
        """Runs all restarts on the candidates, each on what those before it have not fooled."""
        standing = candidates.copy()
        for restart in range(attack.restarts):
            bar.begin(restart, int(standing.sum()))
            key = _random_key(seed, attack.name, restart)
            for batch in self.batches(np.flatnonzero(standing)):
                pixels, targets = self.take(images, labels, batch)
                seeds = tf.stack([tf.fill([len(batch)], key), tf.constant(batch, tf.int64)], axis=1)
                attempt = attack.run(
                    self.classifier, self.threat_model, pixels, targets, seeds, restart
                )
                outcome = self._outcome(batch, attempt, pixels, targets)
                standing[outcome.indices[outcome.fooled]] = False
                bar.advance(len(outcome.indices), int(standing.sum()))
                yield outcome

    def _outcome(
        self, batch: np.ndarray, attempt: Attempt, images: tf.Tensor, labels: tf.Tensor
    ) -> Outcome:
        """Verifies the images found, as they are and rounded; leaves out the padding."""
        fooled, predictions = self._verify(attempt.images, images, labels)
        rounded = tf.round(attempt.images * 255) / 255
        fooled_8bit = fooled & self._verify(rounded, images, labels)[0]
        count = len(np.unique(batch))
        verified = np.flatnonzero(fooled[:count])
        return Outcome(
            indices=batch[:count],
            claimed=attempt.success.numpy()[:count],
            fooled=fooled[:count],
            fooled_8bit=fooled_8bit[:count],
            images=attempt.images.numpy()[verified],
            predictions=predictions[verified],
        )

    def _verify(
        self, found: tf.Tensor, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which images are feasible and misclassified by a fresh call, and as what; `[b]` each."""
        logits = self.classifier.logits(found)
        verified = self.threat_model.is_feasible(found, images) & is_misclassified(logits, labels)
        return verified.numpy(), tf.argmax(logits, axis=1, output_type=tf.int32).numpy()

    @staticmethod
    def _require_known_labels(logits: tf.Tensor, labels: np.ndarray) -> None:
        if logits.shape.rank != 2 or labels.max() >= logits.shape[1]:
            raise UserError(
                f"the classifier's output has shape {tuple(logits.shape)}, but the labels go up to "
                f"{labels.max()}; it must return one logit for each class"
            )


class _FirstFound:
    """Collects the first verified image of each example."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[str, np.ndarray, int]] = {}

    def add(self, attack_name: str, outcome: Outcome) -> None:
        """Keeps the images of examples that had none before."""
        indices = outcome.indices[outcome.fooled]
        for index, image, prediction in zip(
            indices.tolist(), outcome.images, outcome.predictions.tolist(), strict=True
        ):
            self._found.setdefault(index, (attack_name, image, prediction))

    def collected(self, images: np.ndarray, labels: np.ndarray) -> AdversarialExamples:
        """The images by rising index, beside the clean ones they were made from."""
        indices = sorted(self._found)
        found = [self._found[index] for index in indices]
        pixels = np.zeros((len(found), *images.shape[1:]), np.float32)
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


class _Progress:
    """A bar with survivors and time left on a terminal; one line an attack elsewhere."""

    def __init__(self, attack: Attack, *, shown: bool):
        self._attack = attack
        self._shown = shown
        self._standing = 0

    def __enter__(self) -> "_Progress":
        # disable=None: no bar where standard error is no terminal.
        self._bar = tqdm(desc=self._attack.name, unit="img", disable=None if self._shown else True)
        return self

    def __exit__(self, *_: object) -> None:
        without_bar = self._bar.disable
        self._bar.close()
        if self._shown and without_bar:
            print(f"{self._attack.name}: {self._standing} images withstood it", flush=True)

    def begin(self, restart: int, standing: int) -> None:
        """A restart begins with `standing` images; those to come have as many at most."""
        self._standing = standing
        self._bar.total = self._bar.n + standing * (self._attack.restarts - restart)

    def advance(self, attacked: int, standing: int) -> None:
        """`attacked` images are done; `standing` withstand the attack so far."""
        self._standing = standing
        self._bar.set_postfix(standing=standing, refresh=False)
        self._bar.update(attacked)


def _random_key(seed: int, attack_name: str, restart: int) -> int:
    """A 63-bit key; with an example's index it is that example's stateless seed.

    The attack enters by name, so that it starts alike whatever other attacks run beside it.
    """
    entropy = (seed, zlib.crc32(attack_name.encode()), restart)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _validated(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the labels as int32, or says what is wrong with the examples."""
    if images.ndim != 4 or labels.shape != images.shape[:1] or not len(images):
        raise UserError(
            f"images of shape {images.shape} and labels of shape {labels.shape} do not fit; give "
            "[n, h, w, c] and [n], n at least 1"
        )
    if images.dtype not in (np.uint8, np.float32):
        raise UserError(f"images are {images.dtype}; give uint8, or float32 in [0, 1]")
    if images.dtype == np.float32 and not (images.min() >= 0 and images.max() <= 1):
        raise UserError(
            f"pixels lie in [{images.min():g}, {images.max():g}]; give float32 in [0, 1], or uint8"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise UserError("labels must be integers from 0")
    return labels.astype(np.int32)
