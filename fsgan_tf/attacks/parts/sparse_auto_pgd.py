"""APGD in l_1: steps along few values, as many as the best perturbation's sparsity suggests.

Source: Croce and Hein 2021, "Mind the box" (arXiv:2103.01208), section 4, as its authors run it in
AutoAttack's standard version: `autoattack/autopgd_base.py` of fra31/auto-attack at a392200, with
`use_largereps`. Where that code and the paper differ, this follows the code.

The climb goes through balls of 3 and 2 epsilon, 30% of the steps each, and ends in the ball of
epsilon; each part starts at the point of highest loss of the one before, projected. A step goes
alike along the values with the largest gradients, so many of them as two thirds of those that the
best point changes, and is epsilon long. At a checkpoint (4% of a part's steps, which is every step
of 100) where the best point has become sparser by 5%, the climb goes on from it with steps of
epsilon; elsewhere steps get shorter by a third, down to a tenth of epsilon.

Deviations, beside those of `auto_pgd`:
- Two thirds of a number of values are rounded up. Theirs is a float32's, which at a multiple of
  three may be one more.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attempt
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.attacks.parts.points import Point, select
from fsgan_tf.norms.base import per_example
from fsgan_tf.norms.l1 import sparse_direction
from fsgan_tf.threat_model import ThreatModel

# Radii of the parts, in epsilon; the first ones' share of the steps and of their checkpoints.
_RADII, _PART, _CHECKPOINTS = (3, 2, 1), 0.3, 0.04
# Of a step to a shorter one and to the shortest; of the values changed, what counts as sparser.
_SHORTER, _SHORTEST, _SPARSER = 1.5, 10, 0.95

# (logits, labels, targets) to one loss an example.
_LossFn = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def parts(num_steps: int) -> list[tuple[int, int, int]]:
    """Radius in epsilon, steps and steps between checkpoints of each part.

    Args:
      num_steps: of the whole climb.
    """
    first = math.ceil(_PART * num_steps)
    steps = (first, first, num_steps - 2 * first)
    return [
        (radius, count, max(int(_CHECKPOINTS * count), 1))
        for radius, count in zip(_RADII, steps, strict=True)
    ]


def climb(
    classifier: AttackedClassifier,
    loss_fn: _LossFn,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    targets: tf.Tensor,
    seeds: tf.Tensor,
    num_steps: int,
) -> Attempt:
    """Climbs once from a fresh start.

    Args:
      classifier: what is attacked.
      loss_fn: of logits, labels and targets; a function of a module, for which this is traced once.
      threat_model: an l_1 ball and the pixel range.
      images: float32 `[b, h, w, c]` clean images within the pixel range.
      labels: int32 `[b]` true labels.
      targets: int32 `[b]`, for the loss.
      seeds: int64 `[b, 2]`, of the random start.
      num_steps: of all parts.

    Returns:
      The first misclassified iterate in the ball, else that of the highest loss there.
    """
    reached: tf.Tensor | None = None
    for radius, count, interval in parts(num_steps):
        ball = dataclasses.replace(threat_model, epsilon=radius * threat_model.epsilon)
        if reached is None:
            reached = _start(ball, images, seeds)
        end = _climb(
            classifier,
            loss_fn,
            ball,
            images,
            labels,
            targets,
            reached,
            tf.constant(count),
            tf.constant(interval),
            tf.constant(radius == 1),
        )
        reached = end.best.pixels
    return Attempt(tf.where(per_example(end.success, images), end.found, reached), end.success)


@for_any_batch_size
def _start(threat_model: ThreatModel, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    return threat_model.random_start(images, seeds, on_the_surface=True)


class _State(NamedTuple):
    """The loop's variables.

    Attributes:
      step: int32, steps taken.
      current: where the next step starts.
      best: the point of the highest loss.
      best_loss: float32 `[b]`, there.
      found: float32 `[b, h, w, c]`, the first misclassified iterate.
      success: bool `[b]`, whether there is one.
      step_size: float32 `[b]`.
      changed: int32 `[b]`, values that the best point changed at the last checkpoint.
    """

    step: tf.Tensor
    current: Point
    best: Point
    best_loss: tf.Tensor
    found: tf.Tensor
    success: tf.Tensor
    step_size: tf.Tensor
    changed: tf.Tensor


@for_any_batch_size
def _climb(
    classifier: AttackedClassifier,
    loss_fn: _LossFn,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    targets: tf.Tensor,
    start: tf.Tensor,
    num_steps: tf.Tensor,
    interval: tf.Tensor,
    counts: tf.Tensor,
) -> _State:
    """One part; what it fools counts in the last one, whose `counts` is true."""
    longest = threat_model.epsilon

    def judge(pixels: tf.Tensor) -> tuple[Point, tf.Tensor, tf.Tensor]:
        """The point, its loss and whether it is misclassified and counts."""
        wrong, loss, gradient = classifier.loss_and_gradient(
            pixels, labels, lambda logits: loss_fn(logits, labels, targets)
        )
        known = tf.where(tf.math.is_nan(gradient), 0.0, gradient)
        return Point(pixels, known), loss, counts & wrong

    def values_changed(pixels: tf.Tensor) -> tf.Tensor:
        return tf.math.count_nonzero(pixels - images, axis=[1, 2, 3], dtype=tf.int32)

    def goes_on(state: _State) -> tf.Tensor:
        return (state.step < num_steps) & ~tf.reduce_all(state.success)

    def step(state: _State) -> tuple[_State]:
        pixels, gradient = state.current
        # Two thirds, rounded up.
        direction = sparse_direction(gradient, (2 * state.changed + 2) // 3)
        moved = pixels + per_example(state.step_size, images) * direction
        point, loss, wrong = judge(threat_model.project(moved, images))
        best = select(loss > state.best_loss, point, state.best)
        changed = values_changed(best.pixels)
        due = (state.step + 1) % interval == 0
        sparser = tf.cast(changed, tf.float32) < _SPARSER * tf.cast(state.changed, tf.float32)
        shorter = tf.maximum(state.step_size / _SHORTER, longest / _SHORTEST)
        paced = tf.where(sparser, longest * tf.ones_like(shorter), shorter)
        return (
            _State(
                step=state.step + 1,
                current=select(due & sparser, best, point),
                best=best,
                best_loss=tf.where(loss > state.best_loss, loss, state.best_loss),
                found=tf.where(
                    per_example(wrong & ~state.success, images), point.pixels, state.found
                ),
                success=state.success | wrong,
                step_size=tf.where(due, paced, state.step_size),
                changed=tf.where(due, changed, state.changed),
            ),
        )

    point, loss, wrong = judge(threat_model.project(start, images))
    first = _State(
        step=tf.constant(0),
        current=point,
        best=point,
        best_loss=loss,
        found=point.pixels,
        success=wrong,
        step_size=tf.fill(tf.shape(labels), longest),
        changed=values_changed(point.pixels),
    )
    (end,) = tf.while_loop(goes_on, step, [first])
    return end
