"""Learning to Defend by Learning to Attack (Jiang et al., AISTATS 2021).

Source: YuyangShi/Learning-to-Defend-by-Learning-to-Attack at 42c8798, `adv_loss.py`
(`adv_loss_l2l_1`, `adv_loss_l2l_2`), `train_l2l_1_cifar10.py` and `train_l2l_2_cifar10.py`, the
gradient variants of one and two steps (`--attack_iterations`). An attacker network sees an image
and the classifier's gradient there, from the clean image on (no random start), and answers with a
perturbation. A batch first moves the classifier down the cross-entropy of the attacked images,
then the attacker up the same loss of the updated classifier, everything recomputed. Whichever of
the two learns is in training mode, the other in inference mode; the gradient that the attacker
sees is taken in the classifier's mode, so that a descent's batch statistics see the clean batch,
then the attacked ones. The gradient is divided by the largest absolute entry of the whole batch
and held constant.

The second step takes its gradient at x', gives the attacker x' and that gradient, and adds the
answer to the first one; the sum is clipped to the ball, then the images to the pixel range. The
attacker learns through x' as the input of its second pass, not through the second gradient.

Deviations: the configurations' epsilon is 8/255, theirs 0.031; the classifier is this project's
(normalisation inside, WRN-28-10), theirs a WRN-34-10 on plain pixels; the last weights are kept,
not those of the best PGD-10 test accuracy; a gradient that is zero all over the batch stays zero,
theirs would become NaN; "whole batch" is one replica's. Their loader keeps a smaller last batch, as
`--last_batch=keep` does.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from fsgan_tf.methods.base import Batch, LearntAdversary
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.gradient_normalization import unit_batch_max
from fsgan_tf.methods.parts.input_gradient import input_gradient
from fsgan_tf.methods.parts.losses import smoothed_cross_entropy
from fsgan_tf.networks.generators.wide_attacker import wide_attacker

BASELINE = True
TRAINS_ON = "images of a network that sees the loss's gradient (arXiv:1811.01213)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.WeightPerturbationSettings, shared.GeneratorSettings):
    """train_l2l_1_cifar10.py's; 2 iterations are train_l2l_2_cifar10.py's."""

    attack_iterations: int = shared.attack_iterations(1, upper=2)
    generator_optimizer: str = "adam"
    generator_learning_rate: float = 1e-3
    generator_weight_decay: float = 2e-4
    generator_lr_decay: bool = False


class L2L(LearntAdversary):
    """Alternates classifier descent and attacker ascent of one loss, once each a batch."""

    settings: Settings
    reports = ("loss", "attacker_cross_entropy", "accuracy_on_adversarial", "perturbation_size")

    def build_generator(self, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
        """The attacker: an image and its gradient to a perturbation."""
        del num_classes
        return wide_attacker(
            image_shape=image_shape,
            feature_channels=2 * image_shape[-1],
            width=self.settings.generator_width,
            dtype=self.dtype_policy_name,
        )

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """Both halves attack; the descent follows one, the loss's gradient by x' the other."""
        attack = 2 * self.settings.attack_iterations
        return {
            "classifier": (attack + 3 * self.descents) + (attack + 2),
            # Inference in the classifier's half, forward and backward in its own.
            "generator": self.settings.attack_iterations * (1 + 3),
        }

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """The classifier's half, then the attacker's."""
        images, labels = data["image"], data["label"]
        return self.track(
            **self.train_classifier(images, labels), **self.train_attacker(images, labels)
        )

    def train_classifier(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Descends the cross-entropy of images attacked in inference mode; returns scalars."""
        adversarial_images = self.attack(
            images, labels, classifier_training=True, attacker_training=False
        )
        return self.descend_on(adversarial_images, labels)

    def train_attacker(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Ascends the same loss of the classifier in inference mode; returns scalars."""
        with tf.GradientTape() as tape:
            adversarial_images = self.attack(
                images, labels, classifier_training=False, attacker_training=True
            )
            cross_entropy = self.cross_entropy(adversarial_images, labels)
            loss = -cross_entropy
        self.update(tape, loss, self.generator_optimizer, self.generator)
        return {
            "attacker_cross_entropy": cross_entropy,
            "perturbation_size": self.relative_size(adversarial_images - images),
        }

    def attack(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        *,
        classifier_training: bool,
        attacker_training: bool,
    ) -> tf.Tensor:
        """One or two attacker passes from the clean images.

        Args:
          images: float32 `[b, h, w, c]` in [0, 1].
          labels: int32 `[b]`.
          classifier_training: the classifier's mode in the gradient passes.
          attacker_training: the attacker's mode.

        Returns:
          float32 `[b, h, w, c]` within the threat model, differentiable by the attacker's weights.
        """
        adversarial_images, perturbations = images, tf.zeros_like(images)
        for _ in range(self.settings.attack_iterations):
            _, gradients = input_gradient(
                self.classifier, adversarial_images, labels, training=classifier_training
            )
            features = tf.concat([adversarial_images, unit_batch_max(gradients)], axis=-1)
            outputs = self.generator(features, training=attacker_training)
            perturbations += self.threat_model.epsilon * outputs
            adversarial_images = self.threat_model.project(images + perturbations, images)
        return adversarial_images

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The attacker's images, both networks in inference mode; nothing is drawn."""
        del seed
        return self.attack(images, labels, classifier_training=False, attacker_training=False)

    def diagnose(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """The cross-entropy that the attacker reaches, beside a sign step's (FGSM)."""
        attacked_images = self.perturb(images, labels, seed)
        _, gradients = input_gradient(self.classifier, images, labels, training=False)
        step = self.threat_model.epsilon * tf.sign(gradients)
        sign_step_images = self.threat_model.project(images + step, images)
        return {
            "validation_generator_cross_entropy": self.cross_entropy(attacked_images, labels),
            "validation_sign_step_cross_entropy": self.cross_entropy(sign_step_images, labels),
            "validation_perturbation_size": self.relative_size(attacked_images - images),
        }

    def cross_entropy(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Mean cross-entropy of the classifier in inference mode; scalar, in nats."""
        logits = self.classifier(images, training=False)
        return tf.reduce_mean(smoothed_cross_entropy(labels, logits))


METHOD = L2L
