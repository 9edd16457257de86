"""TRADES (Zhang et al. 2019, arXiv:1901.08573).

Source: yaodongyu/TRADES at 6e8e11b, `trades.py` and `train_trades_cifar10.py`: from the clean image
plus normal noise of deviation 0.001, not clipped, ten sign steps of 0.007 (at a radius of 0.031) up
KL(p(x) || p(x')), each projected to the ball, then to the pixel range, with the classifier in
inference mode. The classifier then descends, in training mode, the cross-entropy of the clean batch
plus beta = 6 times the mean KL(p(x) || p(x')); the gradient flows through p(x) as well.

Deviations: the configuration's epsilon is 8/255, theirs 0.031; the authors forward the clean batch
anew for every step and twice in training mode, here it is once in each mode, so that the moving
averages see the clean batch once, then the attacked one. Their l2 ball is left out. Their loader
keeps a smaller last batch, as `--last_batch=keep` does.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, TrainingMethod
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.input_gradient import input_gradient
from fsgan_tf.methods.parts.last_iterate import last_iterate
from fsgan_tf.methods.parts.losses import accuracy, smoothed_cross_entropy
from fsgan_tf.settings import setting

BASELINE = True
TRAINS_ON = "clean images, and ten steps away from their answers (arXiv:1901.08573)"
_START_DEVIATION = 0.001


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.WeightPerturbationSettings, shared.MethodSettings):
    """train_trades_cifar10.py's: 10 steps of 0.007 at a radius of 0.031."""

    attack_iterations: int = shared.attack_iterations(10)
    attack_step_size: float = shared.attack_step_size(7 / 31)
    beta: float = setting(
        6.0, "Weight of the divergence between clean and adversarial answers.", lower=0
    )


class TRADES(TrainingMethod):
    """Trades accuracy on clean images for agreement with the adversarial ones."""

    settings: Settings
    reports = ("loss", "divergence", "accuracy", "accuracy_on_adversarial")

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """The clean answers, a gradient by the images each step, and the descent through both."""
        return {"classifier": 1 + 2 * self.settings.attack_iterations + 2 * 3 * self.descents}

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Moves the answers away, then descends."""
        images, labels = data["image"], data["label"]
        (start_seed,) = self.step_seeds(1)
        adversarial_images = self.attack(images, start_seed)

        def objective() -> dict[str, tf.Tensor]:
            clean_logits = self.classifier(images, training=True)
            logits = self.classifier(adversarial_images, training=True)
            cross_entropy = tf.reduce_mean(smoothed_cross_entropy(labels, clean_logits))
            divergence = tf.reduce_mean(kl_divergence(clean_logits, logits))
            return {
                "loss": cross_entropy + self.settings.beta * divergence,
                "divergence": divergence,
                "accuracy": accuracy(labels, clean_logits),
                "accuracy_on_adversarial": accuracy(labels, logits),
            }

        return self.track(**self.descend(objective))

    def attack(self, images: tf.Tensor, start_seed: tf.Tensor) -> tf.Tensor:
        """Projected sign ascent on the divergence from the clean answers, in inference mode.

        Args:
          images: float32 `[b, h, w, c]`.
          start_seed: int32 `[2]`.

        Returns:
          The last iterate, float32 `[b, h, w, c]` within the threat model.
        """
        clean_logits = self.classifier(images, training=False)
        start = images + _START_DEVIATION * stateless_random.normal(tf.shape(images), start_seed)
        step_size = self.settings.attack_step_size * self.threat_model.epsilon

        def ascend(current: tf.Tensor) -> tf.Tensor:
            _, gradients = input_gradient(
                self.classifier, current, clean_logits, training=False, loss_fn=kl_divergence
            )
            return self.threat_model.project(current + step_size * tf.sign(gradients), images)

        return last_iterate(ascend, start, self.settings.attack_iterations)

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The adversary's images; labels are not used."""
        del labels
        (start_seed,) = stateless_random.split(seed, 1)
        return self.attack(images, start_seed)


def kl_divergence(clean_logits: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """KL(softmax(clean_logits) || softmax(logits)) of each example.

    Args:
      clean_logits: float32 `[b, K]`.
      logits: float32 `[b, K]`.

    Returns:
      float32 `[b]`, in nats; differentiable by both.
    """
    log_clean = tf.nn.log_softmax(tf.cast(clean_logits, tf.float32))
    log_other = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    return tf.reduce_sum(tf.exp(log_clean) * (log_clean - log_other), axis=1)


METHOD = TRADES
