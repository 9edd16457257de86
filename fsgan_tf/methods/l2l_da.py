"""L2L-DA: learning to diversify adversarial perturbations (Jang et al., ICCV 2019).

Source: YunseokJANG/l2l-da at 07c64bc, `adv_defence/trainer.py` (`Trainer.train`), as its readme.md
trains on CIFAR-10 (`g_method=3`, `g_mini_update_style=2`, `f_update_style=1`). A UNet generator
G(x, gradient, delta; label, z) makes the perturbation in 10 recursive steps of at most epsilon/4:

    delta_0 = 0, delta_t = clip(delta_{t-1} + step_size G(x, g_{t-1}, delta_{t-1}; y, z), +-epsilon)
    x_t = clip(x + delta_t, 0, 1), g_t = the cross-entropy's gradient there, unit l2 norm a channel

for two latents an image, held over the steps. G ascends sum_t (cross-entropy at x_t + lambda D_t),
D_t the diversity of the two images, through the accumulated delta but not through g, against a
classifier in inference mode; then the classifier descends the mean cross-entropy of the clean
images and both last iterates of before G's update, one batch of three parts, in training mode.
Either gradient is clipped to norm 1. The source starts from a classifier trained on clean images:
`--init_from`.

The gradient of sum_t cross-entropy by G's weights is that of sum_t <g'_t, x_t>, with g'_t, the
gradient before normalisation, held constant: the classifier runs forward and backward once a step
for both uses, and none of its activations are kept over the recursion.

Deviations: the Wide ResNet with its own normalisation inside instead of ResNet-20; epsilon 8/255,
not 0.031372549 (the same to 9 digits); learning rates drop at epochs, not at half of all steps;
no early stopping on test performance; several replicas each take means over their own examples.
Their loader keeps a smaller last batch, as `--last_batch=keep` does.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, LearntAdversary
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.batches import twice
from fsgan_tf.methods.parts.gradient_normalization import unit_channel_l2
from fsgan_tf.methods.parts.input_gradient import input_gradient
from fsgan_tf.methods.parts.last_iterate import last_iterate
from fsgan_tf.methods.parts.losses import accuracy, diversity, smoothed_cross_entropy
from fsgan_tf.networks.generators.unet import unet

BASELINE = True
TRAINS_ON = "clean images and two of a recursive, diverse generator (ICCV 2019)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.WeightPerturbationSettings, shared.GeneratorSettings):
    """The readme's CIFAR-10 command and adv_defence/config.py."""

    attack_iterations: int = shared.attack_iterations(10)
    attack_step_size: float = shared.attack_step_size(0.25)
    latent_dim: int = shared.latent_dim(8)
    diversity_weight: float = shared.diversity_weight(0.5)
    classifier_learning_rate: float = 0.01
    weight_decay: float = 1e-5
    gradient_clip_norm: float = 1.0
    generator_learning_rate: float = 0.01
    generator_lr_decay: bool = False


class Recursion(NamedTuple):
    """Where a recursion is; images are those of z_1, then those of z_2.

    Attributes:
      perturbations: delta_t, float32 `[2b, h, w, c]`, pixel units.
      adversarial_images: x_t, float32 `[2b, h, w, c]`.
      gradients: of the mean cross-entropy at x_t, float32 `[2b, h, w, c]`, constant.
      cross_entropy: that mean, in nats; scalar.
      diversity: D_t, in pixel units; scalar.
      objective: what the generator ascends by its gradient (not its value); scalar.
    """

    perturbations: tf.Tensor
    adversarial_images: tf.Tensor
    gradients: tf.Tensor
    cross_entropy: tf.Tensor
    diversity: tf.Tensor
    objective: tf.Tensor


class L2LDA(LearntAdversary):
    """Alternates one generator ascent over the whole recursion and one classifier descent."""

    settings: Settings
    reports = (
        "loss",
        "clean_cross_entropy",
        "adversarial_cross_entropy",
        "accuracy_on_adversarial",
        "generator_cross_entropy",
        "diversity",
        "perturbation_size",
    )

    def build_generator(self, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
        """A UNet that sees an image, its gradient, the perturbation so far, label and latents."""
        return unet(
            image_shape=image_shape,
            feature_channels=3 * image_shape[-1],
            latent_dim=self.settings.latent_dim,
            width=self.settings.generator_width,
            num_classes=num_classes,
            residual=False,
            dtype=self.dtype_policy_name,
        )

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """The clean gradient, one at both images of each step, and the descent on three parts."""
        return {
            "classifier": 2 + self.settings.attack_iterations * 2 * 2 + 3 * 3 * self.descents,
            # Two latents an image, forward and backward.
            "generator": self.settings.attack_iterations * 2 * 3,
        }

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """The generator's ascent, then the classifier's descent on images from before it."""
        images, labels = data["image"], data["label"]
        (latent_seed,) = self.step_seeds(1)
        with tf.GradientTape() as tape:
            reached = self.recurse(images, labels, latent_seed, training=True)
            loss = -reached.objective
        self.update(tape, loss, self.generator_optimizer, self.generator)
        return self.track(
            **self.train_classifier(images, reached.adversarial_images, labels),
            generator_cross_entropy=reached.cross_entropy,
            diversity=reached.diversity,
            perturbation_size=self.relative_size(reached.adversarial_images - twice(images)),
        )

    def train_classifier(
        self, images: tf.Tensor, adversarial_images: tf.Tensor, labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Descends the mean cross-entropy of b clean and 2b adversarial images, constants."""
        inputs = tf.concat([images, adversarial_images], axis=0)
        labels, clean = tf.tile(labels, [3]), tf.shape(images)[0]

        def objective() -> dict[str, tf.Tensor]:
            logits = self.classifier(inputs, training=True)
            cross_entropy = smoothed_cross_entropy(labels, logits)
            return {
                "loss": tf.reduce_mean(cross_entropy),
                "clean_cross_entropy": tf.reduce_mean(cross_entropy[:clean]),
                "adversarial_cross_entropy": tf.reduce_mean(cross_entropy[clean:]),
                "accuracy_on_adversarial": accuracy(labels[clean:], logits[clean:]),
            }

        return self.descend(objective)

    def recurse(
        self, images: tf.Tensor, labels: tf.Tensor, latent_seed: tf.Tensor, training: bool
    ) -> Recursion:
        """The generator's steps, from two latents an image.

        Args:
          images: clean, float32 `[b, h, w, c]` in [0, 1].
          labels: int32 `[b]`.
          latent_seed: int32 `[2]`.
          training: whether the generator normalises by its batch and keeps its statistics.

        Returns:
          The last step's state.
        """
        start = tf.zeros_like(images)
        gradients, cross_entropy = self.loss_gradient(images, labels)
        images, labels = twice(images), twice(labels)
        latents = stateless_random.normal(
            [tf.shape(images)[0], self.settings.latent_dim], latent_seed
        )
        zero = tf.constant(0.0)
        return last_iterate(
            lambda state: self.advance(state, images, labels, latents, training),
            Recursion(twice(start), images, twice(gradients), cross_entropy, zero, zero),
            self.settings.attack_iterations,
        )

    def advance(
        self,
        state: Recursion,
        images: tf.Tensor,
        labels: tf.Tensor,
        latents: tf.Tensor,
        training: bool,
    ) -> Recursion:
        """One step; its arguments are doubled: `[2b, ...]`."""
        features = [images, unit_channel_l2(state.gradients), state.perturbations]
        step_size = self.settings.attack_step_size * self.threat_model.epsilon
        step = step_size * self.generator(
            [tf.concat(features, axis=-1), latents, labels], training=training
        )
        epsilon = self.threat_model.epsilon
        perturbations = tf.clip_by_value(state.perturbations + step, -epsilon, epsilon)
        adversarial_images = self.threat_model.clip(images + perturbations)
        gradients, cross_entropy = self.loss_gradient(tf.stop_gradient(adversarial_images), labels)
        ratio = tf.reduce_mean(diversity(*tf.split(adversarial_images, 2), *tf.split(latents, 2)))
        # Has the gradient of the cross-entropy plus lambda D_t (see the module).
        ascended = (
            tf.reduce_sum(gradients * adversarial_images) + self.settings.diversity_weight * ratio
        )
        return Recursion(
            perturbations=perturbations,
            adversarial_images=adversarial_images,
            gradients=gradients,
            cross_entropy=cross_entropy,
            diversity=ratio,
            objective=state.objective + ascended,
        )

    def loss_gradient(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Gradient of the mean cross-entropy by the images, and that mean.

        Args:
          images: float32 `[n, h, w, c]`.
          labels: int32 `[n]`.

        Returns:
          float32 `[n, h, w, c]` and a scalar, constants, of the classifier in inference mode.
        """
        logits, gradients = input_gradient(self.classifier, images, labels, training=False)
        cross_entropy = tf.reduce_mean(smoothed_cross_entropy(labels, logits))
        count = tf.cast(tf.shape(images)[0], tf.float32)
        return gradients / count, tf.stop_gradient(cross_entropy)

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The last iterate from z_1, in inference mode; the generator is given the labels."""
        reached = self.recurse(images, labels, seed, training=False)
        return tf.split(reached.adversarial_images, 2)[0]

    def diagnose(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """The generator beside one sign step of length epsilon from the clean images."""
        reached = self.recurse(images, labels, seed, training=False)
        gradients, _ = self.loss_gradient(images, labels)
        sign_images = self.threat_model.clip(
            images + self.threat_model.epsilon * tf.sign(gradients)
        )
        _, sign_cross_entropy = self.loss_gradient(sign_images, labels)
        return {
            "validation_generator_cross_entropy": reached.cross_entropy,
            "validation_sign_step_cross_entropy": sign_cross_entropy,
            "validation_diversity": reached.diversity,
            "validation_perturbation_size": self.relative_size(
                reached.adversarial_images - twice(images)
            ),
        }


METHOD = L2LDA
