"""Learning rates by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from fsgan_tf.training.callbacks.learning_rates import ReportedRates

StepSchedule = Callable[[int], float]


class StepLearningRates(ReportedRates):
    """Sets the learning rate of every network's optimizer before each step.

    A rate is a pure function of the step, so that a training that goes on has it; see
    `LearningRates` for why the optimizers' own counts are no measure of it.
    """

    def __init__(self, schedules: Mapping[str, StepSchedule], done_steps: int = 0):
        """Takes the rates.

        Args:
          schedules: by network, a function of the step, counted from 0.
          done_steps: steps of the training before this `fit`.
        """
        super().__init__(schedules)
        self._step = done_steps

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the rates of this step."""
        del batch, logs
        self.set_rates(self._step)
        self._step += 1


def one_cycle(largest: float, total_steps: int) -> StepSchedule:
    """From 0 straight up to `largest` at half of all steps, and straight down to 0.

    Source: locuslab/fast_adversarial, torch.optim.lr_scheduler.CyclicLR with base_lr 0 and
    step_size_up and step_size_down of half of all steps.
    """

    def rate(step: int) -> float:
        return largest * max(0.0, 1 - abs(2 * step / total_steps - 1))

    return rate


def cosine(largest: float, total_steps: int) -> StepSchedule:
    """From `largest` to 0 along half a cosine: (1 + cos(pi step / total)) / 2.

    Source: torch.optim.lr_scheduler.CosineAnnealingLR, stepped after every step.
    """

    def rate(step: int) -> float:
        return largest * (1 + math.cos(math.pi * min(step / total_steps, 1))) / 2

    return rate


def constant_rate(rate: float) -> StepSchedule:
    """The same rate at every step."""
    return lambda step: rate
