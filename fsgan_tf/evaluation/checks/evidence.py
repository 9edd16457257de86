"""What the checks look at: a finished evaluation, one batch of it, and what it left standing."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeGuard

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts import losses
from fsgan_tf.attacks.parts.attack import Attack, Climbing
from fsgan_tf.attacks.parts.attacked_classifier import is_misclassified
from fsgan_tf.attacks.parts.projected_gradient import Path, ProjectedGradient, climb
from fsgan_tf.attacks.parts.settings import default_step
from fsgan_tf.attacks.parts.source import Source
from fsgan_tf.evaluation import curves
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.result import Result
from fsgan_tf.results.findings import Check, EpsilonCurve

# Images that no attack fooled; as many of them are attacked anew as it takes to be certain, a
# block after another.
_MOST_STANDING, _BLOCKS_OF_A_SAMPLE = 64, 4
# Steps of an attack that is run again with twice as many. Longer ones have had their chance, and
# twice their steps would outlast the evaluation of a few.
_MOST_STEPS = 100
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
    def slope(self) -> tf.Tensor:
        """The gradient of the cross-entropy at every image of the sample, `[b, h, w, c]`."""
        return self.gradient(losses.cross_entropy)

    def gradient(self, loss: Callable[..., tf.Tensor]) -> tf.Tensor:
        """The gradient of a loss at every image of the sample, `[b, h, w, c]`."""
        sample = self.sample
        _, _, gradient = self.evaluator.classifier.loss_and_gradient(
            sample.images, sample.labels, lambda logits: loss(labels=sample.labels, logits=logits)
        )
        return gradient

    @functools.cached_property
    def fooled_by_one_step(self) -> np.ndarray:
        """Bool `[count]`, what FGSM makes of every image of the sample, misclassified or not."""
        sample, threat_model = self.sample, self.evaluator.threat_model
        step = threat_model.steepest_step(self.slope, threat_model.epsilon)
        last = threat_model.project(sample.images + step, sample.images)
        wrong = is_misclassified(self.evaluator.classifier.logits(last), sample.labels)
        return sample.rows(wrong & threat_model.is_feasible(last, sample.images))

    @functools.cached_property
    def correct(self) -> np.ndarray:
        """Indices of those of the sample that are classified correctly without attack."""
        return np.flatnonzero(self.sample.correct)

    @functools.cached_property
    def traced(self) -> tuple[ProjectedGradient, curves.Trace]:
        """An attack, followed over the sample's correctly classified images.

        It is the margin attack of most steps, else that on the cross-entropy; C&W-20 stands in
        where neither ran.
        """
        attack = self.longest("margin") or self.longest("cross_entropy") or self.stand_in
        if not len(self.correct):
            shape = (curves.traced_steps(attack) + 1, 0)
            return attack, curves.Trace(np.zeros(shape, np.float32), np.zeros(shape, bool))
        evaluator = self.evaluator
        images, labels = evaluator.take(self.images, self.labels, self.correct)
        count = len(self.correct)
        return attack, curves.trace(
            evaluator.classifier, evaluator.threat_model, images, labels, count, attack
        )

    @functools.cached_property
    def twice_the_steps(self) -> "Further | None":
        """What twice the steps of the strongest attack find, from another start.

        None where no attack climbs, or where that takes more than 100 steps.
        """
        attack = self.strongest
        if attack is None or attack.num_steps > _MOST_STEPS:
            return None
        return self.further(attack.once(2 * attack.num_steps))

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

    @functools.cached_property
    def standing(self) -> np.ndarray:
        """Indices of examples that no attack fooled, at most 64, the nearest to an error first."""
        standing = np.flatnonzero(self.result.robust)[:_MOST_STANDING]
        if not len(standing):
            return standing
        leads = self.evaluator.leads(self.images, self.labels, standing)
        return standing[np.argsort(leads, kind="stable")]

    def further(self, attack: Attack) -> "Further":
        """What an attack finds among the images that stand, a block after another.

        Where it fools at most one of a block, which may be chance, it would hardly fool those that
        are further from an error, which are therefore not attacked.
        """
        tried = fooled = 0
        while tried < len(self.standing):
            block = self.standing[tried : tried + self.block]
            found = int(self.fooled_by(block, attack).sum())
            tried, fooled = tried + len(block), fooled + found
            if found <= _CHANCE:
                break
        return Further(fooled, tried, len(self.standing))

    @property
    def block(self) -> int:
        """How many images that stand are attacked anew at once."""
        return -(-self.sample.count // _BLOCKS_OF_A_SAMPLE)

    def climb(self, indices: np.ndarray, loss: str, *, num_steps: int, step_size: float) -> Path:
        """Climbs a loss from the images at indices to the end."""
        images, labels = self.evaluator.take(self.images, self.labels, indices)
        return climb(
            self.evaluator.classifier,
            self.evaluator.threat_model,
            images,
            images,
            labels,
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

    def longest(self, loss: str) -> ProjectedGradient | None:
        """The projected gradient attack of most steps on a loss; None where none of several ran."""
        found = [
            attack
            for attack in self.attacks
            if isinstance(attack, ProjectedGradient)
            and attack.num_steps > 1
            and attack.loss == loss
        ]
        return max(found, key=lambda attack: attack.num_steps, default=None)

    @property
    def stand_in(self) -> ProjectedGradient:
        """C&W-20, where the evaluation had no attack of its own for a check."""
        threat_model = self.evaluator.threat_model
        return ProjectedGradient(
            "cw20",
            loss="margin",
            num_steps=20,
            step_size=default_step(threat_model.norm, threat_model.epsilon, 20),
            random_start=True,
            restarts=1,
        )


class Further(NamedTuple):
    """What a further attack found among images that no attack had fooled.

    Attributes:
      fooled: of those tried.
      tried: the nearest to an error.
      standing: how many there were to try.
    """

    fooled: int
    tried: int
    standing: int

    def points(self, evidence: Evidence) -> float:
        """What it stands for of the worst-case accuracy, as a share of all images.

        Of m that stand, g newly fooled are g/m of it; those not tried count as standing.
        """
        return self.fooled / max(self.standing, 1) * evidence.result.worst_case_accuracy

    def __str__(self) -> str:
        """A phrase on whom was tried."""
        if self.tried == self.standing:
            return f"{self.standing} images that withstood every attack"
        return (
            f"the {self.tried} nearest to an error of {self.standing} images that withstood "
            "every attack"
        )


def climbs(attack: Attack) -> TypeGuard[Climbing]:
    """Whether an attack climbs a loss by its gradient in more than one step."""
    return isinstance(attack, Climbing) and attack.num_steps > 1
