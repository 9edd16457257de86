"""APGD: projected gradient ascent with momentum that sets its own step size.

Source: Croce and Hein 2020 (arXiv:2003.01690), Algorithm 1 and section 4, as its authors run it:
`autoattack/autopgd_base.py` of fra31/auto-attack at a392200. Where that code and the paper differ,
this follows the code, which made the published figures: a step size is halved where the share of
steps that raised the loss is at most rho (paper: below rho), and the first of these steps is held
against a loss of 0 (paper: against the start's).

In l_2 the steps go along the gradient, and the start is normal noise stretched to the ball's
surface. In l_1 the attack is another one: `sparse_auto_pgd`.

Deviations:
- The first misclassified iterate is kept and the loop stops once every example has one; theirs
  takes all steps and keeps the last. The set of examples fooled is the same.
- With 2 or 3 classes, where the targeted DLR loss is not defined (theirs raises IndexError), the
  targeted attack climbs its numerator, the margin between the target's and the true logit; so does
  the untargeted one with 2 classes.
- There are at most K-1 targets; theirs raises IndexError at the K-th.
- Targets are ranked among the wrong classes; theirs among all, which is the same for what is
  classified correctly.
- An example's random start follows from its own seed, not from its place in the batch.
- Of a classifier whose answers differ from call to call, losses are means over the calls and an
  attack ends only where all err; theirs takes both from the last call (`apgd_dlr` says more).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from fsgan_tf.attacks.parts import losses, sparse_auto_pgd
from fsgan_tf.attacks.parts.attack import Access, Attempt, parameters_of
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.attacks.parts.points import Point, select
from fsgan_tf.attacks.parts.step_sizes import Intervals, Pace, intervals, paced
from fsgan_tf.attacks.parts.targets import likeliest_wrong_class
from fsgan_tf.threat_model import ThreatModel

_MOMENTUM = 0.75

# (logits, labels, targets) to one loss an example.
_LossFn = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class AutoPGD:
    """APGD on cross-entropy, on the DLR loss, or on its targeted form with one target a restart.

    Attributes:
      name: as in `--attacks`.
      loss: `cross_entropy`, `dlr` or `targeted_dlr`.
      num_steps: gradient steps of one restart.
      restarts: independent runs of `cross_entropy` and `dlr`; of `targeted_dlr` the number of
        targets, the likeliest wrong classes of the clean image.
    """

    name: str
    loss: str
    num_steps: int
    restarts: int

    access: ClassVar[Access] = "gradients"

    @property
    def cost(self) -> int:
        """Gradients spent on an image that no restart fools."""
        return (self.num_steps + 1) * self.restarts

    @property
    def parameters(self) -> dict[str, Any]:
        """What results.json says of this attack."""
        return parameters_of(self)

    def once(self, num_steps: int) -> "AutoPGD":
        """See `Climbing.once`; of `targeted_dlr`, at the likeliest target."""
        return dataclasses.replace(self, num_steps=num_steps, restarts=1)

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
        loss_fn, targets = _cross_entropy, labels
        if self.loss == "dlr":
            loss_fn = _dlr if classifier.logits(images).shape[1] >= 3 else _lead_of_others
        if self.loss == "targeted_dlr":
            logits = classifier.logits(images)
            num_classes = logits.shape[1]
            if restart >= num_classes - 1:
                return Attempt(images, tf.zeros_like(labels, tf.bool))
            loss_fn = losses.targeted_dlr if num_classes >= 4 else losses.targeted_margin
            targets = likeliest_wrong_class(logits, labels, restart)
        if threat_model.norm == "l1":
            return sparse_auto_pgd.climb(
                classifier, loss_fn, threat_model, images, labels, targets, seeds, self.num_steps
            )
        end = _climb(
            classifier,
            loss_fn,
            threat_model,
            images,
            labels,
            targets,
            seeds,
            tf.constant(self.num_steps),
            Intervals(*map(tf.constant, intervals(self.num_steps))),
        )
        return Attempt(end.best.pixels, end.success)


def _dlr(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    del targets
    return losses.dlr(logits, labels)


def _lead_of_others(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    del targets
    return -losses.true_class_lead(labels, logits)


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    del targets
    return losses.cross_entropy(labels=labels, logits=logits)


class _State(NamedTuple):
    """The loop's variables.

    Attributes:
      step: int32, steps taken.
      current: where the next step starts.
      previous: float32 `[b, h, w, c]`, where the last step started.
      loss: float32 `[b]`, after the last step.
      best: of each example's iterates the first misclassified one, else that of the highest loss.
      best_loss: float32 `[b]`, at `best`.
      success: bool `[b]`, whether `best` is misclassified.
      pace: the step sizes.
    """

    step: tf.Tensor
    current: Point
    previous: tf.Tensor
    loss: tf.Tensor
    best: Point
    best_loss: tf.Tensor
    success: tf.Tensor
    pace: Pace


@for_any_batch_size
def _climb(
    classifier: AttackedClassifier,
    loss_fn: _LossFn,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    targets: tf.Tensor,
    seeds: tf.Tensor,
    num_steps: tf.Tensor,
    intervals: Intervals,
) -> _State:
    def judge(pixels: tf.Tensor) -> tuple[Point, tf.Tensor, tf.Tensor]:
        """The point, its loss and whether it is misclassified."""
        wrong, loss, gradient = classifier.loss_and_gradient(
            pixels, labels, lambda logits: loss_fn(logits, labels, targets)
        )
        return Point(pixels, gradient), loss, wrong

    def goes_on(state: _State) -> tf.Tensor:
        return (state.step < num_steps) & ~tf.reduce_all(state.success)

    def step(state: _State) -> tuple[_State]:
        momentum = tf.where(state.step == 0, 1.0, _MOMENTUM)
        point, loss, wrong = judge(_stepped(state, momentum, threat_model, images))
        better = ~state.success & (wrong | (loss > state.best_loss))
        best = select(better, point, state.best)
        best_loss = tf.where(better, loss, state.best_loss)
        pace, halve = paced(state.pace, loss > state.loss, best_loss, intervals)
        return (
            _State(
                step=state.step + 1,
                current=select(halve, best, point),
                previous=state.current.pixels,
                loss=loss,
                best=best,
                best_loss=best_loss,
                success=state.success | wrong,
                pace=pace,
            ),
        )

    start, loss, wrong = judge(threat_model.random_start(images, seeds, on_the_surface=True))
    first = _State(
        step=tf.constant(0),
        current=start,
        previous=start.pixels,
        loss=tf.zeros_like(loss),
        best=start,
        best_loss=loss,
        success=wrong,
        pace=Pace(
            step_size=tf.fill(tf.shape(labels), 2 * threat_model.epsilon),
            rises=tf.zeros_like(labels),
            best_loss=loss,
            halved=tf.ones_like(wrong),
            steps=tf.constant(0),
            interval=intervals.first,
        ),
    )
    (end,) = tf.while_loop(goes_on, step, [first])
    return end


def _stepped(
    state: _State, momentum: tf.Tensor, threat_model: ThreatModel, images: tf.Tensor
) -> tf.Tensor:
    """The next iterate: a projected step, averaged with the last step taken."""
    pixels, gradient = state.current
    length = state.pace.step_size[:, None, None, None]
    target = threat_model.project(pixels + threat_model.steepest_step(gradient, length), images)
    averaged = pixels + momentum * (target - pixels) + (1 - momentum) * (pixels - state.previous)
    return threat_model.project(averaged, images)
