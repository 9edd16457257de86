"""Learning rates by epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

Schedule = Callable[[int], float]


class ReportedRates(keras.callbacks.Callback):
    """Adds the learning rates that it has set last to an epoch's figures."""

    def __init__(self, schedules: Mapping[str, Callable[[int], float]]):
        """Takes the rates: by network, a function of the epoch or the step, counted from 0."""
        super().__init__()
        self._schedules = dict(schedules)

    def set_rates(self, moment: int) -> None:
        """Sets the rates of this epoch or step."""
        for network, schedule in self._schedules.items():
            self.model.optimizers_by_network[network].learning_rate = schedule(moment)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Adds the rates to the epoch's figures."""
        del epoch
        for network in self._schedules:
            optimizer = self.model.optimizers_by_network[network]
            logs[f"learning_rate_{network}"] = float(optimizer.learning_rate.numpy())


class LearningRates(ReportedRates):
    """Sets the learning rate of every network's optimizer at the start of each epoch.

    A rate is a pure function of the epoch, so that a resumed training has it. Keras' own
    schedules count an optimizer's updates instead: those of a generator that is updated several
    times a step, and of a loss scaling that leaves steps out, would drop at other epochs. Keras'
    `LearningRateScheduler` knows one optimizer only.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the rates of this epoch."""
        del logs
        self.set_rates(epoch)


def steps(initial: float, epochs: Sequence[int], factor: float) -> Schedule:
    """Multiplies a rate by `factor` at each of these epochs, counted from 0.

    Source: the step schedules of the reference codes (Madry, Feature-Scatter, L2L-DA).
    """

    def rate(epoch: int) -> float:
        return initial * factor ** sum(epoch >= drop for drop in epochs)

    return rate


def constant(initial: float) -> Schedule:
    """The same rate at every epoch."""
    return steps(initial, (), 1.0)
