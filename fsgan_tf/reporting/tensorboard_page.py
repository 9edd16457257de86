"""The evaluation in TensorBoard: the figures, curves, pictures and text of the reports."""

import errno
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from fsgan_tf.reporting import report_text
from fsgan_tf.reporting.example_pictures import ExamplePicture, pictures
from fsgan_tf.results.findings import Diagnosis, EpsilonCurve, Findings

# Tells this log from a training's, should both lie in one folder.
_SUFFIX = ".evaluation"
# Pixels; TensorBoard shows a picture of few pixels small.
_SMALLEST_TILE, _FRAME = 96, 3


def write(folder: Path, result: Findings, class_names: Sequence[str], markdown: str) -> None:
    """Writes the log of an evaluation, in place of that of an earlier one.

    Args:
      folder: created if missing; logs of a training in it are left alone.
      result: what was found.
      class_names: of the labels.
      markdown: the content of report.md.

    Raises:
      OSError: it cannot be written, whichever way TensorFlow says so.
    """
    try:
        _write(folder, result, class_names, markdown)
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message, str(folder)) from error


def _write(folder: Path, result: Findings, class_names: Sequence[str], markdown: str) -> None:
    earlier = list(folder.glob(f"events.out.tfevents.*{_SUFFIX}"))
    writer = tf.summary.create_file_writer(str(folder), filename_suffix=_SUFFIX)
    with writer.as_default(step=0):
        tf.summary.scalar("evaluation/clean_accuracy", result.clean_accuracy)
        tf.summary.scalar("evaluation/worst_case_accuracy", result.worst_case_accuracy)
        for attack in result.attacks:
            tf.summary.scalar(f"evaluation/{attack.name}", attack.accuracy)
        norm = result.threat_model.norm
        if result.smaller:
            curve = report_text.radii_curve(result)
            _write_epsilon_curve("worst_case_at_each_radius", curve, norm)
        _write_curves(result.diagnosis, norm)
        _write_pictures(pictures(result.examples, result.threat_model, class_names))
        tf.summary.text("evaluation/report", markdown)
    writer.close()
    for file in earlier:
        file.unlink()


def _write_curves(diagnosis: Diagnosis, norm: str) -> None:
    if diagnosis.epsilon_curve is not None:
        _write_epsilon_curve("accuracy_against_epsilon", diagnosis.epsilon_curve, norm)
    for losses in diagnosis.loss_curves:
        name = f"evaluation_curves/loss_{losses.attack}"
        _write_series(name, dict(enumerate(losses.losses)), report_text.LOSS_NOTE)


def _write_epsilon_curve(name: str, curve: EpsilonCurve, norm: str) -> None:
    """Radii are steps of 255ths, in l_2 and l_1 of thousandths; the smallest stands for a step."""
    points = zip(curve.epsilons, curve.accuracies, strict=True)
    parts = 255 if norm == "linf" else 1000
    by_step = {round(parts * epsilon): accuracy for epsilon, accuracy in reversed([*points])}
    note = f"{report_text.epsilon_note(curve)} The step is epsilon in {parts}ths."
    _write_series(f"evaluation_curves/{name}", by_step, note)


def _write_series(name: str, values: dict[int, float], note: str) -> None:
    description = f"{note} Without smoothing, the curve is what was measured."
    for step in sorted(values):
        if math.isfinite(values[step]):
            tf.summary.scalar(name, values[step], step=step, description=description)


def _write_pictures(examples: Sequence[ExamplePicture]) -> None:
    """A column an example; rows of clean images, adversarial ones, and perturbations."""
    if not examples:
        return
    grid = np.concatenate([_column(example) for example in examples], axis=1)
    names = "; ".join(
        f"{example.true_class} → {example.predicted_class} by {example.attack}"
        for example in examples
    )
    caption = (
        "Rows: the image; the adversarial image; the perturbation, magnified (grey is none). "
        f"Columns: {names}."
    )
    tf.summary.image("pictures/adversarial_examples", grid[np.newaxis], description=caption)


def _column(example: ExamplePicture) -> np.ndarray:
    """The example's three pictures, enlarged by a whole factor, each in a white frame."""
    tiles = np.stack([example.clean, example.adversarial, example.perturbation])
    factor = math.ceil(_SMALLEST_TILE / max(tiles.shape[1:3]))
    large = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    framed = np.pad(
        large, [(0, 0), (_FRAME, _FRAME), (_FRAME, _FRAME), (0, 0)], constant_values=255
    )
    return np.concatenate(framed)
