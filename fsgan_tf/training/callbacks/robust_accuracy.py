"""Accuracy on held-out images, clean and under two attacks."""

from __future__ import annotations

from typing import Any

import numpy as np

from fsgan_tf.attacks.registry import by_names
from fsgan_tf.evaluation.arguments import as_examples
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.training.callbacks.made_once import MadeOnce

ONE_STEP, MULTI_STEP = "fgsm", "pgd10"
# Enough to see robustness come or go (standard error 3 points at worst), cheap beside an epoch.
ATTACKED_EXAMPLES = 256


class RobustAccuracy(MadeOnce):
    """Adds `clean_accuracy`, `one_step_accuracy` and `robust_accuracy` to an epoch's figures.

    The multi-step attack is what tells a robust classifier from one that learnt to defeat its own
    one-step adversary. Both attack within the method's threat model.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        batch_size: int = 128,
        attacked_examples: int = ATTACKED_EXAMPLES,
    ):
        """Takes the held-out images.

        Args:
          images: `[n, h, w, c]`, uint8 in [0, 255] or float32 in [0, 1].
          labels: whole numbers `[n]`.
          batch_size: images attacked together.
          attacked_examples: of the images, the first that are attacked; all are classified.

        Raises:
          UserError: images or labels are something else.
        """
        super().__init__()
        self._images, self._labels = as_examples(images, labels)
        self._batch_size = min(batch_size, len(self._images))
        self._attacked = slice(attacked_examples)

    def make(self) -> Evaluator:
        """The compiled evaluation."""
        return Evaluator(self.model.evaluated_classifier, self.model.threat_model, self._batch_size)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Measures and adds the figures."""
        del epoch
        logs.update(self.measure())

    def measure(self) -> dict[str, float]:
        """The three accuracies of the classifier as it is now."""
        threat_model = self.model.threat_model
        clean = float(np.mean(self.made.correct(self._images, self._labels)))
        result = self.made.attack(
            self._images[self._attacked],
            self._labels[self._attacked],
            by_names([ONE_STEP, MULTI_STEP], threat_model.epsilon, norm=threat_model.norm),
            standalone=True,
        )
        accuracies = {attack.name: attack.accuracy for attack in result.attacks}
        return {
            "clean_accuracy": clean,
            "one_step_accuracy": accuracies[ONE_STEP],
            "robust_accuracy": accuracies[MULTI_STEP],
        }
