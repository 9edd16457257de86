"""Writes what an evaluation found: results.json for programs, report.md and .html for people."""

import dataclasses
import json
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import fsgan_tf
from fsgan_tf import html_report
from fsgan_tf.attacks.result import Result
from fsgan_tf.run_dir import write_atomically
from fsgan_tf.threat_model import ThreatModel

_PACKAGES = ("tensorflow", "keras", "cleverhans", "numpy")

_ATTACK_HEADER = ("attack", "accuracy", "stand-alone", "seconds", "parameters")
_ATTACK_NOTE = (
    "Accuracy is the share of all images. An attack that is not stand-alone saw only images "
    "that withstood the attacks above it, and its accuracy counts those attacks too."
)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What was evaluated, and how to do it again.

    Attributes:
      model: path of the run, the SavedModel or the Keras file.
      dataset: its name.
      split: part of the data set, `test` say.
      classifier_sha256: hash of the weights.
      command: the command line.
    """

    model: str
    dataset: str
    split: str
    classifier_sha256: str
    command: str


def write(output_dir: str | os.PathLike[str], result: Result, manifest: Manifest) -> list[Path]:
    """Writes results.json, report.md and report.html, each complete or not at all.

    Args:
      output_dir: created if missing; files of an earlier evaluation are replaced.
      result: what was found.
      manifest: what was evaluated.

    Returns:
      The files' paths.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    json_text = json.dumps(as_json(result, manifest), indent=2, allow_nan=False) + "\n"
    texts = {
        "results.json": json_text,
        "report.md": as_markdown(result, manifest),
        "report.html": as_html(result, manifest),
    }
    paths = []
    for name, text in texts.items():
        write_atomically(output_dir / name, text.encode())
        paths.append(output_dir / name)
    return paths


def as_json(result: Result, manifest: Manifest) -> dict[str, Any]:
    """The content of results.json."""
    return {
        "model": manifest.model,
        "dataset": manifest.dataset,
        "split": manifest.split,
        "num_examples": result.num_examples,
        "threat_model": {"norm": result.threat_model.norm, "epsilon": result.threat_model.epsilon},
        "clean_accuracy": result.clean_accuracy,
        "attacks": [
            {
                "name": attack.name,
                "accuracy": attack.accuracy,
                "standalone": attack.standalone,
                "seconds": attack.seconds,
                "parameters": attack.parameters,
            }
            for attack in result.attacks
        ],
        "worst_case_accuracy": result.worst_case_accuracy,
        "confidence_interval_95": list(result.confidence_interval_95),
        "checks": [dataclasses.asdict(check) for check in result.checks],
        "seed": result.seed,
        "versions": _versions(),
        "classifier_sha256": manifest.classifier_sha256,
        "command": manifest.command,
    }


def as_table(result: Result) -> str:
    """A few lines for a terminal."""
    rows = [("clean", result.clean_accuracy)]
    rows += [(attack.name, attack.accuracy) for attack in result.attacks]
    rows += [("worst case", result.worst_case_accuracy)]
    low, high = result.confidence_interval_95
    lines = [f"{name:<12} {accuracy:>6.1%}" for name, accuracy in rows]
    lines[-1] += f"  (95% interval {low:.1%} to {high:.1%})"
    doubts = [check for check in result.checks if check.verdict in ("warn", "fail")]
    lines += [f"{check.verdict}: {check.detail}" for check in doubts]
    return "\n".join(lines)


def as_markdown(result: Result, manifest: Manifest) -> str:
    """The content of report.md."""
    level, verdict = _verdict(result)
    sections = [
        f"# {_title(manifest)}",
        f"**{result.worst_case_accuracy:.1%}** {_scope(result, manifest)}; "
        f"**{result.clean_accuracy:.1%}** without attack.",
        f"{_perturbations(result.threat_model)} "
        + (verdict if level == "pass" else f"**{verdict}**"),
        "## Attacks",
        _table(_ATTACK_HEADER, _attack_rows(result)),
        _ATTACK_NOTE,
        "## Checks",
        _table(
            ("check", "verdict", "what was seen"),
            [(check.name, check.verdict, check.detail) for check in result.checks],
        ),
        "## Manifest",
        _table(
            ("what", "value"),
            [(name, f"`{value}`") for name, value in _manifest_rows(result, manifest)],
        ),
    ]
    return "\n\n".join(sections) + "\n"


def as_html(result: Result, manifest: Manifest) -> str:
    """The content of report.html."""
    return html_report.page(
        result,
        title=_title(manifest),
        scope=_scope(result, manifest),
        perturbations=_perturbations(result.threat_model),
        verdict=_verdict(result),
        attack_header=_ATTACK_HEADER,
        attack_rows=_attack_rows(result),
        attack_note=_ATTACK_NOTE,
        manifest_rows=_manifest_rows(result, manifest),
    )


def _title(manifest: Manifest) -> str:
    return f"Robustness of {manifest.model}"


def _scope(result: Result, manifest: Manifest) -> str:
    """What the worst-case accuracy is a share of, and how sure it is."""
    low, high = result.confidence_interval_95
    return (
        f"of {result.num_examples} images ({manifest.dataset}, {manifest.split}) are classified "
        f"correctly under every attack (95% interval {low:.1%} to {high:.1%})"
    )


def _perturbations(threat_model: ThreatModel) -> str:
    return (
        f"Perturbations: {threat_model.norm} norm at most {threat_model.epsilon:.5g} "
        f"({255 * threat_model.epsilon:.3g}/255), pixels in "
        f"[{threat_model.lower:g}, {threat_model.upper:g}]."
    )


def _verdict(result: Result) -> tuple[str, str]:
    """The checks' most serious verdict, and what it means for the figure."""
    failed = [check.name for check in result.checks if check.verdict == "fail"]
    warned = [check.name for check in result.checks if check.verdict == "warn"]
    if failed:
        return "fail", f"Do not trust this figure: failed {', '.join(failed)}."
    if warned:
        return "warn", f"Read this figure with care: warned by {', '.join(warned)}."
    return "pass", "No check speaks against the figure."


def _attack_rows(result: Result) -> list[tuple[str, ...]]:
    return [
        (
            attack.name,
            f"{attack.accuracy:.1%}",
            "yes" if attack.standalone else "no",
            f"{attack.seconds:.1f}",
            ", ".join(f"{name} {_plain(value)}" for name, value in attack.parameters.items()),
        )
        for attack in result.attacks
    ]


def _manifest_rows(result: Result, manifest: Manifest) -> list[tuple[str, str]]:
    return [
        ("command", manifest.command),
        ("seed", str(result.seed)),
        ("classifier sha256", manifest.classifier_sha256),
        *_versions().items(),
    ]


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _plain(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _versions() -> dict[str, str]:
    versions = {package: metadata.version(package) for package in _PACKAGES}
    return {**versions, "fsgan_tf": fsgan_tf.__version__}
