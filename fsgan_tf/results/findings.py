"""What an evaluation found, in NumPy and numbers."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fsgan_tf.attacks.parts.sample import Sample
from fsgan_tf.results.intervals import most_unseen_fooled, wilson_interval
from fsgan_tf.results.randomness import Randomness
from fsgan_tf.threat_model import ThreatModel


@dataclasses.dataclass(frozen=True)
class Check:
    """One reason to believe or to doubt the figures.

    Attributes:
      name: what was checked.
      verdict: `pass`, `warn`, `fail` or `skipped`.
      detail: one sentence: what was seen.
      advice: one sentence: what to do about it, or what a pass lets one conclude.
      seconds: that it took; what several checks need counts for the first of them.
    """

    name: str
    verdict: str
    detail: str
    advice: str = ""
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class EpsilonCurve:
    """Robust accuracy against the radius, of one white-box attack on a sample.

    Attributes:
      attack: name and strength of the attack, for the reader.
      epsilons: rising, from 0, in the norm's unit.
      accuracies: share of the sample that withstands the attack at each radius.
      num_examples: size of the sample.
    """

    attack: str
    epsilons: tuple[float, ...]
    accuracies: tuple[float, ...]
    num_examples: int


@dataclasses.dataclass(frozen=True)
class LossCurve:
    """How the loss of an iterative attack rises over its steps, on a sample.

    Attributes:
      attack: the attack's name.
      losses: mean over the sample of the best loss so far, at the start and after each step.
    """

    attack: str
    losses: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What the checks measured, for the report to show.

    Attributes:
      checks: verdicts on the figures.
      epsilon_curve: None where no check needed it.
      loss_curves: of the iterative white-box attacks.
      mode: how much was checked: `full`, `fast` or `none`.
    """

    checks: tuple[Check, ...] = ()
    epsilon_curve: EpsilonCurve | None = None
    loss_curves: tuple[LossCurve, ...] = ()
    mode: str = "full"

    @property
    def seconds(self) -> float:
        """Wall-clock time of all checks, the curves included."""
        return sum(check.seconds for check in self.checks)


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """What one attack did.

    Attributes:
      name: the attack's.
      parameters: the attack's.
      accuracy: share of all examples that are classified cleanly and withstand it; unless
        `standalone`, those that also withstand every attack run before it.
      accuracy_8bit: the same with every adversarial image's pixels rounded to 8 bits; an upper
        bound, since the attack did not search among rounded images.
      standalone: whether `accuracy` speaks of this attack alone.
      seconds: wall-clock time.
      fooled: bool `[n]`, examples of which this attack has a verified adversarial image. Examples
        it never saw are False.
      fooled_8bit: bool `[n]`, those whose image still fools, and lies in the ball, once its pixels
        are rounded to 8 bits.
      refused: bool `[n]`, examples of which it claimed a success that verification refused.
      samples: the examples that it was run on, where it was not run on all that stood: a sample of
        each group of examples that it was run on separately.
    """

    name: str
    parameters: dict[str, Any]
    accuracy: float
    accuracy_8bit: float
    standalone: bool
    seconds: float
    fooled: np.ndarray
    fooled_8bit: np.ndarray
    refused: np.ndarray
    samples: tuple[Sample, ...] = ()

    @property
    def most_unseen_fooled(self) -> int:
        """How many of the examples that its samples left out it fools at most.

        With 95% confidence: each group's bound holds with so much that all hold together.
        """
        partial = [sample for sample in self.samples if sample.num_unseen]
        return sum(
            most_unseen_fooled(
                int(self.fooled[sample.drawn].sum()),
                len(sample.drawn),
                sample.num_others,
                confidence=1 - 0.05 / len(partial),
            )
            for sample in partial
        )


def withstood(
    correct: np.ndarray, attacks: Sequence[AttackResult]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which examples count as robust in each attack's accuracies.

    They withstand that attack, and unless it is stand-alone those before it too.

    Args:
      correct: bool `[n]`, examples classified correctly without attack.
      attacks: in the order in which they ran.

    Yields:
      For each attack two bool `[n]`: by its images as found, and by those rounded to 8 bits.
    """
    standing, standing_8bit = correct, correct
    for attack in attacks:
        standing, standing_8bit = standing & ~attack.fooled, standing_8bit & ~attack.fooled_8bit
        if attack.standalone:
            yield correct & ~attack.fooled, correct & ~attack.fooled_8bit
        else:
            yield standing, standing_8bit


@dataclasses.dataclass(frozen=True)
class AdversarialExamples:
    """One verified adversarial image for each example that was fooled, by rising index.

    Attributes:
      indices: int `[m]`, positions among the evaluated examples.
      attacks: m names, the attack that found the image first.
      images: float32 `[m, h, w, c]` in the pixel range.
      clean_images: `[m, h, w, c]`, as they were given: float32 in [0, 1] or uint8.
      labels: int32 `[m]`, the true classes.
      predictions: int32 `[m]`, what the classifier says of `images`.
    """

    indices: np.ndarray
    attacks: tuple[str, ...]
    images: np.ndarray
    clean_images: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray


@dataclasses.dataclass(frozen=True)
class SmallerRadius:
    """What was found at one of several radii that is not the largest.

    Attributes:
      result: at this radius; without a diagnosis, which that of the largest radius is for all.
      assumed: examples that were not attacked, since they withstood a larger radius.
      drawn: examples that withstood a larger radius and were attacked all the same.
      drawn_fooled: how many of these were fooled; with any, none is assumed to withstand.
    """

    result: "Findings"
    assumed: int
    drawn: int
    drawn_fooled: int


@dataclasses.dataclass(frozen=True, repr=False)
class Findings:
    """All that an evaluation found.

    Attributes:
      threat_model: of the attacks.
      seed: of the random starts.
      clean_correct: bool `[n]`, examples classified correctly without attack.
      attacks: in the order in which they ran.
      examples: the adversarial images found.
      diagnosis: whether the figures can be believed, and what speaks for and against it.
      labels: int `[n]`, the true classes, for the accuracy of each class.
      randomness: how a classifier was measured whose answers differ; None of another.
      smaller: of several radii, what was found at the others, the smallest first.
      unanswered: on how many examples the classifier answers NaN without attack.
    """

    threat_model: ThreatModel
    seed: int
    clean_correct: np.ndarray
    attacks: tuple[AttackResult, ...]
    examples: AdversarialExamples
    diagnosis: Diagnosis = Diagnosis()
    labels: np.ndarray | None = None
    randomness: Randomness | None = None
    smaller: tuple[SmallerRadius, ...] = ()
    unanswered: int = 0

    @property
    def checks(self) -> tuple[Check, ...]:
        """Verdicts on the figures."""
        return self.diagnosis.checks

    @property
    def num_examples(self) -> int:
        """How many examples were evaluated."""
        return len(self.clean_correct)

    @property
    def clean_accuracy(self) -> float:
        """Share of examples classified correctly without attack."""
        return float(np.mean(self.clean_correct))

    @property
    def robust(self) -> np.ndarray:
        """Which examples are classified correctly both without attack and under every attack."""
        robust = self.clean_correct.copy()
        for attack in self.attacks:
            robust &= ~attack.fooled
        return robust

    @property
    def worst_case_accuracy(self) -> float:
        """Share of examples robust to every attack, counted image by image.

        At most the smallest accuracy of the attacks.
        """
        return float(np.mean(self.robust))

    @property
    def worst_case_accuracy_8bit(self) -> float:
        """Share of examples robust to every attack once adversarial pixels are rounded to 8 bits.

        At least `worst_case_accuracy`, and an upper bound: an image whose exact version fools is
        attacked no more, and no attack searched among rounded images.
        """
        robust = self.clean_correct.copy()
        for attack in self.attacks:
            robust &= ~attack.fooled_8bit
        return float(np.mean(robust))

    @property
    def confidence_interval_95(self) -> tuple[float, float]:
        """Wilson interval of the worst-case accuracy."""
        return wilson_interval(int(self.robust.sum()), self.num_examples)

    @property
    def at_each_radius(self) -> "tuple[Findings, ...]":
        """These findings and those at smaller radii, the smallest first."""
        return (*(radius.result for radius in self.smaller), self)

    def accuracy(self, attack_name: str) -> float:
        """`AttackResult.accuracy` of the attack of that name."""
        return {attack.name: attack.accuracy for attack in self.attacks}[attack_name]
