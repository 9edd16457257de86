"""Adversarial training with projected gradient descent (Madry et al. 2018, arXiv:1706.06083).

Source: MadryLab/cifar10_challenge at f15682d, `train.py`, `pgd_attack.py` and `config.json`: 10
steps of 2/255 up the cross-entropy's sign gradient, from a uniform start; the start and every step
are clipped to the epsilon-ball, then to the pixel range; the classifier descends plain
cross-entropy on the adversarial batch alone.

In l2 a step goes along the gradient. Its default length, a quarter of epsilon, is 2.5 epsilon over
the number of steps, as Madry et al. have it in l2 (arXiv:1706.06083, appendix); the start is
uniform in the ball.

Deviations: the classifier is attacked with its moving averages, as Feature-Scatter's `Attack_PGD`
(attack_methods.py at 77e9140) does and the attacks that judge it do; `--adversary_mode=train` is
Madry's, whose attack differentiates the batch statistics and whose moving averages see every
attack pass. The classifier is this project's Wide ResNet (plain ReLU, no per-image
standardisation), L2 is on all its parameters, and CIFAR is padded by 4 pixels, not 2. Like
`--last_batch=drop`, theirs (`cifar10_input.py`) leaves out what is less than a batch.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, TrainingMethod
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.input_gradient import input_gradient
from fsgan_tf.methods.parts.last_iterate import last_iterate
from fsgan_tf.settings import setting

BASELINE = True
NORMS = ("linf", "l2")
TRAINS_ON = "ten projected steps up the cross-entropy (arXiv:1706.06083)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.WeightPerturbationSettings, shared.MethodSettings):
    """config.json's 10 steps of 2/255 at a radius of 8/255."""

    attack_iterations: int = shared.attack_iterations(10)
    attack_step_size: float = shared.attack_step_size(0.25)
    adversary_mode: str = setting(
        "eval",
        "The classifier's mode while it is attacked; train as Madry's code has it, with the "
        "batch's statistics.",
        choices=("eval", "train"),
        ours=True,
    )


class PGDAT(TrainingMethod):
    """Trains on the images that projected gradient descent finds."""

    settings: Settings
    reports = ("loss", "accuracy_on_adversarial")
    norms = NORMS

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """A gradient by the images each step, then the descent."""
        return {"classifier": 2 * self.settings.attack_iterations + 3 * self.descents}

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Ascends by the images, then descends by the weights."""
        images, labels = data["image"], data["label"]
        (start_seed,) = self.step_seeds(1)
        adversarial_images = self.attack(
            images, labels, start_seed, training=self.settings.adversary_mode == "train"
        )
        return self.track(**self.descend_on(adversarial_images, labels))

    def attack(
        self, images: tf.Tensor, labels: tf.Tensor, start_seed: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Projected gradient ascent on the cross-entropy.

        Args:
          images: float32 `[b, h, w, c]`.
          labels: int32 `[b]`.
          start_seed: int32 `[2]`.
          training: the classifier's mode.

        Returns:
          The last iterate, float32 `[b, h, w, c]` within the threat model.
        """
        noise = self.threat_model.random_perturbation(tf.shape(images), start_seed)
        step_size = self.settings.attack_step_size * self.threat_model.epsilon

        def ascend(current: tf.Tensor) -> tf.Tensor:
            _, gradients = input_gradient(self.classifier, current, labels, training=training)
            if self.threat_model.norm == "linf":
                moved = current + step_size * tf.sign(gradients)
            else:
                moved = current + self.threat_model.steepest_step(gradients, step_size)
            return self.threat_model.project(moved, images)

        start = self.threat_model.project(images + noise, images)
        return last_iterate(ascend, start, self.settings.attack_iterations)

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The adversary's images, from the classifier in inference mode."""
        (start_seed,) = stateless_random.split(seed, 1)
        return self.attack(images, labels, start_seed, training=False)


METHOD = PGDAT
