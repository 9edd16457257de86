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
theirs would become NaN; "whole batch" is one replica's.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from absl import flags

from fsgan_tf.errors import UserError
from fsgan_tf.methods.base import (
    Batch,
    TrainingMethod,
    accuracy,
    build_generator_optimizer,
    hidden_dtype,
)
from fsgan_tf.methods.parts.gradient_normalization import unit_batch_max
from fsgan_tf.methods.parts.losses import smoothed_cross_entropy
from fsgan_tf.networks.generators.wide_attacker import wide_attacker


class L2L(TrainingMethod):
    """Alternates classifier descent and attacker ascent of one loss, once each a batch."""

    reports = ("loss", "attacker_cross_entropy", "accuracy_on_adversarial", "perturbation_size")

    def __init__(
        self,
        *,
        generator: keras.Model,
        generator_optimizer: keras.optimizers.Optimizer,
        attack_iterations: int = 1,
        **common: Any,
    ):
        """Keeps both networks; see the base class for `common`.

        Args:
          generator: the attacker, `wide_attacker`.
          generator_optimizer: built for the attacker's trainable variables.
          attack_iterations: attacker passes an attack, 1 or 2.
          **common: of the base class.
        """
        super().__init__(**common)
        self.add_generator(generator, generator_optimizer)
        self.attack_iterations = attack_iterations

    @classmethod
    def from_flags(cls, values: flags.FlagValues, **common: Any) -> L2L:
        """Builds attacker and optimizer too; see the base class.

        Raises:
          UserError: where `--attack_iterations` is neither 1 nor 2.
        """
        if values.attack_iterations not in (1, 2):
            raise UserError(
                f"--attack_iterations={values.attack_iterations}: l2l attacks in 1 or 2 steps"
            )
        image_shape = common["classifier"].input_shape[1:]
        generator = wide_attacker(
            image_shape=image_shape,
            feature_channels=2 * image_shape[-1],
            width=values.generator_width,
            dtype=hidden_dtype(common["classifier"]),
        )
        return cls(
            generator=generator,
            generator_optimizer=build_generator_optimizer(values, generator, common["classifier"]),
            attack_iterations=values.attack_iterations,
            **common,
        )

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """Both halves attack; the descent follows one, the loss's gradient by x' the other."""
        attack = 2 * self.attack_iterations
        return {
            "classifier": (attack + 3) + (attack + 2),
            # Inference in the classifier's half, forward and backward in its own.
            "generator": self.attack_iterations * (1 + 3),
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
        with tf.GradientTape() as tape:
            logits = self.classifier(adversarial_images, training=True)
            loss = tf.reduce_mean(smoothed_cross_entropy(labels, logits))
        self.update(tape, loss, self.classifier_optimizer, self.classifier)
        return {"loss": loss, "accuracy_on_adversarial": accuracy(labels, logits)}

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
        for _ in range(self.attack_iterations):
            gradients = self.loss_gradient(adversarial_images, labels, classifier_training)
            features = tf.concat([adversarial_images, unit_batch_max(gradients)], axis=-1)
            outputs = self.generator(features, training=attacker_training)
            perturbations += self.threat_model.epsilon * outputs
            adversarial_images = self.threat_model.project(images + perturbations, images)
        return adversarial_images

    def loss_gradient(self, images: tf.Tensor, labels: tf.Tensor, training: bool) -> tf.Tensor:
        """Gradient of the summed cross-entropy by the images, `[b, h, w, c]`, a constant.

        The mean's factor 1/b would cancel in the normalisation, but costs float16 its range.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = self.classifier(images, training=training)
            losses = smoothed_cross_entropy(labels, logits)
        return tf.stop_gradient(tape.gradient(losses, images))

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The attacker's images, both networks in inference mode; nothing is drawn."""
        del seed
        return self.attack(images, labels, classifier_training=False, attacker_training=False)

    def diagnose(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """The cross-entropy that the attacker reaches, beside a sign step's (FGSM)."""
        attacked_images = self.perturb(images, labels, seed)
        step = self.threat_model.epsilon * tf.sign(self.loss_gradient(images, labels, False))
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
