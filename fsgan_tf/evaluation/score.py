"""Counts what attacks achieve, one attack after another."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.attacks.parts.sample import Sample
from fsgan_tf.evaluation.outcome import FirstFound, MostFooling, Outcome
from fsgan_tf.results.findings import AdversarialExamples, AttackResult, withstood


class Score:
    """The examples that stand, and what was found of the others.

    Attributes:
      standing: bool `[n]`, examples that the attack under way is to run on: classified correctly
        and not fooled by it yet, nor, unless stand-alone, by those before it.
      most_fooling: of a classifier whose answers differ, what the attacks found, of which
        `settle` decides what counts; None of another.
    """

    def __init__(
        self,
        correct: np.ndarray,
        *,
        standalone: bool,
        num_devices: int,
        among: Mapping[str, np.ndarray] | None = None,
        random: bool = False,
    ):
        """Starts from what is classified correctly before any attack.

        Args:
          correct: bool `[n]`.
          standalone: see `Request`.
          num_devices: that share the batches.
          among: by the name of an attack, the only examples that it is to run on, bool `[n]`.
          random: whether the classifier's answers differ from call to call.
        """
        self._correct = correct
        self._standalone = standalone
        self._num_devices = num_devices
        self._among = among or {}
        self._robust = correct.copy()
        self._found = FirstFound()
        self.most_fooling = MostFooling(len(correct)) if random else None
        self._ended: list[AttackResult] = []

    def begin(self, attack: Attack) -> None:
        """An attack begins."""
        self._attack = attack
        candidates = self._correct if self._standalone else self._robust
        self.standing = candidates & self._among.get(attack.name, True)
        self._fooled = np.zeros_like(self._correct)
        self._fooled_8bit = np.zeros_like(self._correct)
        self._refused = np.zeros_like(self._correct)
        self._seconds = 0.0
        self._sample: Sample | None = None

    def limit(self, sample: Sample) -> None:
        """The attack is run on a sample of what stands."""
        self._sample = sample
        chosen = np.zeros_like(self.standing)
        chosen[np.concatenate([sample.nearest, sample.drawn])] = True
        self.standing = self.standing & chosen

    def add(self, outcome: Outcome) -> None:
        """Counts what one run of the attack did to a batch."""
        self._fooled[outcome.indices] |= outcome.fooled
        self._fooled_8bit[outcome.indices] |= outcome.fooled_8bit
        self._refused[outcome.indices] |= outcome.claimed & ~outcome.fooled
        self._seconds += outcome.seconds / self._num_devices
        (self.most_fooling or self._found).add(self._attack.name, outcome)
        self.standing[outcome.indices[outcome.fooled]] = False

    def end(self) -> None:
        """The attack has ended."""
        self._robust = self._robust & ~self._fooled
        self._ended.append(
            AttackResult(
                name=self._attack.name,
                parameters=self._attack.parameters,
                accuracy=np.nan,  # `results` counts both.
                accuracy_8bit=np.nan,
                standalone=self._standalone or not self._ended,
                seconds=self._seconds,
                fooled=self._fooled,
                fooled_8bit=self._fooled_8bit,
                refused=self._refused,
                samples=(self._sample,) if self._sample else (),
            )
        )

    def settle(self, chosen: MostFooling, fooled: np.ndarray, fooled_8bit: np.ndarray) -> None:
        """Lets a last judgement of the most fooling images decide what every attack fooled.

        Args:
          chosen: these images.
          fooled: bool `[n]`, examples whose most fooling image fools.
          fooled_8bit: bool `[n]`, of these, those whose image does once it is rounded.
        """
        for number, attack in enumerate(self._ended):
            its_own = fooled & (attack.fooled | chosen.found_by(attack.name))
            self._ended[number] = dataclasses.replace(
                attack, fooled=its_own, fooled_8bit=its_own & fooled_8bit
            )

    @property
    def results(self) -> tuple[AttackResult, ...]:
        """Of the attacks that have ended."""
        return recounted(self._correct, self._ended)

    def examples(self, images: np.ndarray, labels: np.ndarray) -> AdversarialExamples:
        """The first image found of each example, beside the clean ones that are given."""
        return self._found.collected(images, labels)


def recounted(correct: np.ndarray, attacks: Sequence[AttackResult]) -> tuple[AttackResult, ...]:
    """The attacks with accuracies of what they fool."""
    return tuple(
        dataclasses.replace(
            attack, accuracy=float(np.mean(robust)), accuracy_8bit=float(np.mean(robust_8bit))
        )
        for attack, (robust, robust_8bit) in zip(attacks, withstood(correct, attacks), strict=True)
    )
