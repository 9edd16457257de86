"""One step that a generator makes from the loss's gradient, at a single step's cost. Ours.

It joins FS-GAN's generator with what makes cheap training robust: labels in the adversary's
objective, N-FGSM's start noise, and answers held alike before and after the step. It is not FS-GAN
(`fs_gan`), whose generator sees no label. A batch takes two passes of the classifier, both in
training mode:

    x0 = clip(x + 2 epsilon u)          u uniform in [-1, 1]; clip is to the pixel range
    g  = the gradient of the cross-entropy at x0
    x' = clip(x0 + epsilon G(z, g, x0 - x, x))
    loss = CE(x') + lambda |f(x') - f(x0)|^2 / K + w L_ot(f(x0), f(x'))

The classifier descends this loss and the generator G ascends it, from one backward pass: the pass
that trains the classifier tells the gradient of the loss by x' as well. G ascends along it at unit
root mean square an image, so that images that are learnt already teach it as much as others, and
its rate does not depend on the loss's size. lambda rises linearly over the training, as in
`single_step_consistency`.

G is a UNet of which the output is one of the ball's corners (`--generator_output=corner`): the sign
of UNet(...) + g at unit root mean square, whose gradient is taken to be that of the tanh in its
place. At first it is nearly the sign of g; what it learns is where the step should go otherwise.
With `tanh` it makes steps of any size. It normalises by its batch throughout.

`--generator_update=frozen_sign` is the control: the sign of g in G's place, and nothing else. It
takes as many passes of the classifier. A generator that never learns is the second control
(`--generator_learning_rate=1e-12`): docs/ablation.md has what was measured, where the generator did
no better than that one.

What it rests on: start noise and step are N-FGSM's (arXiv:2202.01181), the consistency of the two
passes is FGSM-PGI's (arXiv:2207.08859), the supervised generator that sees a gradient is L2L's
(arXiv:1811.01213), L_ot and the network are those of `fs_gan`; the gradient of a sign by that of
its smooth form is the straight-through estimator (arXiv:1308.3432). With `--awp_gamma` gradient and
step are taken anew at the moved weights.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, LearntAdversary, RampedConsistency
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.gradient_normalization import unit_rms
from fsgan_tf.methods.parts.input_gradient import input_gradient
from fsgan_tf.methods.parts.losses import accuracy, smoothed_cross_entropy, squared_difference
from fsgan_tf.methods.parts.optimal_transport import transport_cost
from fsgan_tf.methods.parts.pixel_scaling import unit_scale
from fsgan_tf.networks.generators.unet import unet
from fsgan_tf.settings import setting
from fsgan_tf.threat_model import ThreatModel

TRAINS_ON = "one step that a generator makes of the loss's gradient (ours)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(
    shared.TransportSettings,
    shared.WeightPerturbationSettings,
    shared.RampedConsistencySettings,
    shared.GeneratorSettings,
):
    """Of the step, the generator, the loss and the optimizers."""

    start_noise: float = shared.start_noise(2.0)
    attack_step_size: float = shared.attack_step_size(1.0)
    ot_weight: float = setting(
        0.0,
        "Weight w of the optimal-transport distance between the probabilities at the start and at "
        "the generator's images, in the loss of both.",
        lower=0,
    )
    latent_dim: int = shared.latent_dim(10)
    generator_update: str = setting(
        "learnt",
        "learnt, or frozen_sign, a control: the gradient's sign stands in the generator's place.",
        choices=("learnt", "frozen_sign"),
    )
    generator_output: str = setting(
        "corner",
        "corner: every pixel moves by the whole step, up or down; tanh: by any part of it.",
        choices=("corner", "tanh"),
    )
    generator_optimizer: str = "adam"
    generator_learning_rate: float = 1e-3
    classifier_learning_rate: float = 0.2
    weight_decay: float = 5e-4


class GeneratedStep(RampedConsistency, LearntAdversary):
    """Descends a loss and lets the generator ascend it, from one backward pass."""

    settings: Settings
    reports = (
        "loss",
        "cross_entropy",
        "consistency",
        "classifier_ot",
        "accuracy_on_adversarial",
        "sign_agreement",
    )

    def build_generator(self, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
        """A UNet that sees the gradient, the start noise, the image and a latent vector."""
        del num_classes
        return unet(
            image_shape=image_shape,
            feature_channels=3 * image_shape[-1],
            latent_dim=self.settings.latent_dim,
            width=self.settings.generator_width,
            latent_use="modulate",
            input_skip=True,
            dtype=self.dtype_policy_name,
        )

    @property
    def frozen(self) -> bool:
        """Whether the gradient's sign stands in the generator's place, as a control."""
        return self.settings.generator_update == "frozen_sign"

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """Through the start and the step; then the generator's passes."""
        return {
            "classifier": self.two_pass_descents,
            "generator": 0 if self.frozen else self.descents + 2,
        }

    @property
    def training_ball(self) -> ThreatModel:
        """Noise and step together, since nothing is projected to the ball."""
        reach = self.settings.start_noise + self.settings.attack_step_size
        return self.widened(reach)

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Makes the images, descends by the classifier and ascends by the generator."""
        images, labels = data["image"], data["label"]
        noise_seed, latent_seed = self.step_seeds(2)
        start = self.start(images, noise_seed)
        tape = tf.GradientTape()

        def objective() -> dict[str, tf.Tensor]:
            nonlocal tape
            start_logits, gradients = input_gradient(self.classifier, start, labels, training=True)
            tape = tf.GradientTape()
            with tape:
                step = self.step(self.generator, images, start, gradients, latent_seed)
                adversarial_images = self.threat_model.clip(start + step)
            logits = self.classifier(adversarial_images, training=True)
            return {
                **self.losses(labels, start_logits, logits),
                "accuracy_on_adversarial": accuracy(labels, logits),
                "sign_agreement": _agreement(step, gradients),
                "adversarial_images": adversarial_images,
            }

        computed = self.descend(objective, None if self.frozen else "adversarial_images")
        adversarial_images = computed.pop("adversarial_images")
        if not self.frozen:
            # In units of epsilon, a mean over pixels and images.
            direction = unit_rms(computed.pop("gradient")) / self.threat_model.epsilon
            with tape:
                loss = -tf.reduce_mean(direction * adversarial_images)
            self.update(tape, loss, self.generator_optimizer, self.generator)
        return self.track(**computed)

    def losses(
        self, labels: tf.Tensor, start_logits: tf.Tensor, logits: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The loss and its parts, scalars.

        Args:
          labels: int32 `[b]`.
          start_logits: `[b, K]`, at the start.
          logits: `[b, K]`, at the generator's images.
        """
        cross_entropy = tf.reduce_mean(smoothed_cross_entropy(labels, logits))
        consistency = squared_difference(logits, start_logits)
        distance = tf.constant(0.0)
        loss = cross_entropy + self.consistency_weight() * consistency
        if self.settings.ot_weight:
            distance = transport_cost(
                start_logits,
                logits,
                self.settings.entropic_regularization,
                self.settings.sinkhorn_solver,
                "probabilities",
            )
            loss += self.settings.ot_weight * distance
        return {
            "loss": loss,
            "cross_entropy": cross_entropy,
            "consistency": consistency,
            "classifier_ot": distance,
        }

    def start(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Noisy images, clipped to the pixel range alone; float32 `[b, h, w, c]`."""
        noise = self.threat_model.random_perturbation(tf.shape(images), seed)
        return self.threat_model.clip(images + self.settings.start_noise * noise)

    def step(
        self,
        generator: keras.Model,
        images: tf.Tensor,
        start: tf.Tensor,
        gradients: tf.Tensor,
        latent_seed: tf.Tensor,
    ) -> tf.Tensor:
        """The step that the generator, or the sign in its place, makes from the start.

        Args:
          generator: `self.generator`, which keeps the batch's statistics, or
            `self.generator_by_batch`, which does not.
          images: clean, float32 `[b, h, w, c]`.
          start: noisy, float32 `[b, h, w, c]`.
          gradients: of the loss at the start, float32 `[b, h, w, c]`, constant.
          latent_seed: int32 `[2]`.

        Returns:
          float32 `[b, h, w, c]`, pixel units.
        """
        length = self.settings.attack_step_size * self.threat_model.epsilon
        if self.frozen:
            return length * tf.sign(gradients)
        gradients = unit_rms(gradients)
        noise = (start - images) / self.threat_model.epsilon
        latents = stateless_random.normal(
            [tf.shape(images)[0], self.settings.latent_dim], latent_seed
        )
        features = tf.concat([gradients, noise, unit_scale(images)], axis=-1)
        output = generator([features, latents, gradients], training=True)
        if self.settings.generator_output == "corner":
            output += tf.stop_gradient(tf.sign(output) - output)
        return length * output

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The images that the classifier would train on; both networks normalise by the batch."""
        start, step, _ = self._attack(images, labels, seed)
        return self.threat_model.clip(start + step)

    def diagnose(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """The cross-entropy that the generator's step reaches, beside the sign's from its start."""
        start, step, gradients = self._attack(images, labels, seed)
        attacked = self.threat_model.clip(start + step)
        length = self.settings.attack_step_size * self.threat_model.epsilon
        signs = self.threat_model.clip(start + length * tf.sign(gradients))
        return {
            "validation_generator_cross_entropy": self._cross_entropy(attacked, labels),
            "validation_sign_step_cross_entropy": self._cross_entropy(signs, labels),
            "validation_sign_agreement": _agreement(step, gradients),
            "validation_perturbation_size": self.relative_size(attacked - images),
        }

    def _attack(
        self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The start, the step from it and the gradient there; nothing is changed."""
        noise_seed, latent_seed = stateless_random.split(seed, 2)
        start = self.start(images, noise_seed)
        _, gradients = input_gradient(self.classifier_by_batch, start, labels, training=True)
        step = self.step(self.generator_by_batch, images, start, gradients, latent_seed)
        return start, step, gradients

    def _cross_entropy(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Mean cross-entropy of the classifier as it trains; scalar, in nats."""
        logits = self.classifier_by_batch(images, training=True)
        return tf.reduce_mean(smoothed_cross_entropy(labels, logits))


def _agreement(step: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Share of the pixels that a step moves as the gradient's sign says; scalar."""
    return tf.reduce_mean(tf.cast(tf.sign(step) == tf.sign(gradients), tf.float32))


METHOD = GeneratedStep
