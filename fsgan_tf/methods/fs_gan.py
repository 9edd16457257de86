"""FS-GAN: feature scattering by a generator.

Source: "Introducing Diversity In Feature Scatter Adversarial Training Via Synthesis", Algorithm 1.
A UNet generator G(z, delta, x', gradient) ascends the optimal-transport distance between the
logits of a clean and a perturbed batch, plus a diversity loss over two latent vectors; the
classifier descends smoothed cross-entropy, plus that distance, on the perturbed batch.

No code of the authors is public. What the listing leaves open, and how it is read here (flags in
brackets; docs/ablation.md has what each choice costs):

1. The generator ascends L_ot + lambda L_ms, with L_ms the ratio of eq. 5 itself, per example, as
   L2L-DA has it; MSGAN minimises its inverse.
2. [generator_update] The perturbation is G's output ("replace", the listing) or the start noise
   plus it, clipped ("accumulate", the prose and every ancestor's code).
3. x' is clipped to the ball, then to [0, 1], after the noise and after G.
4. L_ot is taken on logits (section IV-B and Feature-Scatter's code), not on probabilities (eq. 4).
5. [classifier_latents] z_1 makes the perturbation that both losses see; z_2 serves L_ms alone,
   from the same inputs. With 2 the classifier trains on the images of both, as L2L-DA's does.
6. The classifier trains on the images made before the generator's update, held constant.
7. Batch statistics: the classifier's are frozen while it is attacked; its clean and perturbed
   batches pass separately when it trains. The generator normalises by its batch throughout.
8. [classifier_ot_weight, classifier_ot_branch] L_ot in the classifier's loss, with gradient
   through both branches or the perturbed one.
9. [gradient_normalization] G sees the gradient, detached, scaled to a size it can use.
10. [diversity_scale] L_ms is measured on perturbations in pixel units, or over epsilon.
11. G sees no labels. At t > 1 the generator is updated at every iteration.

Deviations, without which the generator stays near its start and nothing robust comes out:
[generator_inputs] delta and x' reach it at unit scale, and [generator_gradient_skip] the
gradient's sign is added, weighted, before its tanh, so that it starts as Feature-Scatter's step
and learns from there. `--generator_gradient_skip=0 --generator_inputs=literal
--gradient_normalization=channel_l2 --classifier_ot_weight=1` is the listing to the letter.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, LearntAdversary, accuracy
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.gradient_normalization import NORMALIZATIONS
from fsgan_tf.methods.parts.losses import diversity, smoothed_cross_entropy
from fsgan_tf.methods.parts.optimal_transport import scatter_gradient, transport_cost
from fsgan_tf.networks.generators.unet import unet
from fsgan_tf.settings import setting

TRAINS_ON = "images of a generator that scatters the batch's logits"

# Pixels of natural images have a standard deviation of about a quarter.
_PIXEL_MEAN, _PIXEL_DEVIATION = 0.5, 0.25


class Generated(NamedTuple):
    """What one generator pass over two latents an image made.

    Attributes:
      perturbations: `[b, h, w, c]` from z_1, pixel units.
      adversarial_images: feasible, `[b, h, w, c]`, from z_1.
      second_images: feasible, `[b, h, w, c]`, from z_2.
      diversity: mean diversity ratio, scalar.
    """

    perturbations: tf.Tensor
    adversarial_images: tf.Tensor
    second_images: tf.Tensor
    diversity: tf.Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.TransportSettings, shared.GeneratorSettings):
    """The paper's, and its open points (docs/ablation.md says how the defaults were chosen)."""

    label_smoothing: float = shared.label_smoothing(0.5)
    diversity_weight: float = shared.diversity_weight(0.05)
    latent_dim: int = shared.latent_dim(10)
    attack_iterations: int = shared.attack_iterations(1)
    generator_update: str = setting(
        "replace",
        "The perturbation is the generator's output, or that added to the start noise.",
        choices=("replace", "accumulate"),
    )
    generator_gradient_skip: float = setting(
        2.0,
        "Weight of the gradient's sign added before the generator's tanh; 0 for none.",
        lower=0,
    )
    generator_inputs: str = setting(
        "unit",
        "Perturbation and image scaled to unit size for the generator, or in pixel units.",
        choices=("unit", "literal"),
    )
    gradient_normalization: str = setting(
        "rms",
        "Of the gradient given to the generator: unit RMS a sample, unit l2 norm a sample and "
        "channel (L2L-DA), or the batch's largest entry 1 (L2L).",
        choices=("rms", "channel_l2", "batch_max"),
    )
    classifier_latents: int = setting(
        1,
        "The classifier trains on the images of the first latent (1), or of both (2).",
        lower=1,
        upper=2,
    )
    classifier_ot_weight: float = setting(
        1.0, "Weight of the optimal-transport loss in the classifier's loss.", lower=0
    )
    classifier_ot_branch: str = setting(
        "both",
        "Whether that loss also pulls the clean logits.",
        choices=("both", "adversarial"),
    )
    diversity_scale: str = setting(
        "pixel",
        "Diversity is measured on the perturbation in pixel units, or over epsilon.",
        choices=("pixel", "epsilon"),
    )


class FSGAN(LearntAdversary):
    """Alternates generator ascent and classifier descent, once each a batch (t = 1)."""

    settings: Settings
    reports = (
        "loss",
        "cross_entropy",
        "classifier_ot",
        "generator_ot",
        "start_ot",
        "diversity",
        "perturbation_size",
        "accuracy_on_adversarial",
    )

    @classmethod
    def when_not_robust(cls, settings: Settings) -> str | None:
        """A heavy L_ot, by which the classifier flattens the distance that its generator climbs."""
        if settings.classifier_ot_weight < 0.5:
            return None
        return (
            f"--classifier_ot_weight=0.1: at {settings.classifier_ot_weight:g} the classifier can "
            "flatten the distance that its generator climbs instead of learning to withstand it"
        )

    def build_generator(self, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
        """A UNet that sees the perturbation, the image, the gradient and a latent vector."""
        del num_classes
        return unet(
            image_shape=image_shape,
            feature_channels=3 * image_shape[-1],
            latent_dim=self.settings.latent_dim,
            width=self.settings.generator_width,
            dtype=self.dtype_policy_name,
        )

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """An iteration: gradient by x', and the generator's loss through the frozen classifier."""
        clean, iteration, descent = 1, 2 + 2, 3 * self.settings.classifier_latents
        if self.settings.classifier_ot_weight:
            descent += 1 if self.settings.classifier_ot_branch == "adversarial" else 3
        return {
            "classifier": clean + self.settings.attack_iterations * iteration + descent,
            # Two latents an image, forward and backward.
            "generator": self.settings.attack_iterations * 2 * 3,
        }

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Algorithm 1, for one batch."""
        images, labels = data["image"], data["label"]
        noise_seed, *latent_seeds = self.step_seeds(1 + self.settings.attack_iterations)
        clean_logits = self.classifier(images, training=False)
        perturbations = self.threat_model.random_perturbation(tf.shape(images), noise_seed)
        adversarial_images = self.threat_model.project(images + perturbations, images)
        for latent_seed in latent_seeds:
            gradients, start_ot = self.scatter_gradient(clean_logits, adversarial_images)
            with tf.GradientTape() as tape:
                made = self.generate(
                    images, perturbations, adversarial_images, gradients, latent_seed, training=True
                )
                adversarial_logits = self.classifier(made.adversarial_images, training=False)
                generator_ot = self.transport_cost(clean_logits, adversarial_logits)
                generator_loss = -(generator_ot + self.settings.diversity_weight * made.diversity)
            self.update(tape, generator_loss, self.generator_optimizer, self.generator)
            perturbations = tf.stop_gradient(made.perturbations)
            adversarial_images = tf.stop_gradient(made.adversarial_images)
        trained_images = [adversarial_images, tf.stop_gradient(made.second_images)]
        return self.track(
            **self.train_classifier(
                images, trained_images[: self.settings.classifier_latents], labels
            ),
            generator_ot=generator_ot,
            start_ot=start_ot,
            diversity=made.diversity,
            perturbation_size=self.relative_size(perturbations),
        )

    def train_classifier(
        self, images: tf.Tensor, adversarial_images: list[tf.Tensor], labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Descends smoothed cross-entropy + L_ot on constant images; returns the loss's parts.

        `adversarial_images` has one `[b, h, w, c]` batch a latent, all of them in one pass.
        """
        classifier_ot = tf.constant(0.0)
        labels = tf.tile(labels, [len(adversarial_images)])
        with tf.GradientTape() as tape:
            logits = self.classifier(tf.concat(adversarial_images, axis=0), training=True)
            cross_entropy = tf.reduce_mean(
                smoothed_cross_entropy(labels, logits, self.settings.label_smoothing)
            )
            if self.settings.classifier_ot_weight:
                clean_logits = self.classifier(images, training=True)
                if self.settings.classifier_ot_branch == "adversarial":
                    clean_logits = tf.stop_gradient(clean_logits)
                classifier_ot = tf.reduce_mean(
                    [
                        self.transport_cost(clean_logits, of_latent)
                        for of_latent in tf.split(logits, len(adversarial_images))
                    ]
                )
            loss = cross_entropy + self.settings.classifier_ot_weight * classifier_ot
        self.update(tape, loss, self.classifier_optimizer, self.classifier)
        return {
            "loss": loss,
            "cross_entropy": cross_entropy,
            "classifier_ot": classifier_ot,
            "accuracy_on_adversarial": accuracy(labels, logits),
        }

    def scatter_gradient(
        self, clean_logits: tf.Tensor, adversarial_images: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Gradient of L_ot by the perturbed images, `[b, h, w, c]`, and L_ot itself."""
        return scatter_gradient(
            self.classifier,
            clean_logits,
            adversarial_images,
            self.settings.entropic_regularization,
            self.settings.sinkhorn_solver,
        )

    def generate(
        self,
        images: tf.Tensor,
        perturbations: tf.Tensor,
        adversarial_images: tf.Tensor,
        gradients: tf.Tensor,
        latent_seed: tf.Tensor,
        training: bool,
    ) -> Generated:
        """One generator pass over two latents an image.

        Args:
          images: clean, float32 `[b, h, w, c]`.
          perturbations: delta so far, `[b, h, w, c]`, pixel units.
          adversarial_images: x' so far, `[b, h, w, c]`.
          gradients: of L_ot by x', `[b, h, w, c]`.
          latent_seed: int32 `[2]`.
          training: whether the generator normalises by this batch and keeps its statistics.

        Returns:
          The perturbations, their images and their diversity.
        """
        features = self.generator_features(perturbations, adversarial_images, gradients)
        residual = self.settings.generator_gradient_skip * tf.sign(gradients)
        latents = stateless_random.normal(
            [2 * tf.shape(images)[0], self.settings.latent_dim], latent_seed
        )
        output = self.threat_model.epsilon * self.generator(
            [_twice(features), latents, _twice(residual)], training=training
        )
        if self.settings.generator_update == "accumulate":
            epsilon = self.threat_model.epsilon
            output = tf.clip_by_value(_twice(perturbations) + output, -epsilon, epsilon)
        first, second = tf.split(output, 2)
        in_epsilons = self.settings.diversity_scale == "epsilon"
        unit = self.threat_model.epsilon if in_epsilons else 1.0
        ratio = diversity(first / unit, second / unit, *tf.split(latents, 2))
        return Generated(
            first,
            self.threat_model.project(images + first, images),
            self.threat_model.project(images + second, images),
            tf.reduce_mean(ratio),
        )

    def generator_features(
        self, perturbations: tf.Tensor, adversarial_images: tf.Tensor, gradients: tf.Tensor
    ) -> tf.Tensor:
        """G's input images delta, x' and gradient, stacked: `[b, h, w, 3c]`."""
        if self.settings.generator_inputs == "unit":
            perturbations = perturbations / self.threat_model.epsilon
            adversarial_images = (adversarial_images - _PIXEL_MEAN) / _PIXEL_DEVIATION
        gradients = NORMALIZATIONS[self.settings.gradient_normalization](gradients)
        return tf.concat([perturbations, adversarial_images, gradients], axis=-1)

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The generator's images, in inference mode; labels are not used."""
        del labels
        return self._adversaries(images, seed)["generator_images"]

    def diagnose(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """The generator beside Feature-Scatter's sign step, from one start on one batch."""
        del labels
        seen = self._adversaries(images, seed)
        sign_ot = self.transport_cost(
            seen["clean_logits"], self.classifier(seen["sign_images"], training=False)
        )
        generator_ot = self.transport_cost(
            seen["clean_logits"], self.classifier(seen["generator_images"], training=False)
        )
        return {
            "validation_generator_ot": generator_ot,
            "validation_sign_step_ot": sign_ot,
            "validation_diversity": seen["ratio"],
            "validation_perturbation_size": self.relative_size(seen["generator_images"] - images),
        }

    def _adversaries(self, images: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        noise_seed, *latent_seeds = stateless_random.split(
            seed, 1 + self.settings.attack_iterations
        )
        clean_logits = self.classifier(images, training=False)
        noise = self.threat_model.random_perturbation(tf.shape(images), noise_seed)
        perturbations, current = noise, self.threat_model.project(images + noise, images)
        sign_images = None
        for latent_seed in latent_seeds:
            gradients, _ = self.scatter_gradient(clean_logits, current)
            if sign_images is None:
                step = self.threat_model.epsilon * tf.sign(gradients)
                sign_images = self.threat_model.project(current + step, images)
            made = self.generate(
                images, perturbations, current, gradients, latent_seed, training=False
            )
            perturbations, current = made.perturbations, made.adversarial_images
        return {
            "clean_logits": clean_logits,
            "generator_images": current,
            "sign_images": sign_images,
            "ratio": made.diversity,
        }

    def transport_cost(self, clean_logits: tf.Tensor, adversarial_logits: tf.Tensor) -> tf.Tensor:
        """L_ot of two `[b, K]` batches of logits; scalar."""
        return transport_cost(
            clean_logits,
            adversarial_logits,
            self.settings.entropic_regularization,
            self.settings.sinkhorn_solver,
        )


def _twice(x: tf.Tensor) -> tf.Tensor:
    return tf.concat([x, x], axis=0)


METHOD = FSGAN
