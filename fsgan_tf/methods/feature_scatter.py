"""Feature-Scatter adversarial training (Zhang & Wang 2019, arXiv:1907.10764).

Source: Haichao-Zhang/FeatureScatter at 77e9140, `attack_methods.py` (`Attack_FeaScatter`),
`fs_main.py` and `ot.py`: one sign step of length epsilon up the optimal-transport distance between
the logits of the clean and the perturbed batch, from a uniform start that is not clipped before
the gradient is taken there; projected to the ball, then to the pixel range. The classifier that is
attacked is in inference mode; it then descends its own label-smoothed cross-entropy (0.5 left on
the true class) on the perturbed batch alone, in training mode. No label enters the attack.

Deviations: pixels are in [0, 1] and normalised inside the classifier, so that epsilon is 8/255,
not 16/255; the authors' two redundant clean passes and the clean batch that they forward in
training mode every tenth step, for logging, are left out.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
from absl import flags

from fsgan_tf import draws
from fsgan_tf.losses import smoothed_cross_entropy
from fsgan_tf.methods.base import Batch, TrainingMethod, accuracy
from fsgan_tf.optimal_transport import scatter_gradient, transport_cost


class FeatureScatter(TrainingMethod):
    """Trains on images that scatter the batch's logits."""

    reports = ("loss", "start_ot", "accuracy_on_adversarial")

    def __init__(
        self,
        *,
        label_smoothing: float = 0.5,
        num_steps: int = 1,
        step_size: float = 1.0,
        entropic_regularization: float = 0.01,
        sinkhorn_solver: str = "reference",
        **common: Any,
    ):
        """Keeps the adversary's settings; see the base class for `common`.

        Args:
          label_smoothing: mass taken from the true class.
          num_steps: ascent steps; the authors' code trains once a step, this one after the last.
          step_size: length of a step, in units of epsilon.
          entropic_regularization: of the Sinkhorn plan.
          sinkhorn_solver: see `optimal_transport.sinkhorn_plan`.
          **common: of the base class.
        """
        super().__init__(**common)
        self.label_smoothing = label_smoothing
        self.num_steps = num_steps
        self.step_size = step_size * self.threat_model.epsilon
        self.entropic_regularization = entropic_regularization
        self.sinkhorn_solver = sinkhorn_solver

    @classmethod
    def from_flags(cls, values: flags.FlagValues, **common: Any) -> FeatureScatter:
        """See the base class."""
        return cls(
            label_smoothing=values.label_smoothing,
            num_steps=values.attack_iterations,
            step_size=values.attack_step_size,
            entropic_regularization=values.entropic_regularization,
            sinkhorn_solver=values.sinkhorn_solver,
            **common,
        )

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """The clean logits, a gradient by the images each step, and the descent."""
        return {"classifier": 1 + 2 * self.num_steps + 3}

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Scatters the batch, then descends on it."""
        images, labels = data["image"], data["label"]
        (start_seed,) = self.step_seeds(1)
        start = images + self.threat_model.random_perturbation(tf.shape(images), start_seed)
        adversarial_images, start_ot = self.scatter(images, start)
        with tf.GradientTape() as tape:
            logits = self.classifier(adversarial_images, training=True)
            loss = tf.reduce_mean(smoothed_cross_entropy(labels, logits, self.label_smoothing))
        self.update(tape, loss, self.classifier_optimizer, self.classifier)
        return self.track(
            loss=loss, start_ot=start_ot, accuracy_on_adversarial=accuracy(labels, logits)
        )

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
        for _ in range(self.num_steps):
            gradients, cost = scatter_gradient(
                functools.partial(self.classifier, training=False),
                clean_logits,
                current,
                self.entropic_regularization,
                self.sinkhorn_solver,
            )
            start_ot = cost if start_ot is None else start_ot
            moved = current + self.step_size * tf.sign(gradients)
            current = self.threat_model.project(moved, images)
        return current, start_ot

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The scattered images; labels are not used."""
        del labels
        (start_seed,) = draws.split(seed, 1)
        start = images + self.threat_model.random_perturbation(tf.shape(images), start_seed)
        return self.scatter(images, start)[0]

    def diagnose(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """The distance that the step reaches."""
        clean_logits = self.classifier(images, training=False)
        adversarial_logits = self.classifier(self.perturb(images, labels, seed), training=False)
        cost = transport_cost(
            clean_logits, adversarial_logits, self.entropic_regularization, self.sinkhorn_solver
        )
        return {"validation_sign_step_ot": cost}


METHOD = FeatureScatter
