"""What the reports say, in plain words and rows; they differ in markup alone."""

import dataclasses
import math
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import fsgan_tf
from fsgan_tf.evaluation.result import Check, EpsilonCurve, LossCurve, Result
from fsgan_tf.threat_model import ThreatModel

# Verdicts, the most serious first, and what the checks that gave them are called.
VERDICTS = {"fail": "Failed", "warn": "Warned", "skipped": "Skipped", "pass": "Passed"}

ATTACK_HEADER = ("attack", "accuracy", "8-bit accuracy", "stand-alone", "seconds", "parameters")
ATTACK_NOTE = (
    "Accuracy is the share of all images. An attack that is not stand-alone saw only images "
    "that withstood the attacks above it, and its accuracy counts those attacks too. For the 8-bit "
    "accuracy an adversarial image counts only if it still fools the classifier, and lies in the "
    "ball, once its pixels are rounded to 8 bits."
)
EPSILON_HEADER = ("epsilon", "in pixel units", "accuracy")
LOSS_HEADER = ("attack", "steps", "loss at the start", "half-way", "at the end")
LOSS_NOTE = (
    "The mean over a sample of the best loss so far, each attack's own. One that still rises at "
    "the end has not converged: more steps may lower the accuracy."
)

_PACKAGES = ("tensorflow", "keras", "cleverhans", "numpy")
_NAMED_CLASSES = 20


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What was evaluated, and how to do it again.

    Attributes:
      model: path of the run, the SavedModel or the Keras file.
      dataset: its name.
      split: part of the data set, `test` say.
      dataset_sha256: hash of the images and labels evaluated.
      class_names: K names, in the order of the labels.
      classifier_sha256: hash of the weights.
      command: the command line.
      sources: a line for each classifier that transfer attacks came from.
    """

    model: str
    dataset: str
    split: str
    dataset_sha256: str
    class_names: tuple[str, ...]
    classifier_sha256: str
    command: str
    sources: tuple[str, ...] = ()


def title(manifest: Manifest) -> str:
    """Heads the report."""
    return f"Robustness of {manifest.model}"


def scope(result: Result, manifest: Manifest) -> str:
    """What the worst-case accuracy is a share of, and how sure it is; goes on after it."""
    low, high = result.confidence_interval_95
    return (
        f"of {result.num_examples} images ({manifest.dataset}, {manifest.split}) are classified "
        f"correctly under every attack (95% interval {low:.1%} to {high:.1%})"
    )


def verdict(result: Result) -> tuple[str, str]:
    """The checks' most serious verdict, and a sentence on what it means for the figure."""
    failed = [check.name for check in result.checks if check.verdict == "fail"]
    warned = [check.name for check in result.checks if check.verdict == "warn"]
    if failed:
        return "fail", f"Do not trust this figure: failed {', '.join(failed)}."
    if warned:
        return "warn", f"Read this figure with care: warned by {', '.join(warned)}."
    if not result.checks:
        return "skipped", "No check was run: nothing says whether to believe this figure."
    return "pass", "No check speaks against the figure."


def perturbations(threat_model: ThreatModel) -> str:
    """A sentence on the threat model."""
    return (
        f"Perturbations: {threat_model.norm} norm at most {threat_model.epsilon:.5g} "
        f"({in_255ths(threat_model.epsilon)}), pixels in "
        f"[{threat_model.lower:g}, {threat_model.upper:g}]."
    )


def attack_rows(result: Result) -> list[tuple[str, ...]]:
    """Cells under `ATTACK_HEADER`, a row an attack."""
    return [
        (
            attack.name,
            f"{attack.accuracy:.1%}",
            f"{attack.accuracy_8bit:.1%}",
            "yes" if attack.standalone else "no",
            f"{attack.seconds:.1f}",
            ", ".join(f"{name} {_plain(value)}" for name, value in attack.parameters.items()),
        )
        for attack in result.attacks
    ]


def epsilon_rows(curve: EpsilonCurve, epsilon: float) -> list[tuple[str, ...]]:
    """Cells under `EPSILON_HEADER`, a row a radius; the one evaluated, `epsilon`, says so."""
    return [
        (
            in_255ths(radius) + (" (evaluated)" if math.isclose(radius, epsilon) else ""),
            f"{radius:.5g}",
            f"{accuracy:.1%}",
        )
        for radius, accuracy in zip(curve.epsilons, curve.accuracies, strict=True)
    ]


def epsilon_note(curve: EpsilonCurve) -> str:
    """How to read the curve."""
    return f"Share of {curve.num_examples} images that withstand an attack of {curve.attack}."


def loss_rows(curves: Sequence[LossCurve]) -> list[tuple[str, ...]]:
    """Cells under `LOSS_HEADER`, a row an attack."""
    rows = []
    for curve in curves:
        steps = len(curve.losses) - 1
        shown = (curve.losses[step] for step in (0, steps // 2, steps))
        rows.append((curve.attack, str(steps), *(f"{loss:.4g}" for loss in shown)))
    return rows


def ordered(checks: Sequence[Check]) -> list[Check]:
    """The checks, the most serious verdict first."""
    order = list(VERDICTS)
    return sorted(checks, key=lambda check: order.index(check.verdict))


def manifest_rows(result: Result, manifest: Manifest) -> list[tuple[str, str]]:
    """Names and values of all that it takes to do the evaluation again."""
    names = manifest.class_names
    listed = ", ".join(names[:_NAMED_CLASSES]) + (", ..." if len(names) > _NAMED_CLASSES else "")
    return [
        ("command", manifest.command),
        ("seed", str(result.seed)),
        ("data", f"{manifest.dataset}, {manifest.split}, {result.num_examples} images"),
        ("classes", f"{len(names)}: {listed}"),
        ("data sha256", manifest.dataset_sha256),
        ("classifier sha256", manifest.classifier_sha256),
        *(("source of transfer", source) for source in manifest.sources),
        *versions().items(),
    ]


def versions() -> dict[str, str]:
    """Versions of what computed the figures, by name; the platform last."""
    return {
        **{package: metadata.version(package) for package in _PACKAGES},
        "fsgan_tf": fsgan_tf.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def in_255ths(epsilon: float) -> str:
    """A radius as papers write it: `8/255`."""
    return f"{255 * epsilon:.3g}/255"


def _plain(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
