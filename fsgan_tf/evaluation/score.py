"""Counts what attacks achieve, one attack after another."""

from collections.abc import Mapping

import numpy as np

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.attacks.parts.sample import Sample
from fsgan_tf.evaluation.outcome import FirstFound, MostFooling, Outcome
from fsgan_tf.results.findings import AdversarialExamples, AttackResult


class Score:
    """The examples that stand, and what was found of the others.

    Attributes:
      standing: bool `[n]`, examples that the attack under way is to run on: classified correctly
        and not fooled by it yet, nor, unless stand-alone, by those before it.
      results: of the attacks that have ended.
      most_fooling: of a classifier whose answers differ.
    """

    def __init__(
        self,
        correct: np.ndarray,
        *,
        standalone: bool,
        num_devices: int,
        among: Mapping[str, np.ndarray] | None = None,
        clean_wrong: np.ndarray | None = None,
    ):
        """Starts from what is classified correctly before any attack.

        Args:
          correct: bool `[n]`.
          standalone: see `Request`.
          num_devices: that share the batches.
          among: by the name of an attack, the only examples that it is to run on, bool `[n]`.
          clean_wrong: int `[n]`, of a classifier whose answers differ: calls that misclassify.
        """
        self._correct = correct
        self._standalone = standalone
        self._num_devices = num_devices
        self._among = among or {}
        self._robust, self._robust_8bit = correct.copy(), correct.copy()
        self._found = FirstFound()
        self.most_fooling = None if clean_wrong is None else MostFooling(clean_wrong)
        self.results: list[AttackResult] = []

    def begin(self, attack: Attack) -> None:
        """An attack begins."""
        self._attack = attack
        self._candidates = self._correct if self._standalone else self._robust
        self.standing = self._candidates & self._among.get(attack.name, True)
        self._fooled = np.zeros_like(self._correct)
        self._fooled_8bit = np.zeros_like(self._correct)
        self._refused, self._seconds = 0, 0.0
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
        self._refused += int(np.sum(outcome.claimed & ~outcome.fooled))
        self._seconds += outcome.seconds / self._num_devices
        self._found.add(self._attack.name, outcome)
        if self.most_fooling:
            self.most_fooling.add(outcome)
        self.standing[outcome.indices[outcome.fooled]] = False

    def end(self) -> None:
        """The attack has ended."""
        self._robust = self._robust & ~self._fooled
        self._robust_8bit = self._robust_8bit & ~self._fooled_8bit
        alone_8bit = self._correct & ~self._fooled_8bit
        self.results.append(
            AttackResult(
                name=self._attack.name,
                parameters=self._attack.parameters,
                accuracy=float(np.mean(self._candidates & ~self._fooled)),
                accuracy_8bit=float(np.mean(alone_8bit if self._standalone else self._robust_8bit)),
                standalone=self._standalone or not self.results,
                seconds=self._seconds,
                fooled=self._fooled,
                fooled_8bit=self._fooled_8bit,
                refused=self._refused,
                sample=self._sample,
            )
        )

    def examples(self, images: np.ndarray, labels: np.ndarray) -> AdversarialExamples:
        """The first image found of each example, beside the clean ones that are given."""
        return self._found.collected(images, labels)
