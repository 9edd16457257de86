"""Projected gradient ascent in one compiled loop; in l_inf with CleverHans' step and projection."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts import losses
from fsgan_tf.attacks.parts.attack import Access, Attempt, parameters_of
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.attacks.parts.stretches import Stretches
from fsgan_tf.threat_model import ThreatModel

LOSSES = {"cross_entropy": losses.cross_entropy, "margin": losses.margin}


class Climb(NamedTuple):
    """Where a climb led.

    Attributes:
      best: float32 `[b, h, w, c]`, of each example's iterates the first misclassified one, else
        that of the highest loss; always the latter where the climb keeps no first success.
      success: bool `[b]`, whether `best` is misclassified.
      last: float32 `[b, h, w, c]`, the last iterate, which is what CleverHans returns; of what
        left the climb once it was fooled, the one it left with.
    """

    best: tf.Tensor
    success: tf.Tensor
    last: tf.Tensor

    @property
    def attempt(self) -> Attempt:
        """The best iterate, as the engine takes it."""
        return Attempt(self.best, self.success)


@dataclasses.dataclass(frozen=True)
class ProjectedGradient:
    """Ascent on a loss by steps projected to the ball (Madry et al., arXiv:1706.06083).

    Attributes:
      name: as in `--attacks`.
      loss: `cross_entropy` or `margin`.
      num_steps: gradient steps of one restart.
      step_size: of one step, in the norm's unit.
      random_start: start uniformly within the ball instead of at the image.
      restarts: independent runs; only chance tells them apart.
    """

    name: str
    loss: str
    num_steps: int
    step_size: float
    random_start: bool
    restarts: int

    access: ClassVar[Access] = "gradients"

    @property
    def cost(self) -> int:
        """Gradients spent on an image that no restart fools."""
        return self.num_steps * self.restarts

    @property
    def parameters(self) -> dict[str, Any]:
        """What results.json says of this attack."""
        return parameters_of(self)

    def run(
        self,
        classifier: AttackedClassifier,
        threat_model: ThreatModel,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        restart: int,
    ) -> Attempt:
        """Climbs once from a fresh start; see `Attack.run`."""
        del restart  # The seeds already tell it.
        return climb(
            classifier,
            threat_model,
            images,
            self.start(threat_model, images, seeds),
            labels,
            loss=self.loss,
            num_steps=self.num_steps,
            step_size=self.step_size,
        ).attempt

    def once(self, num_steps: int) -> "ProjectedGradient":
        """See `Climbing.once`."""
        return dataclasses.replace(self, num_steps=num_steps, restarts=1)

    def start(self, threat_model: ThreatModel, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """The first iterates, float32 `[b, h, w, c]`."""
        return random_start(threat_model, images, seeds) if self.random_start else images


@for_any_batch_size
def random_start(threat_model: ThreatModel, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """`ThreatModel.random_start`, compiled once for all batches and radii."""
    return threat_model.random_start(images, seeds)


def climb(
    classifier: AttackedClassifier,
    threat_model: ThreatModel,
    images: tf.Tensor,
    start: tf.Tensor,
    labels: tf.Tensor,
    *,
    loss: str,
    num_steps: int,
    step_size: float,
    stop_when_fooled: bool = True,
    keep_first_success: bool = True,
    judge_last: bool = True,
) -> Climb:
    """Takes `num_steps` steps up the loss, each projected to the ball and the pixel range.

    In l_inf this is step for step CleverHans' `projected_gradient_descent`, whose Python loop would
    be unrolled when traced: here one graph serves any number of steps, step size and epsilon.

    Args:
      classifier: what is attacked.
      threat_model: the ball and the pixel range.
      images: float32 `[b, h, w, c]` clean images within the pixel range.
      start: float32 `[b, h, w, c]` first iterate, within the ball and the range.
      labels: int32 `[b]` true labels.
      loss: `cross_entropy` or `margin`.
      num_steps: number of gradient steps.
      step_size: in the norm's unit.
      stop_when_fooled: an example leaves within 10 steps of being misclassified, and all stop once
        all are; the best iterate is then decided.
      keep_first_success: an example's first misclassified iterate stays its best one.
      judge_last: whether the last iterate can be the best one, which takes another answer.

    Returns:
      The path.
    """
    images, start, labels = map(tf.convert_to_tensor, (images, start, labels))
    first = _State(
        iterate=start,
        best=start,
        best_loss=tf.fill(tf.shape(labels), -np.inf),
        success=tf.zeros_like(labels, tf.bool),
    )
    stretches = Stretches(first, num_steps, leave=stop_when_fooled)
    for rows, state, steps in stretches:
        moved = _ascend(
            classifier,
            LOSSES[loss],
            threat_model,
            tf.gather(images, rows),
            tf.gather(labels, rows),
            state,
            tf.constant(steps.stop - steps.start),
            tf.constant(judge_last and steps.stop == num_steps),
            tf.constant(step_size),
            tf.constant(stop_when_fooled),
            tf.constant(keep_first_success),
        )
        stretches.update(moved)
    end = stretches.state
    return Climb(end.best, end.success, end.iterate)


class _State(NamedTuple):
    """A climb so far: see `Climb`; `iterate` is not yet judged, `best_loss` is float32 `[b]`."""

    iterate: tf.Tensor
    best: tf.Tensor
    best_loss: tf.Tensor
    success: tf.Tensor


@for_any_batch_size
def _ascend(
    classifier: AttackedClassifier,
    loss_fn: Callable[..., tf.Tensor],
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    state: _State,
    num_steps: tf.Tensor,
    judge_end: tf.Tensor,
    step_size: tf.Tensor,
    stop_when_fooled: tf.Tensor,
    keep_first_success: tf.Tensor,
) -> _State:
    """The loop: the gradient, a step along it, back into the ball and the pixel range."""

    def losses_of(logits: tf.Tensor) -> tf.Tensor:
        return loss_fn(labels=labels, logits=logits)

    def judge(state: _State, wrong: tf.Tensor, losses: tf.Tensor) -> _State:
        """Keeps the iterate where it beats the best one so far."""
        higher = losses > state.best_loss
        better = tf.where(keep_first_success, ~state.success & (wrong | higher), higher)
        return state._replace(
            best=tf.where(better[:, None, None, None], state.iterate, state.best),
            best_loss=tf.where(better, losses, state.best_loss),
            success=tf.where(better, wrong, state.success),
        )

    def undecided(state: _State) -> tf.Tensor:
        return ~(stop_when_fooled & tf.reduce_all(state.success))

    def goes_on(taken: tf.Tensor, state: _State) -> tf.Tensor:
        return (taken < num_steps) & undecided(state)

    def step(taken: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
        wrong, losses, gradient = classifier.loss_and_gradient(state.iterate, labels, losses_of)
        moved = state.iterate + threat_model.steepest_step(gradient, step_size)
        perturbation = threat_model.limit(threat_model.clip(moved) - images)
        iterate = threat_model.clip(images + perturbation)
        return taken + 1, judge(state, wrong, losses)._replace(iterate=iterate)

    def judge_last(state: _State) -> _State:
        return judge(state, *classifier.judge(state.iterate, labels, losses_of))

    _, end = tf.while_loop(goes_on, step, [tf.constant(0), state])
    return tf.cond(judge_end & undecided(end), lambda: judge_last(end), lambda: end)
