"""Steepest steps up a loss, where step size and loss follow a schedule and fooled images leave."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attempt
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.attacks.parts.losses import true_class_lead
from fsgan_tf.attacks.parts.projected_gradient import random_start
from fsgan_tf.attacks.parts.stretches import Stretches
from fsgan_tf.threat_model import ThreatModel

# (logits `[b, k]`, labels `[b]`, guides `[b, g]`, weights `[m]` of this step) to losses `[b]`.
LossFn = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Schedule(NamedTuple):
    """What differs from step to step.

    Attributes:
      step_sizes: float `[n]`, in radii of the ball.
      weights: float `[n, m]`, what the loss is told of each step.
    """

    step_sizes: np.ndarray
    weights: np.ndarray


def climb(
    classifier: AttackedClassifier,
    loss_fn: LossFn,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    seeds: tf.Tensor,
    guides: tf.Tensor,
    schedule: Schedule,
) -> Attempt:
    """Takes the schedule's steps from a random start, each projected to the ball and the range.

    Args:
      classifier: what is attacked.
      loss_fn: a function of a module, since it is traced once for each function that there is.
      threat_model: the ball and the pixel range.
      images: float32 `[b, h, w, c]` clean images within the pixel range.
      labels: int32 `[b]` true labels.
      seeds: int64 `[b, 2]`, of the random start.
      guides: float32 `[b, g]`, what the loss is told of each example.
      schedule: of the steps.

    Returns:
      Each example's first misclassified iterate, the start and the end included; else the last one.
    """
    sizes = np.asarray(schedule.step_sizes, np.float32)
    weights = np.asarray(schedule.weights, np.float32)
    start = random_start(threat_model, images, seeds)
    stretches = Stretches(_State(start, tf.zeros_like(labels, tf.bool)), len(sizes))
    for rows, state, steps in stretches:
        moved = _ascend(
            classifier,
            loss_fn,
            threat_model,
            tf.gather(images, rows),
            tf.gather(labels, rows),
            tf.gather(guides, rows),
            state,
            tf.constant(sizes[steps]),
            tf.constant(weights[steps]),
            tf.constant(steps.stop == len(sizes)),
        )
        stretches.update(moved)
    end = stretches.state
    return Attempt(end.iterate, end.success)


class _State(NamedTuple):
    """The iterates, where those of `success`, which are misclassified, move no more."""

    iterate: tf.Tensor
    success: tf.Tensor


@for_any_batch_size
def _ascend(
    classifier: AttackedClassifier,
    loss_fn: LossFn,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    guides: tf.Tensor,
    state: _State,
    step_sizes: tf.Tensor,
    weights: tf.Tensor,
    judge_end: tf.Tensor,
) -> _State:
    def goes_on(taken: tf.Tensor, state: _State) -> tf.Tensor:
        return (taken < tf.shape(step_sizes)[0]) & ~tf.reduce_all(state.success)

    def step(taken: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
        wrong, _, gradient = classifier.loss_and_gradient(
            state.iterate, labels, lambda logits: loss_fn(logits, labels, guides, weights[taken])
        )
        success = state.success | wrong
        length = step_sizes[taken] * threat_model.epsilon
        moved = state.iterate + threat_model.steepest_step(gradient, length)
        stays = success[:, None, None, None]
        iterate = tf.where(stays, state.iterate, threat_model.project(moved, images))
        return taken + 1, _State(iterate, success)

    def judged(state: _State) -> _State:
        wrong, _ = classifier.judge(
            state.iterate, labels, lambda logits: true_class_lead(labels, logits)
        )
        return state._replace(success=state.success | wrong)

    _, end = tf.while_loop(goes_on, step, [tf.constant(0), state])
    return tf.cond(judge_end & ~tf.reduce_all(end.success), lambda: judged(end), lambda: end)
