"""Writes what an evaluation found: results.json for programs, report.md for people."""

import dataclasses
import json
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import fsgan_tf
from fsgan_tf.attacks.result import Result
from fsgan_tf.run_dir import write_atomically

_PACKAGES = ("tensorflow", "keras", "cleverhans", "numpy")


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
    """Writes results.json and report.md, each complete or not at all.

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
    texts = {"results.json": json_text, "report.md": as_markdown(result, manifest)}
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
    low, high = result.confidence_interval_95
    threat_model = result.threat_model
    sections = [
        f"# Robustness of {manifest.model}",
        f"**{result.worst_case_accuracy:.1%}** of {result.num_examples} images "
        f"({manifest.dataset}, {manifest.split}) are classified correctly under every attack "
        f"(95% interval {low:.1%} to {high:.1%}); **{result.clean_accuracy:.1%}** without attack.",
        f"Perturbations: {threat_model.norm} norm at most {threat_model.epsilon:.5g} "
        f"({255 * threat_model.epsilon:.3g}/255), pixels in "
        f"[{threat_model.lower:g}, {threat_model.upper:g}]. {_verdict(result)}",
        "## Attacks",
        _attack_table(result),
        "Accuracy is the share of all images. An attack that is not stand-alone saw only images "
        "that withstood the attacks above it, and its accuracy counts those attacks too.",
        "## Checks",
        _table(
            ("check", "verdict", "what was seen"),
            [(check.name, check.verdict, check.detail) for check in result.checks],
        ),
        "## Manifest",
        _table(("what", "value"), _manifest_rows(result, manifest)),
    ]
    return "\n\n".join(sections) + "\n"


def _verdict(result: Result) -> str:
    failed = [check.name for check in result.checks if check.verdict == "fail"]
    warned = [check.name for check in result.checks if check.verdict == "warn"]
    if failed:
        return f"**Do not trust this figure: failed {', '.join(failed)}.**"
    if warned:
        return f"**Read this figure with care: warned by {', '.join(warned)}.**"
    return "No check speaks against the figure."


def _attack_table(result: Result) -> str:
    rows = [
        (
            attack.name,
            f"{attack.accuracy:.1%}",
            "yes" if attack.standalone else "no",
            f"{attack.seconds:.1f}",
            ", ".join(f"{name} {_plain(value)}" for name, value in attack.parameters.items()),
        )
        for attack in result.attacks
    ]
    return _table(("attack", "accuracy", "stand-alone", "seconds", "parameters"), rows)


def _manifest_rows(result: Result, manifest: Manifest) -> list[tuple[str, str]]:
    return [
        ("command", f"`{manifest.command}`"),
        ("seed", str(result.seed)),
        ("classifier sha256", f"`{manifest.classifier_sha256}`"),
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
