"""One sign step, and agreement of the classifier's answers before and after it. This package's own.

The start is uniform noise in the ball, clipped to the pixel range. One pass in training mode at the
start, x0, serves twice: the step of length epsilon follows the sign of its cross-entropy's gradient
and is projected to the ball, then to the pixel range, which gives x'; and its logits are those that
the consistency term compares. The classifier descends the cross-entropy of x' plus lambda times the
mean squared difference of the logits at x' and at x0, with the gradient flowing through both.
lambda rises linearly from 0 to `consistency_weight` over the training, so that the classifier
learns to tell the classes before it is held to answer alike.

What it rests on: the shared pass, the squared difference of logits and its weight of 10 are
FGSM-PGI's (arXiv:2207.08859; jiaxiaojunQAQ/FGSM-PGI at fc15cfe, `FGSM_MEP.py`), without its
perturbation stored for each image, its smoothed labels and its momentum; the random start and the
step are Fast Adversarial Training's (Wong et al. 2020, arXiv:2001.03994) with a step of epsilon; a
weight that rises linearly is that of LIET in fzjcdt/FastAT_Benchmark at b99c0de. Learning rate and
weight decay are N-FGSM's (pdejorge/N-FGSM at 0a9e4f0), for a schedule that rises and falls. With
`--awp_gamma` the step is taken anew at the moved weights.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, RampedConsistency
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.input_gradient import input_gradient
from fsgan_tf.methods.parts.losses import accuracy, smoothed_cross_entropy, squared_difference

TRAINS_ON = "one sign step, with answers held alike before and after it (ours)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.WeightPerturbationSettings, shared.RampedConsistencySettings):
    """Of the step, the consistency term and the classifier's optimizer."""

    attack_step_size: float = shared.attack_step_size(1.0)
    classifier_learning_rate: float = 0.2
    weight_decay: float = 5e-4


class SingleStepConsistency(RampedConsistency):
    """Trains on one sign step, and on agreement with the step's start."""

    settings: Settings
    reports = ("loss", "consistency", "accuracy_on_adversarial")

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """Through the start and the step."""
        return {"classifier": self.two_pass_descents}

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Steps from the start, then descends through both passes."""
        images, labels = data["image"], data["label"]
        (start_seed,) = self.step_seeds(1)
        start = self.start(images, start_seed)

        def objective() -> dict[str, tf.Tensor]:
            start_logits, gradients = input_gradient(self.classifier, start, labels, training=True)
            adversarial_images = self.step(images, start, gradients)
            logits = self.classifier(adversarial_images, training=True)
            cross_entropy = tf.reduce_mean(smoothed_cross_entropy(labels, logits))
            consistency = squared_difference(logits, start_logits)
            return {
                "loss": cross_entropy + self.consistency_weight() * consistency,
                "consistency": consistency,
                "accuracy_on_adversarial": accuracy(labels, logits),
            }

        return self.track(**self.descend(objective))

    def start(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Uniform in the ball, clipped to the pixel range; float32 `[b, h, w, c]`."""
        noise = self.threat_model.random_perturbation(tf.shape(images), seed)
        return self.threat_model.project(images + noise, images)

    def step(self, images: tf.Tensor, start: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
        """A step along the gradient's sign.

        Args:
          images: clean, float32 `[b, h, w, c]`.
          start: float32 `[b, h, w, c]`.
          gradients: of the loss at the start, float32 `[b, h, w, c]`.

        Returns:
          float32 `[b, h, w, c]` within the threat model.
        """
        length = self.settings.attack_step_size * self.threat_model.epsilon
        return self.threat_model.project(start + length * tf.sign(gradients), images)

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The step's images, from the classifier in inference mode."""
        (start_seed,) = stateless_random.split(seed, 1)
        start = self.start(images, start_seed)
        _, gradients = input_gradient(self.classifier, start, labels, training=False)
        return self.step(images, start, gradients)


METHOD = SingleStepConsistency
