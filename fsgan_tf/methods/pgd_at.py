"""Adversarial training with projected gradient descent (Madry et al. 2018, arXiv:1706.06083).

Source: MadryLab/cifar10_challenge at f15682d, `train.py`, `pgd_attack.py` and `config.json`: 10
steps of 2/255 up the cross-entropy's sign gradient, from a uniform start; the start and every step
are clipped to the epsilon-ball, then to the pixel range; the classifier descends plain
cross-entropy on the adversarial batch alone.

Deviations: the classifier is attacked with its moving averages, as Feature-Scatter's `Attack_PGD`
(attack_methods.py at 77e9140) does and the attacks that judge it do; `--adversary_mode=train` is
Madry's, whose attack differentiates the batch statistics and whose moving averages see every
attack pass. The classifier is this project's Wide ResNet (plain ReLU, no per-image
standardisation), L2 is on all its parameters, and CIFAR is padded by 4 pixels, not 2.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from absl import flags

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, TrainingMethod, accuracy
from fsgan_tf.methods.parts.losses import smoothed_cross_entropy


class PGDAdversarialTraining(TrainingMethod):
    """Trains on the images that projected gradient descent finds."""

    reports = ("loss", "accuracy_on_adversarial")

    def __init__(
        self,
        *,
        num_steps: int = 10,
        step_size: float = 0.25,
        adversary_mode: str = "eval",
        **common: Any,
    ):
        """Keeps the adversary's settings; see the base class for `common`.

        Args:
          num_steps: ascent steps.
          step_size: length of a step, in units of epsilon.
          adversary_mode: `eval` or `train`, the classifier's mode while it is attacked.
          **common: of the base class.
        """
        super().__init__(**common)
        self.num_steps = num_steps
        self.step_size = step_size * self.threat_model.epsilon
        self.attacks_in_train_mode = adversary_mode == "train"

    @classmethod
    def from_flags(cls, values: flags.FlagValues, **common: Any) -> PGDAdversarialTraining:
        """See the base class."""
        return cls(
            num_steps=values.attack_iterations,
            step_size=values.attack_step_size,
            adversary_mode=values.adversary_mode,
            **common,
        )

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """A gradient by the images each step, then the descent."""
        return {"classifier": 2 * self.num_steps + 3}

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Ascends by the images, then descends by the weights."""
        images, labels = data["image"], data["label"]
        (start_seed,) = self.step_seeds(1)
        adversarial_images = self.attack(
            images, labels, start_seed, training=self.attacks_in_train_mode
        )
        with tf.GradientTape() as tape:
            logits = self.classifier(adversarial_images, training=True)
            loss = tf.reduce_mean(smoothed_cross_entropy(labels, logits))
        self.update(tape, loss, self.classifier_optimizer, self.classifier)
        return self.track(loss=loss, accuracy_on_adversarial=accuracy(labels, logits))

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
        start = self.threat_model.random_perturbation(tf.shape(images), start_seed)

        def ascend(step: tf.Tensor, current: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            gradients = self.loss_gradient(current, labels, training)
            moved = current + self.step_size * tf.sign(gradients)
            return step + 1, self.threat_model.project(moved, images)

        # A loop of the graph: unrolled, a deep classifier takes minutes to trace.
        _, adversarial_images = tf.while_loop(
            lambda step, _: step < self.num_steps,
            ascend,
            (tf.constant(0), self.threat_model.project(images + start, images)),
            maximum_iterations=self.num_steps,
        )
        return adversarial_images

    def loss_gradient(self, images: tf.Tensor, labels: tf.Tensor, training: bool) -> tf.Tensor:
        """Gradient of the mean cross-entropy by the images, `[b, h, w, c]`."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = self.classifier(images, training=training)
            loss = tf.reduce_mean(smoothed_cross_entropy(labels, logits))
        return tape.gradient(loss, images)

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The adversary's images, from the classifier in inference mode."""
        (start_seed,) = stateless_random.split(seed, 1)
        return self.attack(images, labels, start_seed, training=False)


METHOD = PGDAdversarialTraining
