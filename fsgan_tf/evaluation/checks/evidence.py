"""What the checks look at: a finished evaluation, one batch of it, and what it left standing."""

import dataclasses
import functools
import zlib
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.attacks.parts.attacked_classifier import is_misclassified
from fsgan_tf.attacks.parts.auto_pgd import AutoPGD
from fsgan_tf.attacks.parts.projected_gradient import Path, ProjectedGradient, climb
from fsgan_tf.attacks.parts.settings import default_step
from fsgan_tf.attacks.parts.source import Source
from fsgan_tf.evaluation import curves
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.result import Check, EpsilonCurve, Result
from fsgan_tf.threat_model import ThreatModel

# Attacks that climb a loss by its gradient. FAB minimises a distance instead.
Climbing = ProjectedGradient | AutoPGD

# One image more or less is chance, however small the sample.
_CHANCE = 1


def judged(name: str, verdict: str, detail: str, *, holds: str, doubt: str) -> Check:
    """A check that ran, with the advice that fits its verdict."""
    return Check(name, verdict, detail, holds if verdict == "pass" else doubt)


def skipped(name: str, missing: str, *, advice: str) -> Check:
    """A check that lacked something."""
    return Check(name, "skipped", missing, advice)


def level(number: int, share: float, notable: float, large: float) -> str:
    """`pass` up to one image or a notable share, `warn` up to a large one, else `fail`."""
    if number <= _CHANCE or share <= notable:
        return "pass"
    return "fail" if share > large else "warn"


class Sample:
    """The first batch of examples; `count` of them are there, the rest repeats them.

    Attributes:
      count: number of examples.
      images: float32 `[b, h, w, c]`.
      labels: int32 `[b]`.
      logits: float32 `[b, k]`, without attack.
    """

    def __init__(self, evaluator: Evaluator, images: np.ndarray, labels: np.ndarray):
        """Takes the batch and classifies it."""
        self.count = min(len(labels), evaluator.batch_size)
        batch = next(evaluator.batches(np.arange(self.count)))
        self.images, self.labels = evaluator.take(images, labels, batch)
        self.logits = evaluator.classifier.logits(self.images)

    def rows(self, batch: tf.Tensor) -> np.ndarray:
        """Those of the examples, `[count, ...]`, without the padding's, of `[b, ...]`."""
        return batch.numpy()[: self.count]

    @property
    def correct(self) -> np.ndarray:
        """Bool `[count]`, classified correctly without attack."""
        return ~self.rows(is_misclassified(self.logits, self.labels))


@dataclasses.dataclass(frozen=True)
class Evidence:
    """A finished evaluation and what several checks read off it; each is computed once.

    Attributes:
      evaluator: the classifier and the threat model.
      images: those evaluated, `[n, h, w, c]`, float32 in [0, 1] or uint8.
      labels: integer `[n]`.
      attacks: those that ran.
      result: what they found.
      sources: other classifiers.
    """

    evaluator: Evaluator
    images: np.ndarray
    labels: np.ndarray
    attacks: Sequence[Attack]
    result: Result
    sources: Sequence[Source]

    def restart_draws(self, name: str) -> None:
        """Of a random classifier, lets the draws of a check follow from its name and the seed."""
        pixels, _ = self.evaluator.take(self.images, self.labels, np.arange(1))
        self.evaluator.restart_draws(
            self.evaluator.classifier, pixels, self.result.seed, 0, zlib.crc32(name.encode())
        )

    @functools.cached_property
    def sample(self) -> Sample:
        """The batch on which most checks run."""
        return Sample(self.evaluator, self.images, self.labels)

    @functools.cached_property
    def epsilon_curve(self) -> EpsilonCurve:
        """Of the sample."""
        sample = self.sample
        return curves.sweep(
            self.evaluator.classifier,
            self.evaluator.threat_model,
            sample.images,
            sample.labels,
            sample.count,
        )

    @functools.cached_property
    def fooled_by_one_step(self) -> np.ndarray:
        """Bool `[count]`, what FGSM makes of every image of the sample, misclassified or not."""
        sample = self.sample
        epsilon = self.evaluator.threat_model.epsilon
        last = self.climb("cross_entropy", num_steps=1, step_size=epsilon).last
        wrong = is_misclassified(self.evaluator.classifier.logits(last), sample.labels)
        return sample.rows(wrong & self.evaluator.threat_model.is_feasible(last, sample.images))

    @functools.cached_property
    def traces(self) -> tuple[tuple[ProjectedGradient, curves.Trace], ...]:
        """The cross-entropy and the margin attack of most steps, followed over the sample.

        Where none ran, PGD-20 and C&W-20 stand in.
        """
        attacks = [self.longest(loss) for loss in ("cross_entropy", "margin")]
        return tuple((attack, self._trace(attack)) for attack in attacks)

    @property
    def strongest(self) -> Climbing | None:
        """The costliest attack that climbs a loss in several steps; of equals one on the margin."""
        climbing = [attack for attack in self.attacks if climbs(attack)]
        return max(
            climbing, key=lambda attack: (attack.cost, attack.loss != "cross_entropy"), default=None
        )

    @property
    def undefended(self) -> Source | None:
        """A source trained without a defence, if one was given."""
        return next((source for source in self.sources if source.method == "standard"), None)

    @property
    def standing(self) -> np.ndarray:
        """Indices of a batch of examples that no attack fooled."""
        return np.flatnonzero(self.result.robust)[: self.evaluator.batch_size]

    def climb(self, loss: str, *, num_steps: int, step_size: float) -> Path:
        """Climbs a loss from the sample's images to the end."""
        return climb(
            self.evaluator.classifier,
            self.evaluator.threat_model,
            self.sample.images,
            self.sample.images,
            self.sample.labels,
            loss=loss,
            num_steps=num_steps,
            step_size=step_size,
            stop_when_fooled=False,
        )

    def fooled_by(self, indices: np.ndarray, *attacks: Attack) -> np.ndarray:
        """Bool `[m]`, which of m examples attacks fool, from starts the evaluation did not try."""
        if not len(indices):
            return np.zeros(0, bool)
        found = self.evaluator.attack(
            self.images[indices], self.labels[indices], attacks, seed=self.result.seed + 1
        )
        return found.clean_correct & ~found.robust

    def longest(self, loss: str) -> ProjectedGradient:
        """The projected gradient attack of most steps on a loss; of 20 steps where none ran."""
        found = [
            attack
            for attack in self.attacks
            if isinstance(attack, ProjectedGradient)
            and attack.num_steps > 1
            and attack.loss == loss
        ]
        stand_in = twenty_steps(loss, self.evaluator.threat_model)
        return max(found, key=lambda attack: attack.num_steps, default=stand_in)

    def _trace(self, attack: ProjectedGradient) -> curves.Trace:
        sample = self.sample
        return curves.trace(
            self.evaluator.classifier,
            self.evaluator.threat_model,
            sample.images,
            sample.labels,
            sample.count,
            attack,
        )


def twenty_steps(loss: str, threat_model: ThreatModel) -> ProjectedGradient:
    """PGD-20 or C&W-20 as their files have them."""
    name = {"cross_entropy": "pgd20", "margin": "cw20"}[loss]
    step_size = default_step(threat_model.norm, threat_model.epsilon, 20)
    return ProjectedGradient(
        name, loss=loss, num_steps=20, step_size=step_size, random_start=True, restarts=1
    )


def climbs(attack: Attack) -> TypeGuard[Climbing]:
    """Whether an attack climbs a loss by its gradient in more than one step."""
    return isinstance(attack, Climbing) and attack.num_steps > 1
