"""FS-GAN: feature scattering by a generator.

Source: "Introducing Diversity In Feature Scatter Adversarial Training Via Synthesis", Algorithm 1.
A UNet generator G(z, delta, x', gradient) ascends the optimal-transport distance between the
answers to a clean and to a perturbed batch, plus a diversity loss over two latent vectors; the
classifier descends smoothed cross-entropy, plus that distance, on the perturbed batch.

No code of the authors is public. What the listing leaves open, and how it is read here (flags in
brackets; docs/ablation.md has what each choice costs):

1. The generator ascends L_ot + lambda L_ms, with L_ms the ratio of eq. 5 itself, per example, as
   L2L-DA has it; MSGAN minimises its inverse.
2. [generator_update] The perturbation is G's output ("replace", the listing) or the start noise
   plus it, clipped ("accumulate", the prose and every ancestor's code). "frozen_sign" is a control:
   the gradient's sign in place of a generator.
3. x' is clipped to the ball, then to [0, 1], after the noise and after G.
4. [ot_on] L_ot is taken on probabilities (eq. 4), or on logits (section IV-B and Feature-Scatter's
   code): the cosine of logits, and no probability, changes with an offset common to all classes,
   by which a classifier can make every distance small.
5. [classifier_latents] z_1 makes the perturbation that both losses see; z_2 serves L_ms alone,
   from the same inputs. With 2 the classifier trains on the images of both, as L2L-DA's does.
6. The classifier trains on the images made before the generator's update, held constant.
7. [adversary_statistics] The clean logits, the gradient and the generator's loss come from the
   classifier as it trains, normalised by the batch; its moving averages stay as they are. In
   inference mode the generator learns a pattern that normalisation by the batch removes. When the
   classifier trains, its clean and perturbed batches pass separately. The generator normalises by
   its batch throughout.
8. [classifier_ot_weight, classifier_ot_branch] L_ot in the classifier's loss, with gradient
   through both branches or the perturbed one.
9. [generator_inputs, gradient_normalization] delta and x' reach G at unit scale, and the gradient,
   detached, scaled to a size that it can use.
10. [diversity_scale] L_ms is measured on perturbations in pixel units, or over epsilon.
11. [generator_architecture, latent_use] The paper says UNet, and not where z enters. L2L-DA joins
    it to the inputs; scaling the last features by gains linear in z makes -z turn the perturbation
    around, and L_ot, nearly even in the perturbation, loses little by that.
12. [generator_optimizer, generator_learning_rate] Adam at 1e-3. The paper's SGD at 7.8e-3 hardly
    moves the weights within tens of thousands of images; 7.8e-3 is 1/128, so the 1/n of the
    listing may be in it, which leaves 1.0 for a mean loss. SGD at 1.0 learns too.
13. [generator_gradient_skip] None; the gradient's sign may be added, weighted, before G's tanh. At
    2 the tanh is flat there, and neither the generator nor z does anything.
14. [attack_iterations] Twice: the gradient at the first perturbation shows the way further out.
    The generator is updated at every iteration. The paper has one. G sees no labels.

configs/paper has the listing word for word.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, LearntAdversary
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.batches import twice
from fsgan_tf.methods.parts.gradient_normalization import NORMALIZATIONS
from fsgan_tf.methods.parts.losses import accuracy, diversity, smoothed_cross_entropy
from fsgan_tf.methods.parts.optimal_transport import scatter_gradient, transport_cost
from fsgan_tf.methods.parts.pixel_scaling import unit_scale
from fsgan_tf.networks.generators.double_convolution_unet import double_convolution_unet
from fsgan_tf.networks.generators.unet import unet
from fsgan_tf.settings import setting

TRAINS_ON = "images of a generator that scatters the batch's answers"
# What Algorithm 1 and section V say; docstring and configs/paper have what they leave open.
PAPER = {
    "classifier_learning_rate": 0.1,
    "generator_learning_rate": 7.8e-3,
    "generator_optimizer": "sgd",
    "generator_lr_decay": True,
    "generator_architecture": "ronneberger",
    "generator_update": "replace",
    "generator_inputs": "literal",
    "gradient_normalization": "none",
    "generator_gradient_skip": 0.0,
    "generator_input_skip": False,
    "latent_use": "concatenate",
    "latent_dim": 10,
    "diversity_weight": 0.05,
    "attack_iterations": 1,
    "label_smoothing": 0.5,
    "entropic_regularization": 0.01,
    "classifier_ot_weight": 1.0,
}
# Its other values by data set.
PAPER_ON = {
    "svhn_cropped": {"classifier_learning_rate": 0.01},
    "cifar100": {"generator_learning_rate": 7.8e-5},
}


class Generated(NamedTuple):
    """What one generator pass over two latents an image made.

    Attributes:
      perturbations: `[b, h, w, c]` from z_1, pixel units.
      adversarial_images: feasible, `[b, h, w, c]`, from z_1.
      second_images: feasible, `[b, h, w, c]`, from z_2.
      diversity: mean diversity ratio, scalar.
      diversity_share: that over its mean maximum, of perturbations 2 epsilon apart at every pixel;
        scalar within [0, 1].
      reached_ot: L_ot of the images from z_1, scalar, where the generator learns; else None.
    """

    perturbations: tf.Tensor
    adversarial_images: tf.Tensor
    second_images: tf.Tensor
    diversity: tf.Tensor
    diversity_share: tf.Tensor
    reached_ot: tf.Tensor | None = None


class Attacked(NamedTuple):
    """What the training adversary did with a batch.

    Attributes:
      made: in the last iteration.
      first_gradients: of L_ot by the images it starts from, `[b, h, w, c]`.
      start_ot: L_ot of these, scalar.
    """

    made: Generated
    first_gradients: tf.Tensor
    start_ot: tf.Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(
    shared.TransportSettings, shared.WeightPerturbationSettings, shared.GeneratorSettings
):
    """The paper's, and its open points (docs/ablation.md says how the defaults were chosen)."""

    label_smoothing: float = shared.label_smoothing(0.5)
    # In units of epsilon (diversity_scale); the paper has 0.05, in those or in pixels.
    diversity_weight: float = shared.diversity_weight(0.012)
    latent_dim: int = shared.latent_dim(10)
    # The paper has one, in which no generator of ours reaches further than a sign step.
    attack_iterations: int = shared.attack_iterations(2)
    # The paper's SGD at 7.8e-3 moves nothing on a mean loss; at 1.0 it does, and reaches less far.
    generator_optimizer: str = "adam"
    generator_learning_rate: float = 1e-3
    generator_update: str = setting(
        "replace",
        "What the perturbation is: the generator's output in place of the start noise "
        "(replace), or added to it (accumulate); frozen_sign, a control, takes the gradient's "
        "sign instead of a generator.",
        choices=("replace", "accumulate", "frozen_sign"),
    )
    generator_architecture: str = setting(
        "l2l_da",
        "The generator's network: L2L-DA's shallow UNet, or that of the paper's reference "
        "[27], with two 3x3 convolutions a level.",
        choices=("l2l_da", "ronneberger"),
    )
    generator_levels: int = setting(2, "How often the ronneberger UNet halves the image.", lower=1)
    latent_use: str = setting(
        "modulate",
        "How z enters the generator: joined to its inputs, as L2L-DA has it (concatenate); as "
        "gains of its last features that are linear in z (scale); both; or joined, with gains "
        "of 1 plus such a function (modulate).",
        choices=("concatenate", "scale", "both", "modulate"),
    )
    generator_input_skip: bool = setting(
        True, "Join the generator's inputs to its last features as well."
    )
    generator_gradient_skip: float = setting(
        0.0,
        "Weight of the gradient's sign added before the generator's tanh; 0 for none.",
        lower=0,
    )
    generator_inputs: str = setting(
        "unit",
        "How the generator sees perturbation and image: scaled to unit size, or in pixel units"
        " (literal).",
        choices=("unit", "literal"),
    )
    gradient_normalization: str = setting(
        "rms",
        "How the gradient is scaled for the generator: as it is, to unit RMS a sample, to unit "
        "l2 norm a sample and channel (L2L-DA), to a largest entry of 1 in the batch (L2L), "
        "or to its sign.",
        choices=("none", "rms", "channel_l2", "batch_max", "sign"),
    )
    adversary_statistics: str = setting(
        "batch",
        "What the classifier normalises by while it is attacked: each batch, as when it "
        "trains, with its moving averages left as they are (batch), or those averages "
        "(moving).",
        choices=("batch", "moving"),
    )
    ot_on: str = setting(
        "probabilities",
        "What the optimal-transport cost compares: logits (the paper's section IV-B), those less "
        "their mean, or probabilities (its eq. 4).",
        choices=("logits", "centered_logits", "probabilities"),
    )
    classifier_latents: int = setting(
        1,
        "Train the classifier on the images of the first latent vector (1), or of both (2).",
        lower=1,
        upper=2,
    )
    classifier_ot_weight: float = setting(
        1.0, "Weight of the optimal-transport loss in the classifier's loss.", lower=0
    )
    classifier_ot_branch: str = setting(
        "both",
        "Whether the optimal-transport loss trains the classifier through the clean logits "
        "too, or through the adversarial ones alone.",
        choices=("both", "adversarial"),
    )
    diversity_scale: str = setting(
        "epsilon",
        "Unit of the perturbations whose diversity is measured: pixels, or epsilon.",
        choices=("epsilon", "pixel"),
    )
    freeze_classifier: bool = setting(
        False,
        "The classifier stays that of --init_from, in inference mode, and the generator alone "
        "learns (the paper's Figure 4, tools/figures.py).",
    )

    def __post_init__(self) -> None:
        """Refuses to move the weights of a classifier that does not learn."""
        super().__post_init__()
        if self.freeze_classifier and self.awp_gamma:
            raise ValueError(
                "awp_gamma moves the weights that a classifier descends from, and with "
                "freeze_classifier it does not learn; leave one of them out"
            )


class FSGAN(LearntAdversary):
    """Alternates the generator's ascents and one descent of the classifier, for each batch."""

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
        """A heavy L_ot on logits, which the classifier makes small by an offset of them all."""
        if settings.freeze_classifier:
            return "no --freeze_classifier, with which only the generator learns"
        if settings.ot_on != "logits" or settings.classifier_ot_weight < 0.5:
            return None
        return (
            "--ot_on=probabilities: the cosine of logits falls with an offset common to all "
            "classes, by which the classifier can flatten the distance that its generator climbs "
            "instead of learning to withstand it"
        )

    def build_generator(self, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
        """A UNet that sees the perturbation, the image, the gradient and a latent vector."""
        del num_classes
        build: Callable[..., keras.Model] = unet
        if self.settings.generator_architecture == "ronneberger":
            build = functools.partial(
                double_convolution_unet, levels=self.settings.generator_levels
            )
        return build(
            image_shape=image_shape,
            feature_channels=3 * image_shape[-1],
            latent_dim=self.settings.latent_dim,
            width=self.settings.generator_width,
            latent_use=self.settings.latent_use,
            input_skip=self.settings.generator_input_skip,
            dtype=self.dtype_policy_name,
        )

    @property
    def frozen(self) -> bool:
        """Whether the gradient's sign stands in place of the generator, as a control."""
        return self.settings.generator_update == "frozen_sign"

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """An iteration: gradient by x', and the generator's loss through the classifier."""
        backward = 0 if self.settings.freeze_classifier else 2
        clean, iteration = 1, 2 + 2
        descent = (1 + backward) * self.settings.classifier_latents
        # Two latents an image, forward and backward.
        generator = self.settings.attack_iterations * 2 * 3
        if self.frozen:
            iteration, generator = 2 + 1, 0
        if self.settings.classifier_ot_weight:
            descent += 1 if self.settings.classifier_ot_branch == "adversarial" else 1 + backward
        descent *= self.descents
        return {
            "classifier": clean + self.settings.attack_iterations * iteration + descent,
            "generator": generator,
        }

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Algorithm 1, for one batch."""
        images, labels = data["image"], data["label"]
        seeds = self.step_seeds(1 + self.settings.attack_iterations)
        clean_logits = self.attacked(images)
        learning = functools.partial(self.ascend_generator, clean_logits)
        made, _, start_ot = self.attack(images, clean_logits, seeds, learning)
        batches = (made.adversarial_images, made.second_images)[: self.settings.classifier_latents]
        return self.track(
            **self.train_classifier(images, [tf.stop_gradient(batch) for batch in batches], labels),
            generator_ot=made.reached_ot,
            start_ot=start_ot,
            diversity=made.diversity,
            perturbation_size=self.relative_size(made.perturbations),
        )

    def attack(
        self,
        images: tf.Tensor,
        clean_logits: tf.Tensor,
        seeds: Sequence[tf.Tensor],
        make: Callable[..., Generated],
    ) -> Attacked:
        """The adversary's iterations, from noise in the ball.

        Args:
          images: clean, float32 `[b, h, w, c]`.
          clean_logits: of them, as `attacked` gives them, `[b, K]`.
          seeds: int32 `[2]` each: of the noise, then of the latents of each iteration.
          make: one generator pass, of the arguments of `generate` after the generator.
        """
        noise_seed, *latent_seeds = seeds
        perturbations = self.threat_model.random_perturbation(tf.shape(images), noise_seed)
        adversarial_images = self.threat_model.project(images + perturbations, images)
        scattered = []
        for latent_seed in latent_seeds:
            scattered.append(self.scatter_gradient(clean_logits, adversarial_images))
            gradients, _ = scattered[-1]
            made = make(images, perturbations, adversarial_images, gradients, latent_seed)
            perturbations = tf.stop_gradient(made.perturbations)
            adversarial_images = tf.stop_gradient(made.adversarial_images)
        return Attacked(made, *scattered[0])

    def ascend_generator(self, clean_logits: tf.Tensor, *start: tf.Tensor) -> Generated:
        """One step of the generator up L_ot + lambda L_ms; the frozen control takes none.

        Args:
          clean_logits: `[b, K]`.
          *start: the arguments of `generate` after the generator.

        Returns:
          What the generator made before the step.
        """
        with tf.GradientTape() as tape:
            made = self.generate(self.generator, *start)
            reached_ot = self.transport_cost(clean_logits, self.attacked(made.adversarial_images))
            loss = -(reached_ot + self.settings.diversity_weight * made.diversity)
        if not self.frozen:
            self.update(tape, loss, self.generator_optimizer, self.generator)
        return made._replace(reached_ot=reached_ot)

    def train_classifier(
        self, images: tf.Tensor, adversarial_images: list[tf.Tensor], labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Descends smoothed cross-entropy + L_ot on constant images; returns the loss's parts.

        `adversarial_images` has one `[b, h, w, c]` batch a latent, all of them in one pass. A
        frozen classifier only tells its loss.
        """
        learns = not self.settings.freeze_classifier
        labels = tf.tile(labels, [len(adversarial_images)])

        def objective() -> dict[str, tf.Tensor]:
            logits = self.classifier(tf.concat(adversarial_images, axis=0), training=learns)
            cross_entropy = tf.reduce_mean(
                smoothed_cross_entropy(labels, logits, self.settings.label_smoothing)
            )
            classifier_ot = tf.constant(0.0)
            if self.settings.classifier_ot_weight:
                clean_logits = self.classifier(images, training=learns)
                if self.settings.classifier_ot_branch == "adversarial":
                    clean_logits = tf.stop_gradient(clean_logits)
                classifier_ot = tf.reduce_mean(
                    [
                        self.transport_cost(clean_logits, of_latent)
                        for of_latent in tf.split(logits, len(adversarial_images))
                    ]
                )
            return {
                "loss": cross_entropy + self.settings.classifier_ot_weight * classifier_ot,
                "cross_entropy": cross_entropy,
                "classifier_ot": classifier_ot,
                "accuracy_on_adversarial": accuracy(labels, logits),
            }

        if learns:
            return self.descend(objective)
        # Every step draws its own seeds, by this count.
        self.classifier_optimizer.iterations.assign_add(1)
        return objective()

    def attacked(self, images: tf.Tensor) -> tf.Tensor:
        """Logits `[b, K]` of the classifier as its adversary sees it; no statistics are kept."""
        if self.settings.adversary_statistics == "moving":
            return self.classifier(images, training=False)
        return self._as_it_trains(images)

    def scatter_gradient(
        self, clean_logits: tf.Tensor, adversarial_images: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Gradient of L_ot by the perturbed images, `[b, h, w, c]`, and L_ot itself."""
        return scatter_gradient(
            self.attacked,
            clean_logits,
            adversarial_images,
            self.settings.entropic_regularization,
            self.settings.sinkhorn_solver,
            self.settings.ot_on,
        )

    def generate(
        self,
        generator: keras.Model,
        images: tf.Tensor,
        perturbations: tf.Tensor,
        adversarial_images: tf.Tensor,
        gradients: tf.Tensor,
        latent_seed: tf.Tensor,
    ) -> Generated:
        """One generator pass over two latents an image, normalised by the batch.

        Args:
          generator: `self.generator`, which keeps the batch's statistics, or
            `self.generator_by_batch`, which does not.
          images: clean, float32 `[b, h, w, c]`.
          perturbations: delta so far, `[b, h, w, c]`, pixel units.
          adversarial_images: x' so far, `[b, h, w, c]`.
          gradients: of L_ot by x', `[b, h, w, c]`.
          latent_seed: int32 `[2]`.

        Returns:
          The perturbations, their images and their diversity.
        """
        epsilon = self.threat_model.epsilon
        latents = stateless_random.normal(
            [2 * tf.shape(images)[0], self.settings.latent_dim], latent_seed
        )
        if self.frozen:
            output = twice(epsilon * tf.sign(gradients))
        else:
            features = self.generator_features(perturbations, adversarial_images, gradients)
            residual = self.settings.generator_gradient_skip * tf.sign(gradients)
            output = epsilon * generator([twice(features), latents, twice(residual)], training=True)
        if self.settings.generator_update == "accumulate":
            output = tf.clip_by_value(twice(perturbations) + output, -epsilon, epsilon)
        first, second = tf.split(output, 2)
        unit = epsilon if self.settings.diversity_scale == "epsilon" else 1.0
        latent_pair = tf.split(latents, 2)
        ratio = diversity(first / unit, second / unit, *latent_pair)
        whole = tf.fill(tf.shape(first), epsilon / unit)
        return Generated(
            first,
            self.threat_model.project(images + first, images),
            self.threat_model.project(images + second, images),
            tf.reduce_mean(ratio),
            tf.reduce_mean(ratio) / tf.reduce_mean(diversity(whole, -whole, *latent_pair)),
        )

    def generator_features(
        self, perturbations: tf.Tensor, adversarial_images: tf.Tensor, gradients: tf.Tensor
    ) -> tf.Tensor:
        """G's input images delta, x' and gradient, stacked: `[b, h, w, 3c]`."""
        if self.settings.generator_inputs == "unit":
            perturbations = perturbations / self.threat_model.epsilon
            adversarial_images = unit_scale(adversarial_images)
        gradients = NORMALIZATIONS[self.settings.gradient_normalization](gradients)
        return tf.concat([perturbations, adversarial_images, gradients], axis=-1)

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The generator's images, as the classifier trains on them; labels are not used."""
        del labels
        return self.attack_without_learning(images, seed).made.adversarial_images

    def diagnose(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """Whether the generator learns, and whether z matters, for the classifier that trains.

        Every pass normalises as the classifier does in training: by the batch, unless it is frozen.
        The sign step that the generator is set beside replaces the start noise, as the generator's
        output does.
        """
        del labels
        made, gradients, _ = self.attack_without_learning(images, seed)
        signs = tf.sign(gradients)
        step = self.threat_model.project(images + self.threat_model.epsilon * signs, images)
        clean, first, second, replaced_sign = (
            self._as_it_trains(batch)
            for batch in (images, made.adversarial_images, made.second_images, step)
        )
        return {
            "validation_generator_ot": self.transport_cost(clean, first),
            "validation_replaced_sign_ot": self.transport_cost(clean, replaced_sign),
            "validation_sign_cosine": tf.reduce_mean(_cosine(made.perturbations, signs)),
            "validation_diversity": made.diversity,
            "diversity_share": made.diversity_share,
            "validation_latent_share": _distance(first, second) / _distance(first, clean),
            "validation_perturbation_size": self.relative_size(made.adversarial_images - images),
            "validation_logit_offset": tf.reduce_mean(clean),
            "validation_logit_spread": tf.reduce_mean(tf.math.reduce_std(clean, axis=1)),
        }

    def _as_it_trains(self, images: tf.Tensor) -> tf.Tensor:
        """Logits `[b, K]`, normalised by the batch unless the classifier is frozen."""
        if self.settings.freeze_classifier:
            return self.classifier(images, training=False)
        return self.classifier_by_batch(images, training=True)

    def attack_without_learning(self, images: tf.Tensor, seed: tf.Tensor) -> Attacked:
        """What the training adversary does, with every variable left as it is."""
        seeds = stateless_random.split(seed, 1 + self.settings.attack_iterations)
        generate = functools.partial(self.generate, self.generator_by_batch)
        return self.attack(images, self.attacked(images), seeds, generate)

    def transport_cost(self, clean_logits: tf.Tensor, adversarial_logits: tf.Tensor) -> tf.Tensor:
        """L_ot of two `[b, K]` batches of logits; scalar."""
        return transport_cost(
            clean_logits,
            adversarial_logits,
            self.settings.entropic_regularization,
            self.settings.sinkhorn_solver,
            self.settings.ot_on,
        )


def _distance(logits: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Mean l2 distance of two `[b, K]` batches, row by row."""
    return tf.reduce_mean(tf.norm(logits - others, axis=1))


def _cosine(images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """`[b]` cosines of two `[b, h, w, c]` batches; 0 where one is zero."""
    product = tf.reduce_sum(images * others, axis=[1, 2, 3])
    norms = (tf.norm(tf.reshape(x, [tf.shape(x)[0], -1]), axis=1) for x in (images, others))
    return tf.math.divide_no_nan(product, functools.reduce(tf.multiply, norms))


METHOD = FSGAN
