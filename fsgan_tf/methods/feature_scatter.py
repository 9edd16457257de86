"""Feature-Scatter adversarial training (Zhang & Wang 2019, arXiv:1907.10764).

Source: Haichao-Zhang/FeatureScatter at 77e9140, `attack_methods.py` (`Attack_FeaScatter`),
`fs_main.py` and `ot.py`: one sign step of length epsilon up the optimal-transport distance between
the logits of the clean and the perturbed batch, from a uniform start that is not clipped before
the gradient is taken there; projected to the ball, then to the pixel range. The classifier that is
attacked is in inference mode; it then descends its own label-smoothed cross-entropy (0.5 left on
the true class) on the perturbed batch alone, in training mode. No label enters the attack.

Deviations: pixels are in [0, 1] and normalised inside the classifier, so that epsilon is 8/255,
not 16/255; the authors' two redundant clean passes and the clean batch that they forward in
training mode every tenth step, for logging, are left out. Their loader keeps a smaller last batch,
as `--last_batch=keep` does.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, TrainingMethod
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.optimal_transport import scatter_gradient, transport_cost

BASELINE = True
TRAINS_ON = "one sign step that scatters the logits (arXiv:1907.10764)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.TransportSettings, shared.WeightPerturbationSettings, shared.MethodSettings):
    """One step of epsilon (attack_methods.py); with more, training follows the last one."""

    label_smoothing: float = shared.label_smoothing(0.5)
    attack_iterations: int = shared.attack_iterations(1)
    attack_step_size: float = shared.attack_step_size(1.0)


class FeatureScatter(TrainingMethod):
    """Trains on images that scatter the batch's logits."""

    settings: Settings
    reports = ("loss", "start_ot", "accuracy_on_adversarial")

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """The clean logits, a gradient by the images each step, and the descent."""
        return {"classifier": 1 + 2 * self.settings.attack_iterations + 3 * self.descents}

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Scatters the batch, then descends on it."""
        images, labels = data["image"], data["label"]
        (start_seed,) = self.step_seeds(1)
        start = images + self.threat_model.random_perturbation(tf.shape(images), start_seed)
        adversarial_images, start_ot = self.scatter(images, start)
        descent = self.descend_on(adversarial_images, labels, self.settings.label_smoothing)
        return self.track(start_ot=start_ot, **descent)

    def scatter(self, images: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Sign ascent on the optimal-transport distance to the clean logits.

        Args:
          images: clean, float32 `[b, h, w, c]`.
          start: float32 `[b, h, w, c]`, in the ball; may leave the pixel range.

        Returns:
          The last iterate, float32 `[b, h, w, c]` within the threat model, and the distance at the
          start (scalar).
        """
        clean_logits = self.classifier(images, training=False)
        current, start_ot = start, None
        step_size = self.settings.attack_step_size * self.threat_model.epsilon
        for _ in range(self.settings.attack_iterations):
            gradients, cost = scatter_gradient(
                functools.partial(self.classifier, training=False),
                clean_logits,
                current,
                self.settings.entropic_regularization,
                self.settings.sinkhorn_solver,
            )
            start_ot = cost if start_ot is None else start_ot
            moved = current + step_size * tf.sign(gradients)
            current = self.threat_model.project(moved, images)
        return current, start_ot

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The scattered images; labels are not used."""
        del labels
        (start_seed,) = stateless_random.split(seed, 1)
        start = images + self.threat_model.random_perturbation(tf.shape(images), start_seed)
        return self.scatter(images, start)[0]

    def diagnose(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """The distance that the step reaches."""
        clean_logits = self.classifier(images, training=False)
        adversarial_logits = self.classifier(self.perturb(images, labels, seed), training=False)
        cost = transport_cost(
            clean_logits,
            adversarial_logits,
            self.settings.entropic_regularization,
            self.settings.sinkhorn_solver,
        )
        return {"validation_sign_step_ot": cost}


METHOD = FeatureScatter
