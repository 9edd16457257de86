"""What the reports say, in plain words and rows; they differ in markup alone."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fsgan_tf import norms
from fsgan_tf.reporting.manifest import Manifest, class_name, machine, versions
from fsgan_tf.results.findings import EpsilonCurve, Findings, LossCurve
from fsgan_tf.results.summary import share, verdict
from fsgan_tf.threat_model import ThreatModel

# What the checks of each verdict are called.
HEADINGS = {"fail": "Failed", "warn": "Warned", "skipped": "Skipped", "pass": "Passed"}

ATTACK_HEADER = ("attack", "accuracy", "8-bit accuracy", "stand-alone", "seconds", "parameters")
ATTACK_NOTE = (
    "Accuracy is the share of all images. An attack that is not stand-alone saw only images "
    "that withstood the attacks above it, and its accuracy counts those attacks too. For the 8-bit "
    "accuracy an adversarial image counts only if it still fools the classifier, and lies in the "
    "ball, once its pixels are rounded to 8 bits. The true one is at most that: an image whose "
    "exact version fools is attacked no more, and no attack searched among rounded images."
)
_FGSM_NOTE = (
    " FGSM starts at the image itself, as its source has it, not at a random point of the ball."
)
LOSS_HEADER = ("attack", "steps", "loss at the start", "half-way", "at the end")
LOSS_NOTE = (
    "The loss of an attack that ran, followed from the unchanged image: the best so far, averaged "
    "over a sample of the images. A loss that "
    "still rises at the end has not converged: more steps may lower the accuracy. The loss of C&W "
    "is the lead of the strongest wrong class less a confidence of 50: at -51 the true class leads "
    "by 1, above -50 the image is misclassified, and 0 is the largest value."
)
RADII_NOTE = (
    "Share of all images that withstand every attack, at each radius evaluated. At a smaller "
    "radius the attacks ran on what the next larger one fooled, and on some of the rest, drawn by "
    "chance; unless one of these was fooled, the rest is taken to withstand and was not attacked. "
    "What a smaller radius fooled counts at the larger ones."
)
CLASS_HEADER = ("class", "images", "without attack", "under every attack")

_NAMED_CLASSES = 20
_MOST_CLASSES = 20
# Kinds of attacks that find what others miss, and how the names of those in each begin.
_KINDS = {
    "targeted attacks": ("apgd_t", "fab_t", "a3"),
    "attacks that shorten their steps": ("apgd_", "pma", "a3"),
    "attacks without gradients": ("square", "spsa"),
}
_STRONG = (
    "These are general attacks. One made for this very defence may still find more, and an attack "
    "that fails proves nothing."
)


def title(manifest: Manifest) -> str:
    """Heads the report."""
    return f"Robustness of {manifest.model}"


def scope(result: Findings, manifest: Manifest) -> str:
    """A sentence after the worst-case accuracy: of how many images it is, and its 95% interval."""
    low, high = result.confidence_interval_95
    where = ", ".join(filter(None, (manifest.dataset, manifest.split)))
    return (
        f"of {result.num_examples} images ({where}) are classified "
        f"correctly under every attack (95% interval {low:.1%} to {high:.1%})"
    )


def perturbations(threat_model: ThreatModel) -> str:
    """A sentence on the threat model."""
    of_255 = f" ({threat_model.radius_text})" if threat_model.norm == "linf" else ""
    return (
        f"Perturbations: {threat_model.norm} norm at most {threat_model.epsilon:.5g}{of_255}, "
        f"pixels in [{threat_model.lower:g}, {threat_model.upper:g}]."
    )


def tried(result: Findings, manifest: Manifest) -> tuple[str, str]:
    """What the attacks were and left untried, and the command that tries it, or nothing."""
    name = f"The suite {manifest.suite}" if manifest.suite else "The attacks chosen"
    names = ", ".join(attack.name for attack in result.attacks) or "no attack"
    sentence = f"{name} ran {names}."
    untried = _untried(result)
    if not untried:
        return f"{sentence} {_STRONG}", ""
    command = manifest.command_with_suite("strong") if manifest.command else ""
    if command and result.randomness and "--eot" not in command:
        command += f" --eot={result.randomness.draws}"
    *others, last = untried
    listed = f"{', '.join(others)}, or {last}" if others else last
    return f"{sentence} It did not try {listed}, which often lower the figure.", command


def _untried(result: Findings) -> list[str]:
    """The kinds of which no attack ran."""
    names = [attack.name for attack in result.attacks]
    return [kind for kind, of_it in _KINDS.items() if not any(n.startswith(of_it) for n in names)]


def model_card(result: Findings, manifest: Manifest) -> str:
    """The robustness section of a model card, to paste."""
    attacks = ", ".join(attack.name for attack in result.attacks) or "no attack"
    suite = f"suite {manifest.suite} ({attacks})" if manifest.suite else attacks
    measured = f"{result.randomness} " if result.randomness else ""
    return (
        f"Robust accuracy: {result.worst_case_accuracy:.1%} {scope(result, manifest)}; clean "
        f"accuracy {share(result.clean_accuracy, result.num_examples)}. "
        f"{perturbations(result.threat_model)} Attacked with {suite} by fsgan_tf "
        f"{versions()['fsgan_tf']} on {manifest.date}, seed {result.seed}. Verdict: "
        f"{verdict(result).name}. {measured}Stronger attacks may lower the figure; nothing is "
        "certified."
    )


def attack_rows(result: Findings) -> list[tuple[str, ...]]:
    """Cells under `ATTACK_HEADER`, a row an attack."""
    return [
        (
            attack.name,
            share(attack.accuracy, result.num_examples),
            share(attack.accuracy_8bit, result.num_examples),
            "yes" if attack.standalone else "no",
            f"{attack.seconds:.1f}",
            ", ".join(f"{name} {_plain(value)}" for name, value in attack.parameters.items()),
        )
        for attack in result.attacks
    ]


def attack_note(result: Findings) -> str:
    """How to read the table of attacks."""
    ran_fgsm = any(attack.name == "fgsm" for attack in result.attacks)
    return ATTACK_NOTE + (_FGSM_NOTE if ran_fgsm else "")


def class_rows(result: Findings, manifest: Manifest) -> list[tuple[str, ...]]:
    """Cells under `CLASS_HEADER`, the least robust class first; of at most 20 classes."""
    rows = [
        (
            robust,
            (class_name(manifest.class_names, label), str(count), f"{clean:.1%}", f"{robust:.1%}"),
        )
        for label, (count, clean, robust) in by_class(result).items()
    ]
    return [row for _, row in sorted(rows, key=lambda row: row[0])[:_MOST_CLASSES]]


def by_class(result: Findings) -> dict[int, tuple[int, float, float]]:
    """Number of images, clean and worst-case accuracy of each class that has images."""
    labels = np.zeros(0, int) if result.labels is None else np.asarray(result.labels)
    robust, found = result.robust, {}
    for label in np.unique(labels).tolist():
        members = labels == label
        clean_share, robust_share = result.clean_correct[members].mean(), robust[members].mean()
        found[int(label)] = (int(members.sum()), float(clean_share), float(robust_share))
    return found


def epsilon_header(norm: str) -> tuple[str, ...]:
    """Over `epsilon_rows`."""
    return ("epsilon", *(["in pixel units"] if norm == "linf" else []), "accuracy")


def epsilon_rows(curve: EpsilonCurve, threat_model: ThreatModel) -> list[tuple[str, ...]]:
    """Cells under `epsilon_header`, a row a radius; the one evaluated says so."""
    rows = []
    for radius, accuracy in zip(curve.epsilons, curve.accuracies, strict=True):
        told = " (evaluated)" if math.isclose(radius, threat_model.epsilon) else ""
        units = [f"{radius:.5g}"] if threat_model.norm == "linf" else []
        name = norms.radius_text(threat_model.norm, radius)
        rows.append((f"{name}{told}", *units, share(accuracy, curve.num_examples)))
    return rows


def epsilon_axis(norm: str) -> str:
    """What the chart of the curve has across."""
    if norm == "linf":
        return "Across: epsilon in 255ths, and in pixel units below, at its square root."
    return f"Across: epsilon in the unit of {norm}, at its square root."


def magnified(norm: str) -> str:
    """What the pictures of perturbations show."""
    whole = "the whole of epsilon" if norm == "linf" else "its largest change"
    return f"magnified: grey is none, black and white are {whole}"


def radii_curve(result: Findings) -> EpsilonCurve:
    """The worst case at each radius evaluated, from the accuracy without attack."""
    at_each = result.at_each_radius
    return EpsilonCurve(
        "every attack",
        (0.0, *(one.threat_model.epsilon for one in at_each)),
        (result.clean_accuracy, *(one.worst_case_accuracy for one in at_each)),
        result.num_examples,
    )


def radii_header(result: Findings) -> tuple[str, ...]:
    """Over `radii_rows`."""
    names = (attack.name for attack in result.attacks)
    *epsilon, _ = epsilon_header(result.threat_model.norm)
    return (*epsilon, *names, "worst case", "95% interval", "not attacked")


def radii_rows(result: Findings) -> list[tuple[str, ...]]:
    """Cells under `radii_header`, a row a radius."""
    assumed = [*(radius.assumed for radius in result.smaller), 0]
    rows = []
    for one, not_attacked in zip(result.at_each_radius, assumed, strict=True):
        low, high = one.confidence_interval_95
        norm, epsilon = one.threat_model.norm, one.threat_model.epsilon
        rows.append(
            (
                norms.radius_text(norm, epsilon),
                *([f"{epsilon:.5g}"] if norm == "linf" else []),
                *(f"{attack.accuracy:.1%}" for attack in one.attacks),
                share(one.worst_case_accuracy, one.num_examples),
                f"{low:.1%} to {high:.1%}",
                str(not_attacked),
            )
        )
    return rows


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


def checks_note(result: Findings) -> str:
    """Which checks were made, and how long they took beside the attacks."""
    diagnosis = result.diagnosis
    if not result.checks:
        return "No check was made, so nothing says whether the figure can be believed."
    attacks = sum(attack.seconds for attack in result.attacks)
    took = f"{diagnosis.seconds:.1f} seconds, in addition to {attacks:.1f} for the attacks"
    if diagnosis.mode == "fast":
        return f"Only the fast checks were made, in {took}; --checks=full attacks anew as well."
    return f"All checks took {took}."


def heading(check_name: str) -> str:
    """A check's name as words."""
    return check_name.replace("_", " ")


def manifest_rows(result: Findings, manifest: Manifest) -> list[tuple[str, str]]:
    """Names and values of what is needed to reproduce the evaluation."""
    names = manifest.class_names
    listed = ", ".join(names[:_NAMED_CLASSES]) + (", ..." if len(names) > _NAMED_CLASSES else "")
    data = (manifest.dataset, manifest.split, f"{result.num_examples} images")
    rows = [
        ("command", manifest.command),
        ("suite", manifest.suite),
        ("seed", str(result.seed)),
        ("data", ", ".join(filter(None, data))),
        ("image size", "x".join(map(str, image_shape(result)))),
        ("classes", f"{len(names)}: {listed}" if names else ""),
        ("data sha256", manifest.dataset_sha256),
        ("classifier sha256", manifest.classifier_sha256),
        *(("source of transfer", source) for source in manifest.sources),
        ("date", manifest.date),
        ("machine", machine()),
        *versions().items(),
    ]
    return [(name, value) for name, value in rows if value]


def image_shape(result: Findings) -> tuple[int, ...]:
    """Height, width and channels of the images."""
    return tuple(result.examples.clean_images.shape[1:])


def _plain(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
