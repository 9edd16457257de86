"""The step sizes of APGD: halved at a checkpoint where they have not served since the one before.

Source: Croce and Hein 2020 (arXiv:2003.01690), section 4.1; for what differs see `auto_pgd`.
"""

from typing import NamedTuple

import tensorflow as tf

_RHO = 0.75


class Intervals(NamedTuple):
    """Steps between checkpoints: each interval is `decrement` shorter than the one before.

    Attributes:
      first: of the start to the first checkpoint.
      decrement: of an interval to the next.
      least: no interval is shorter.
    """

    first: int | tf.Tensor
    decrement: int | tf.Tensor
    least: int | tf.Tensor


def intervals(num_steps: int) -> Intervals:
    """0.22, 0.03 and 0.06 of `num_steps` (section 4.1), rounded down, at least 1.

    Args:
      num_steps: of the whole climb.

    Returns:
      The intervals, in steps.
    """
    first, decrement, least = (max(int(share * num_steps), 1) for share in (0.22, 0.03, 0.06))
    return Intervals(first, decrement, least)


class Pace(NamedTuple):
    """The step sizes and what is known since the last checkpoint.

    Attributes:
      step_size: float32 `[b]`, in the norm's unit.
      rises: int32 `[b]`, steps that raised the loss.
      best_loss: float32 `[b]`, the highest loss at the last checkpoint.
      halved: bool `[b]`, whether the step size was halved there.
      steps: int32, steps taken.
      interval: int32, steps at which the next checkpoint is due.
    """

    step_size: tf.Tensor
    rises: tf.Tensor
    best_loss: tf.Tensor
    halved: tf.Tensor
    steps: tf.Tensor
    interval: tf.Tensor


def paced(
    pace: Pace, rose: tf.Tensor, best_loss: tf.Tensor, intervals: Intervals
) -> tuple[Pace, tf.Tensor]:
    """Counts a step and, at a checkpoint, halves the step sizes that have not served.

    Args:
      pace: before the step.
      rose: bool `[b]`, whether the step raised the loss.
      best_loss: float32 `[b]`, the highest loss so far.
      intervals: between checkpoints.

    Returns:
      The pace after the step and which examples' step sizes were halved, bool `[b]`.
    """
    rises = pace.rises + tf.cast(rose, tf.int32)
    steps = pace.steps + 1
    due = steps == pace.interval
    oscillates = tf.cast(rises, tf.float32) <= _RHO * tf.cast(pace.interval, tf.float32)
    stagnates = ~pace.halved & (best_loss <= pace.best_loss)
    halve = due & (oscillates | stagnates)
    shorter = tf.maximum(pace.interval - intervals.decrement, intervals.least)
    return Pace(
        step_size=tf.where(halve, pace.step_size / 2, pace.step_size),
        rises=tf.where(due, 0, rises),
        best_loss=tf.where(due, best_loss, pace.best_loss),
        halved=tf.where(due, halve, pace.halved),
        steps=tf.where(due, 0, steps),
        interval=tf.where(due, shorter, pace.interval),
    ), halve
