"""N-FGSM: one sign step from noise that is wider than the ball (arXiv:2202.01181).

Source: pdejorge/N-FGSM at 0a9e4f0, `train.py`: uniform noise of twice epsilon, clipped to the pixel
range; one step of length epsilon along the sign of the cross-entropy's gradient there; the sum is
clipped to the pixel range and not to the ball (`--clip=-1`), so that training images lie up to
three times epsilon from the clean ones. Both passes are in training mode: the attack differentiates
the batch statistics, and the moving averages see the noisy images and the attacked ones. The
classifier descends plain cross-entropy on the attacked batch alone.

Deviations: pixels are in [0, 1] and normalised inside the classifier, the authors' images are
normalised before it. On SVHN their radius rises over the first 5 epochs, their largest learning
rate is 0.05, and their cycle of rates has its peak at two fifths of the training: the first is left
out, and the other two are not the defaults here (`--classifier_learning_rate=0.05` sets the rate;
`--schedule=one_cycle` has its peak in the middle). Their loader keeps a smaller last batch, as
`--last_batch=keep` does.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, TrainingMethod
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.input_gradient import input_gradient
from fsgan_tf.threat_model import ThreatModel

BASELINE = True
TRAINS_ON = "one sign step from wide noise, outside the ball too (arXiv:2202.01181)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.WeightPerturbationSettings, shared.MethodSettings):
    """train.py's `--unif`, `--alpha` over `--epsilon`, `--lr-max` and `--weight-decay`."""

    start_noise: float = shared.start_noise(2.0)
    attack_step_size: float = shared.attack_step_size(1.0)
    classifier_learning_rate: float = 0.2
    weight_decay: float = 5e-4


class NFGSM(TrainingMethod):
    """Trains on one sign step from noisy images."""

    settings: Settings
    reports = ("loss", "accuracy_on_adversarial")

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """A gradient by the images, then the descent."""
        return {"classifier": 2 + 3 * self.descents}

    @property
    def training_ball(self) -> ThreatModel:
        """Noise and step together, since nothing is projected to the ball."""
        return self.widened(self.settings.start_noise + self.settings.attack_step_size)

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Steps from the noise, then descends on what it reached."""
        images, labels = data["image"], data["label"]
        (noise_seed,) = self.step_seeds(1)
        adversarial_images = self.attack(images, labels, noise_seed, training=True)
        return self.track(**self.descend_on(adversarial_images, labels))

    def attack(
        self, images: tf.Tensor, labels: tf.Tensor, noise_seed: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """One sign step up the cross-entropy, from the noisy images.

        Args:
          images: float32 `[b, h, w, c]`.
          labels: int32 `[b]`.
          noise_seed: int32 `[2]`.
          training: the classifier's mode.

        Returns:
          float32 `[b, h, w, c]` within `training_ball`.
        """
        noise = self.threat_model.random_perturbation(tf.shape(images), noise_seed)
        start = self.threat_model.clip(images + self.settings.start_noise * noise)
        _, gradients = input_gradient(self.classifier, start, labels, training=training)
        step = self.settings.attack_step_size * self.threat_model.epsilon
        return self.threat_model.clip(start + step * tf.sign(gradients))

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The attacked images, from the classifier in inference mode."""
        (noise_seed,) = stateless_random.split(seed, 1)
        return self.attack(images, labels, noise_seed, training=False)


METHOD = NFGSM
