"""Says when a training ended without the robustness that it was for."""

from __future__ import annotations

from typing import Any

from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.training.callbacks.robust_accuracy import ATTACKED_EXAMPLES

# Withstanding less than this share of what is classified correctly is no robustness.
_NEAR_ZERO = 0.1


def warning(
    method: TrainingMethod | type[TrainingMethod],
    configuration: TrainingConfiguration,
    row: dict[str, Any],
    held_out: int,
) -> str | None:
    """What to say about the figures of the epoch whose classifier is kept.

    Args:
      method: what was trained, or its class.
      configuration: its settings.
      row: of metrics.jsonl; without held-out images it holds no accuracy, and nothing is told.
      held_out: number of images that it was watched by.

    Returns:
      One line with the likely cause and the flag to change; None where robustness came, or was not
      trained for.
    """
    settings = configuration.training
    if settings.method == "standard" or not {"clean_accuracy", "robust_accuracy"} <= set(row):
        return None
    clean, robust = row["clean_accuracy"], row["robust_accuracy"]
    if not robust < _NEAR_ZERO * clean:
        return None
    advice = method.when_not_robust(configuration.method) or (
        f"more --epochs than {settings.epochs}, a larger network, a smaller --epsilon than "
        f"{settings.epsilon:.4g}, or --method=pgd_at"
    )
    return (
        f"the classifier is not robust: it classifies {clean:.1%} of {held_out} held-out images, "
        f"and {robust:.1%} of {min(held_out, ATTACKED_EXAMPLES)} under attack (PGD-10, epsilon "
        f"{settings.epsilon:.4g}); try {advice}"
    )
