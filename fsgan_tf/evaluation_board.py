"""The evaluation in TensorBoard: the figures, curves, pictures and text of the reports."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from fsgan_tf import report_text
from fsgan_tf.attacks.result import Diagnosis, Result
from fsgan_tf.example_pictures import ExamplePicture, pictures

# Tells this log from a training's, should both lie in one folder.
_SUFFIX = ".evaluation"
_SMALLEST_TILE = 96  # Pixels; TensorBoard shows pictures as large as they are.


def write(folder: Path, result: Result, class_names: Sequence[str], markdown: str) -> None:
    """Writes the log of an evaluation, in place of that of an earlier one.

    Args:
      folder: created if missing; logs of a training in it are left alone.
      result: what was found.
      class_names: of the labels.
      markdown: the content of report.md.
    """
    earlier = list(folder.glob(f"events.out.tfevents.*{_SUFFIX}"))
    writer = tf.summary.create_file_writer(str(folder), filename_suffix=_SUFFIX)
    with writer.as_default(step=0):
        tf.summary.scalar("evaluation/clean_accuracy", result.clean_accuracy)
        tf.summary.scalar("evaluation/worst_case_accuracy", result.worst_case_accuracy)
        for attack in result.attacks:
            tf.summary.scalar(f"evaluation/{attack.name}", attack.accuracy)
        _write_curves(result.diagnosis)
        _write_pictures(pictures(result.examples, result.threat_model, class_names))
        tf.summary.text("evaluation/report", markdown)
    writer.close()
    for file in earlier:
        file.unlink()


def _write_curves(diagnosis: Diagnosis) -> None:
    """Radii are steps of 255ths; of those that share one, the smallest stands for it."""
    curve = diagnosis.epsilon_curve
    if curve is not None:
        by_step = dict(
            reversed([*zip(map(_in_255ths, curve.epsilons), curve.accuracies, strict=True)])
        )
        _write_series(
            "evaluation_curves/accuracy_against_epsilon",
            by_step,
            f"{report_text.epsilon_note(curve)} The step is epsilon in 255ths.",
        )
    for loss_curve in diagnosis.loss_curves:
        _write_series(
            f"evaluation_curves/loss_{loss_curve.attack}",
            dict(enumerate(loss_curve.losses)),
            report_text.LOSS_NOTE,
        )


def _write_series(name: str, values: dict[int, float], description: str) -> None:
    for step in sorted(values):
        if math.isfinite(values[step]):
            tf.summary.scalar(name, values[step], step=step, description=description)


def _write_pictures(examples: Sequence[ExamplePicture]) -> None:
    """A column an example; rows of clean images, adversarial ones, and perturbations."""
    if not examples:
        return
    grid = [
        [_enlarged(example.clean), _enlarged(example.adversarial), _enlarged(example.perturbation)]
        for example in examples
    ]
    picture = np.concatenate([np.concatenate(column, axis=0) for column in grid], axis=1)
    columns = "; ".join(
        f"{example.true_class} → {example.predicted_class} by {example.attack}"
        for example in examples
    )
    tf.summary.image("evaluation/examples", picture[np.newaxis], description=columns)


def _enlarged(picture: np.ndarray) -> np.ndarray:
    factor = math.ceil(_SMALLEST_TILE / max(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _in_255ths(epsilon: float) -> int:
    return round(255 * epsilon)
