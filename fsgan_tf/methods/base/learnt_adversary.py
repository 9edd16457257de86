"""What the methods share whose adversary is a network that learns."""

from __future__ import annotations

import abc
from typing import Any

import keras
import numpy as np

from fsgan_tf.methods.base.training_method import TrainingMethod
from fsgan_tf.methods.parts.classifier import image_shape_of, num_classes_of
from fsgan_tf.methods.parts.settings import GeneratorSettings
from fsgan_tf.networks.fused_normalization import (
    with_batch_statistics,
    with_fused_normalization,
)


class LearntAdversary(TrainingMethod):
    """A method whose adversary is a network, the generator, that is trained too.

    Attributes:
      generator: normalisation fused, for calling; as it was made in `networks`.
      generator_by_batch: the same; with `training=True` it keeps no statistics of the batch.
      generator_optimizer: built for its trainable variables.
    """

    settings: GeneratorSettings

    def __init__(
        self, classifier: keras.Model, *, generator: keras.Model | None = None, **options: Any
    ):
        """Takes a classifier to train.

        Args:
          classifier: see the base class.
          generator: the adversary's network; made to fit the classifier where it is not given.
          **options: of the base class.
        """
        # In a function, since Keras tracks what an attribute holds: the weights of the generator
        # would come before the classifier's.
        self._given_generator = lambda: generator
        super().__init__(classifier, **options)

    @abc.abstractmethod
    def build_generator(self, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
        """The generator for a classifier of `image_shape` images and `num_classes` classes."""

    def add_networks(self) -> None:
        """Adds the generator."""
        generator = self._given_generator()
        if generator is None:
            classifier = self.networks["classifier"]
            generator = self.build_generator(image_shape_of(classifier), num_classes_of(classifier))
        self.networks["generator"] = generator
        self.generator = with_fused_normalization(generator)
        self.generator_by_batch = with_batch_statistics(generator)
        self._initial_weights = [weight.numpy() for weight in generator.trainable_variables]

    def generator_displacement(self) -> float:
        """How far training moved the generator: |weights - initial weights| / |initial weights|.

        In l2 norms over all trainable weights. The initial ones are those it was built with: of
        the seed, in a training that is resumed too.
        """
        moved, initial = 0.0, 0.0
        weights = self.networks["generator"].trainable_variables
        for weight, at_first in zip(weights, self._initial_weights, strict=True):
            moved += np.sum(np.square(weight.numpy() - at_first, dtype=np.float64))
            initial += np.sum(np.square(at_first, dtype=np.float64))
        return float(np.sqrt(moved / initial))

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Sets the optimizers, `generator_optimizer` among them; see the base class."""
        super().compile(*arguments, **options)
        self.generator_optimizer = self.optimizers_by_network["generator"]

    def fit(self, *arguments: Any, **options: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does.

        At the end Keras puts the averages that an optimizer with `use_ema` keeps in the place of
        the classifier's weights; the generator's take theirs likewise.
        """
        history = super().fit(*arguments, **options)
        weights = self.networks["generator"].trainable_variables
        self.generator_optimizer.finalize_variable_values(weights)
        return history

    def authors_optimizer(self, network: str) -> dict[str, Any]:
        """See the base class."""
        if network != "generator":
            return super().authors_optimizer(network)
        return {
            "kind": self.settings.generator_optimizer,
            "learning_rate": self.settings.generator_learning_rate,
            "momentum": self.settings.momentum,
            "l2": self.settings.generator_weight_decay,
        }
