"""Measures robust accuracy, and says whether the figure can be believed.

As a library:

    from fsgan_tf.evaluation import evaluate

    result = evaluate(model, images, labels, epsilon=8 / 255, suite="quick")
    print(result.clean_accuracy, result.worst_case_accuracy, result.confidence_interval_95)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsgan_tf.evaluation.run_and_diagnose import evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    """`evaluate`, when it is asked for: it needs TensorFlow, and parts of this room do without."""
    if name in __all__:
        from fsgan_tf.evaluation import run_and_diagnose

        return getattr(run_and_diagnose, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
