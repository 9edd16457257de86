"""An entry as RobustBench's `model_info` folder holds them."""

import json
from pathlib import Path
from typing import Any

from fsgan_tf.files import write_atomically
from fsgan_tf.reporting.manifest import Manifest
from fsgan_tf.results import summary
from fsgan_tf.results.findings import Findings

FILE_NAME = "robustbench.json"
# Suites that hold the attacks of AutoAttack's standard version.
_AUTO_ATTACK = ("strong",)


def write(output_dir: Path, result: Findings, manifest: Manifest) -> None:
    """Writes robustbench.json into an evaluation's folder."""
    text = json.dumps(entry(result, manifest), indent=2) + "\n"
    write_atomically(output_dir / FILE_NAME, text.encode())


def entry(result: Findings, manifest: Manifest) -> dict[str, Any]:
    """The fields of an entry; None where only its author knows.

    `autoattack_acc` is filled in by the suite `strong` alone, and `unreliable` by the verdict.
    Accuracies are percentages in text and epsilon is in text too, as in RobustBench's own files.
    """
    worst = f"{100 * result.worst_case_accuracy:.2f}"
    return {
        "link": None,
        "name": Path(manifest.model).name,
        "authors": None,
        "additional_data": None,
        "number_forward_passes": 1,
        "dataset": manifest.dataset,
        "venue": None,
        "architecture": None,
        "eps": f"{result.threat_model.epsilon:.6g}",
        "clean_acc": f"{100 * result.clean_accuracy:.2f}",
        "reported": worst,
        "autoattack_acc": worst if manifest.suite in _AUTO_ATTACK else None,
        "unreliable": summary.verdict(result).name == summary.NO_FIGURE,
        "footnote": f"{result.threat_model.norm.capitalize()}, {result.num_examples} images of "
        f"{manifest.split}, {manifest.date}.",
    }
