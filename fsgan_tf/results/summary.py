"""What a result amounts to: one verdict, and the table that a terminal shows.

Imports no TensorFlow, so that results are compared without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fsgan_tf.attacks.suites import SUITES

if TYPE_CHECKING:
    from fsgan_tf.results.findings import Check, Findings

TRUSTWORTHY = "trustworthy"
UPPER_BOUND = "upper bound"
NO_FIGURE = "not a robustness figure"

# Share of all images that an attack on a sample may leave open in a trustworthy figure: a point,
# within which half the width of the interval lies for thousands of images.
_LITTLE = 0.01

# The checks' verdicts, the most serious first.
LEVELS = ("fail", "warn", "skipped", "pass")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether to believe a robust accuracy.

    Attributes:
      name: `trustworthy`, `upper bound` or `not a robustness figure`.
      level: the most serious verdict of a check: `fail`, `warn`, `pass`, or `skipped` where no
        check was run; `warn` too where stronger attacks were not tried.
      sentence: why, in words of the check that decided, with its advice.
    """

    name: str
    level: str
    sentence: str


def verdict(result: Findings) -> Verdict:
    """One failed check makes the figure none; one that warns makes it an upper bound.

    So do attacks weaker than the strong suite's, and checks left out.
    """
    if not result.checks:
        return Verdict(
            UPPER_BOUND,
            "skipped",
            "No check was run, so nothing says how far below it the true figure lies.",
        )
    for level, name in (("fail", NO_FIGURE), ("warn", UPPER_BOUND)):
        decisive = [check for check in result.checks if check.verdict == level]
        if decisive:
            return Verdict(name, level, _words(decisive))
    if result.diagnosis.mode != "full":
        return Verdict(
            UPPER_BOUND,
            "warn",
            "No check speaks against it, but only the fast ones were made, which attack nothing "
            "anew: run --checks=full.",
        )
    return _of_the_attacks(result)


def _of_the_attacks(result: Findings) -> Verdict:
    """What the attacks earn where no check speaks against the figure.

    All of the strong suite's earn trust. So do the strongest suite's, which climb better and try
    Square on a sample, as long as what Square may fool of the rest is little.
    """
    names = {attack.name for attack in result.attacks}
    if set(SUITES["strong"].attacks) <= names:
        return Verdict(
            TRUSTWORTHY, "pass", "The strong suite ran, and no check speaks against the figure."
        )
    if set(SUITES["strongest"].attacks) <= names:
        unseen = max(attack.most_unseen_fooled for attack in result.attacks)
        points = unseen / result.num_examples
        bound = (
            f"Square saw only a sample, and with 95% confidence would take at most "
            f"{100 * points:.1f} points more"
        )
        ran = f"The strongest suite ran, and no check speaks against the figure; {bound}"
        if points <= _LITTLE:
            return Verdict(TRUSTWORTHY, "pass", f"{ran}.")
        return Verdict(UPPER_BOUND, "warn", f"{ran}: run --suite=strong too, which attacks all.")
    *others, last = [attack.name for attack in result.attacks] or ["no attack"]
    tried = f"{', '.join(others)} and {last} were" if others else f"{last} was"
    return Verdict(
        UPPER_BOUND,
        "warn",
        f"No check speaks against it, but only {tried} tried, and stronger attacks often lower "
        "the figure: run --suite=strong next.",
    )


def share(accuracy: float, count: int) -> str:
    """An accuracy beside the number of examples that it is a share of: `62.5% of 40`."""
    return f"{accuracy:.1%} of {count}"


def ordered(checks: Sequence[Check]) -> list[Check]:
    """The checks, the most serious verdict first."""
    return sorted(checks, key=lambda check: LEVELS.index(check.verdict))


def table(result: Findings) -> str:
    """The verdict, an accuracy a line, and what the checks object to."""
    found = verdict(result)
    rows = [("clean", result.clean_accuracy)]
    rows += [(attack.name, attack.accuracy) for attack in result.attacks]
    rows += [("worst case", result.worst_case_accuracy)]
    width = max(12, *(len(name) for name, _ in rows))
    low, high = result.confidence_interval_95
    lines = [f"verdict: {found.name}"]
    if not any(check.verdict in ("fail", "warn") for check in result.checks):
        lines[0] += f". {found.sentence}"
    lines += [
        f"{name:<{width}} {accuracy:>6.1%} of {result.num_examples}" for name, accuracy in rows
    ]
    lines[-1] += f"  (95% interval {low:.1%} to {high:.1%})"
    lines += [_at_radius(radius.result, width) for radius in reversed(result.smaller)]
    if result.randomness:
        lines.append(str(result.randomness))
    lines += [
        f"{check.verdict}: {check.detail} {check.advice}".rstrip()
        for check in ordered(result.checks)
        if check.verdict in ("fail", "warn")
    ]
    return "\n".join(lines)


def _at_radius(result: Findings, width: int) -> str:
    low, high = result.confidence_interval_95
    name = f"at {result.threat_model.radius_text}"
    return (
        f"{name:<{width}} {share(result.worst_case_accuracy, result.num_examples):>6}"
        f"  (95% interval {low:.1%} to {high:.1%})"
    )


def _words(checks: Sequence[Check]) -> str:
    """The first check's own words, and how many others have the same verdict."""
    first = f"{checks[0].detail} {checks[0].advice}".rstrip()
    if len(checks) == 1:
        return first
    others, did = len(checks) - 1, "failed" if checks[0].verdict == "fail" else "warned"
    return f"{first} ({others} more {'check' if others == 1 else 'checks'} {did}.)"
