"""Standard training: plain cross-entropy on clean images. The undefended classifier."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from fsgan_tf.methods.base import Batch, TrainingMethod
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.losses import accuracy, smoothed_cross_entropy

TRAINS_ON = "clean images: undefended"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.WeightPerturbationSettings, shared.MethodSettings):
    """Of standard training: the classifier's optimizer alone."""


class Standard(TrainingMethod):
    """Minimises the mean cross-entropy of clean images."""

    settings: Settings
    reports = ("loss", "accuracy")

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """One forward pass and the gradient by parameters and activations."""
        return {"classifier": 3 * self.descents}

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """One descent step."""
        images, labels = data["image"], data["label"]

        def objective() -> dict[str, tf.Tensor]:
            logits = self.classifier(images, training=True)
            loss = tf.reduce_mean(smoothed_cross_entropy(labels, logits))
            return {"loss": loss, "accuracy": accuracy(labels, logits)}

        return self.track(**self.descend(objective))

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The images themselves."""
        del labels, seed
        return images


METHOD = Standard
