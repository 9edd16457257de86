"""What the checks look at: a finished evaluation, a sample of it, and what it left standing."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts import losses
from fsgan_tf.attacks.parts.attack import Attack, Climbing
from fsgan_tf.attacks.parts.attacked_classifier import is_misclassified
from fsgan_tf.attacks.parts.batches import in_batches, padded
from fsgan_tf.attacks.parts.projected_gradient import Climb, ProjectedGradient, climb
from fsgan_tf.attacks.parts.settings import default_step
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.evaluation import curves
from fsgan_tf.evaluation.checks.verdicts import CHANCE, Further
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.result import Result
from fsgan_tf.results.findings import EpsilonCurve

# Images of a sample, and of those that no attack fooled; as many of the latter are attacked anew as
# it takes to be certain, a block after another.
LARGEST_SAMPLE = 64
_BLOCKS_OF_A_SAMPLE, _SMALLEST_BLOCK = 4, 8
# Steps of an attack that is run again with twice as many. Longer ones have had their chance, and
# twice their steps would outlast the evaluation of a few.
_MOST_STEPS = 100


class SampledExamples:
    """Some of the examples; `count` of them are there, the rest repeats them.

    Attributes:
      indices: int `[count]`, their positions among all.
      count: number of examples.
      images: float32 `[b, h, w, c]`.
      labels: int32 `[b]`.
      logits: float32 `[b, k]`, without attack.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        images: np.ndarray,
        labels: np.ndarray,
        indices: np.ndarray,
        size: int,
    ):
        """Takes the examples, at most `size`, and classifies them."""
        self.indices, self.count = indices, len(indices)
        self.images, self.labels = evaluator.take(images, labels, padded(indices, size))
        self.logits = in_batches(evaluator.classifier.logits, evaluator.batch_size, self.images)

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
      evaluator: the classifier and the threat model; no batch is larger than its.
      images: those evaluated, `[n, h, w, c]`, float32 in [0, 1] or uint8.
      labels: integer `[n]`.
      attacks: those that ran.
      result: what they found.
      sources: other classifiers.
      size: of the sample, at most.
    """

    evaluator: Evaluator
    images: np.ndarray
    labels: np.ndarray
    attacks: Sequence[Attack]
    result: Result
    sources: Sequence[TransferSource]
    size: int = LARGEST_SAMPLE

    def restart_draws(self, name: str) -> None:
        """Of a random classifier, lets the draws to come follow from a name and the seed.

        What several checks share has a name of its own: whichever needs it first, and makes it, a
        check that was made before a kill leaves it as it was.
        """
        key = zlib.crc32(name.encode())
        self.evaluator.restart_draws(
            self.evaluator.classifier, self.images, self.result.seed, 0, key
        )

    @functools.cached_property
    def sample(self) -> SampledExamples:
        """The examples on which most checks run, drawn by chance where there are more."""
        indices = self.drawn(np.arange(len(self.labels)), self.size)
        self.restart_draws("sample")
        return SampledExamples(self.evaluator, self.images, self.labels, indices, self.size)

    def drawn(self, indices: np.ndarray, most: int) -> np.ndarray:
        """Some of the indices, by chance that follows from the seed; a few are among more."""
        return np.sort(np.random.default_rng(self.result.seed).permutation(indices)[:most])

    def batched(self, function: Callable[..., Any], *arrays: Any) -> Any:
        """What a function makes of examples, a batch after another; see `in_batches`."""
        return in_batches(function, self.evaluator.batch_size, *arrays)

    @functools.cached_property
    def epsilon_curve(self) -> EpsilonCurve:
        """Of the sample."""
        sample, size = self.sample, self.evaluator.batch_size
        self.restart_draws("epsilon_curve")
        return curves.joined(
            curves.sweep(
                self.evaluator.classifier,
                self.evaluator.threat_model,
                sample.images[first : first + size],
                sample.labels[first : first + size],
                min(size, sample.count - first),
            )
            for first in range(0, sample.count, size)
        )

    @functools.cached_property
    def slope(self) -> tf.Tensor:
        """The gradient of the cross-entropy at every image of the sample, `[b, h, w, c]`."""
        return self.gradient(losses.cross_entropy)

    def gradient(self, loss: Callable[..., tf.Tensor]) -> tf.Tensor:
        """The gradient of a loss at every image of the sample, `[b, h, w, c]`."""

        def slope(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            return self.evaluator.classifier.loss_and_gradient(
                images, labels, lambda logits: loss(labels=labels, logits=logits)
            )[2]

        sample = self.sample
        self.restart_draws(f"gradient of {loss.__name__}")
        return self.batched(slope, sample.images, sample.labels)

    @functools.cached_property
    def fooled_by_one_step(self) -> np.ndarray:
        """Bool `[count]`, what FGSM makes of every image of the sample, misclassified or not."""
        sample, threat_model = self.sample, self.evaluator.threat_model
        step = threat_model.steepest_step(self.slope, threat_model.epsilon)
        last = threat_model.project(sample.images + step, sample.images)
        self.restart_draws("fooled_by_one_step")
        logits = self.batched(self.evaluator.classifier.logits, last)
        wrong = is_misclassified(logits, sample.labels)
        return sample.rows(wrong & threat_model.is_feasible(last, sample.images))

    @functools.cached_property
    def correct(self) -> np.ndarray:
        """Indices of those of the sample that are classified correctly without attack."""
        return self.sample.indices[self.sample.correct]

    @functools.cached_property
    def traced(self) -> tuple[ProjectedGradient, curves.Trace] | None:
        """An attack that ran, followed over the sample's correctly classified images.

        It is the margin attack of most steps, else that on the cross-entropy; None where neither
        ran, since the path of another attack says nothing of those that did.
        """
        attack = self.longest("margin") or self.longest("cross_entropy")
        if attack is None:
            return None
        if not len(self.correct):
            shape = (curves.traced_steps(attack) + 1, 0)
            return attack, curves.Trace(np.zeros(shape, np.float32), np.zeros(shape, bool))
        evaluator, followed = self.evaluator, []
        self.restart_draws("traced")
        for first in range(0, len(self.correct), evaluator.batch_size):
            batch = self.correct[first : first + evaluator.batch_size]
            followed.append(
                curves.trace(
                    evaluator.classifier,
                    evaluator.threat_model,
                    *evaluator.take(self.images, self.labels, batch),
                    len(batch),
                    attack,
                )
            )
        parts = zip(*followed, strict=True)
        return attack, curves.Trace(*(np.concatenate(part, axis=1) for part in parts))

    @functools.cached_property
    def twice_the_steps(self) -> Further | None:
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
    def undefended(self) -> TransferSource | None:
        """A source trained without a defence, if one was given."""
        return next((source for source in self.sources if source.method == "standard"), None)

    @functools.cached_property
    def standing(self) -> np.ndarray:
        """Indices of at most 64 examples that no attack fooled, the nearest to an error first.

        They are drawn by chance where there are more, and so speak for all that stand.
        """
        standing = self.drawn(np.flatnonzero(self.result.robust), LARGEST_SAMPLE)
        if not len(standing):
            return standing
        self.restart_draws("standing")
        leads = self.evaluator.leads(self.images, self.labels, standing)
        return standing[np.argsort(leads, kind="stable")]

    def further(self, attack: Attack) -> Further:
        """What an attack finds among the images that stand, a block after another.

        Where it fools at most one of a block, which may be chance, it would hardly fool those that
        are further from an error, which are therefore not attacked.
        """
        tried = fooled = 0
        while tried < len(self.standing):
            block = self.standing[tried : tried + self.block]
            found = int(self.fooled_by(block, attack).sum())
            tried, fooled = tried + len(block), fooled + found
            if found <= CHANCE:
                break
        return Further(fooled, tried, len(self.standing), int(self.result.robust.sum()))

    @property
    def block(self) -> int:
        """How many images that stand are attacked anew at once."""
        return block(self.sample.count)

    def climb(self, indices: np.ndarray, loss: str, *, num_steps: int, step_size: float) -> Climb:
        """Climbs a loss from the images at indices to the end."""

        def climbed(images: tf.Tensor, labels: tf.Tensor) -> Climb:
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

        return self.batched(climbed, *self.evaluator.take(self.images, self.labels, indices))

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


def block(sample_size: int) -> int:
    """How many images that stand are attacked anew at once, beside a sample of so many."""
    return max(-(-sample_size // _BLOCKS_OF_A_SAMPLE), _SMALLEST_BLOCK)


def climbs(attack: Attack) -> TypeGuard[Climbing]:
    """Whether an attack climbs a loss by its gradient in more than one step."""
    return isinstance(attack, Climbing) and attack.num_steps > 1
