"""Writes what an evaluation found: results.json for programs, the rest for people.

report.md, report.html and the TensorBoard log show the same figures.
"""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from fsgan_tf.files import write_atomically
from fsgan_tf.reporting import (
    earlier,
    html_page,
    markdown_page,
    report_text,
    tensorboard_page,
)
from fsgan_tf.reporting.manifest import Manifest, class_name, machine, versions
from fsgan_tf.results import summary
from fsgan_tf.results.findings import Findings, withstood
from fsgan_tf.results.randomness import Randomness

__all__ = ["Manifest", "as_json", "write"]

# Raised when a key of results.json changes its meaning or goes; a new key needs no new number.
SCHEMA_VERSION = 1


def write(output_dir: str | os.PathLike[str], result: Findings, manifest: Manifest) -> list[Path]:
    """Writes results.json, report.md and report.html, each complete or not at all, and TensorBoard.

    Args:
      output_dir: created if missing; what an earlier evaluation wrote there is kept in its folder
        `earlier`, by date and suite.
      result: what was found.
      manifest: what was evaluated.

    Returns:
      Paths of the three files and of the folder `tensorboard`.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    markdown = markdown_page.page(result, manifest)
    results = json.dumps(as_json(result, manifest), indent=2, allow_nan=False) + "\n"
    texts = {
        "results.json": results,
        "report.md": markdown,
        "report.html": html_page.page(result, manifest),
    }
    verified = [attack.parameters.get("path") for attack in result.attacks]
    # An evaluation killed while it wrote, and resumed, is no earlier one.
    if not _holds(output_dir / "results.json", results):
        earlier.keep(output_dir, in_use=[Path(path) for path in verified if path])
    paths = []
    for name, text in texts.items():
        write_atomically(output_dir / name, text.encode())
        paths.append(output_dir / name)
    board = output_dir / "tensorboard"
    tensorboard_page.write(board, result, manifest.class_names, markdown)
    return [*paths, board]


def as_json(result: Findings, manifest: Manifest) -> dict[str, Any]:
    """The content of results.json; a number that is not finite is None."""
    diagnosis = result.diagnosis
    content = {
        "schema_version": SCHEMA_VERSION,
        "verdict": summary.verdict(result).name,
        "model": manifest.model,
        "dataset": manifest.dataset,
        "split": manifest.split,
        "dataset_sha256": manifest.dataset_sha256,
        "num_examples": result.num_examples,
        "image_shape": report_text.image_shape(result),
        "suite": manifest.suite,
        "threat_model": {"norm": result.threat_model.norm, "epsilon": result.threat_model.epsilon},
        "clean_accuracy": result.clean_accuracy,
        "attacks": [
            {
                "name": attack.name,
                "accuracy": attack.accuracy,
                "accuracy_8bit": attack.accuracy_8bit,
                "standalone": attack.standalone,
                "seconds": attack.seconds,
                "parameters": attack.parameters,
            }
            for attack in result.attacks
        ],
        "worst_case_accuracy": result.worst_case_accuracy,
        "worst_case_accuracy_8bit": result.worst_case_accuracy_8bit,
        "confidence_interval_95": result.confidence_interval_95,
        "per_image": _per_image(result),
        "radii": _radii(result),
        "randomness": result.randomness and _randomness(result.randomness),
        "classes": _classes(result, manifest),
        "epsilon_curve": diagnosis.epsilon_curve and dataclasses.asdict(diagnosis.epsilon_curve),
        "loss_curves": [dataclasses.asdict(curve) for curve in diagnosis.loss_curves],
        "checks": [dataclasses.asdict(check) for check in result.checks],
        "checks_mode": diagnosis.mode,
        "checks_seconds": diagnosis.seconds,
        "seed": result.seed,
        "date": manifest.date,
        "machine": machine(),
        "versions": versions(),
        "classifier_sha256": manifest.classifier_sha256,
        "command": manifest.command,
        "sources": manifest.sources,
    }
    return {key: _finite(value) for key, value in content.items()}


def _holds(file: Path, results: str) -> bool:
    """Whether a results.json says the same but for its date: to the seconds of each attack."""
    try:
        found, written = json.loads(file.read_bytes()), json.loads(results)
        return {**found, "date": None} == {**written, "date": None}
    except (OSError, ValueError, TypeError):
        return False


def _radii(result: Findings) -> list[dict[str, Any]]:
    """At each of several radii; empty where there was one."""
    if not result.smaller:
        return []
    counts = [(radius.assumed, radius.drawn, radius.drawn_fooled) for radius in result.smaller]
    return [
        {
            "epsilon": one.threat_model.epsilon,
            "worst_case_accuracy": one.worst_case_accuracy,
            "worst_case_accuracy_8bit": one.worst_case_accuracy_8bit,
            "confidence_interval_95": one.confidence_interval_95,
            "attacks": [
                {
                    "name": attack.name,
                    "accuracy": attack.accuracy,
                    "accuracy_8bit": attack.accuracy_8bit,
                    "seconds": attack.seconds,
                    "parameters": attack.parameters,
                }
                for attack in one.attacks
            ],
            "num_assumed_to_withstand": assumed,
            "num_drawn_to_verify": drawn,
            "num_drawn_and_fooled": fooled,
        }
        for one, (assumed, drawn, fooled) in zip(
            result.at_each_radius, [*counts, (0, 0, 0)], strict=True
        )
    ]


def _randomness(found: Randomness) -> dict[str, Any]:
    return {
        "draws_per_gradient": found.draws,
        "calls_per_verdict": found.calls,
        "clean_accuracy_of_one_call": found.clean_accuracy_of_one_call,
        "accuracy_of_one_call": found.accuracy_of_one_call,
        "clean_interval_95": found.clean_interval_95,
        "worst_case_interval_95": found.worst_case_interval_95,
    }


def _classes(result: Findings, manifest: Manifest) -> list[dict[str, Any]]:
    return [
        {
            "name": class_name(manifest.class_names, label),
            "num_examples": count,
            "clean_accuracy": clean,
            "worst_case_accuracy": robust,
        }
        for label, (count, clean, robust) in report_text.by_class(result).items()
    ]


def _per_image(result: Findings) -> dict[str, Any]:
    """A 1 for each image that counts in an accuracy, a 0 for each other, in the images' order."""
    counted = zip(result.attacks, withstood(result.clean_correct, result.attacks), strict=True)
    return {
        "clean": _marks(result.clean_correct),
        "attacks": {attack.name: _marks(robust) for attack, (robust, _) in counted},
        "worst_case": _marks(result.robust),
    }


def _marks(counted: np.ndarray) -> str:
    return "".join("01"[int(one)] for one in counted)


def _finite(value: Any) -> Any:
    """The value in JSON's types, with None for every NaN and infinity in it."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
