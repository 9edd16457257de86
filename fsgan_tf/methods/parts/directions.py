"""Which way a figure is better, for the callbacks of Keras that watch one."""

from collections.abc import Iterable

import keras
from keras.src.trainers.compile_utils import MetricsList


class Directions(MetricsList):
    """Figures of which Keras shall know that a higher accuracy is better.

    `EarlyStopping`, `ModelCheckpoint` and `ReduceLROnPlateau` look for the direction of what they
    monitor in a list of this class, in an attribute that Keras' own accuracies have.
    """

    def __init__(self, figures: Iterable[keras.metrics.Metric]):
        """Takes the figures that a method reports."""
        super().__init__(list(figures))
        for figure in self.metrics:
            if "accuracy" in figure.name:
                figure._direction = "up"

    def result(self) -> dict:
        """Nothing: the steps return the figures."""
        return {}
