"""report.md: the whole report for a terminal, a code host and TensorBoard."""

import re
from collections.abc import Sequence

from fsgan_tf.evaluation.result import Diagnosis, Result
from fsgan_tf.reporting import report_text
from fsgan_tf.reporting.report_text import Manifest


def page(result: Result, manifest: Manifest) -> str:
    """The content of report.md; words from outside stay words."""
    level, verdict = report_text.verdict(result)
    sections = [
        f"# {_escaped(report_text.title(manifest))}",
        f"**{result.worst_case_accuracy:.1%}** {_escaped(report_text.scope(result, manifest))}; "
        f"**{result.clean_accuracy:.1%}** without attack, "
        f"**{result.worst_case_accuracy_8bit:.1%}** once adversarial images are rounded to 8 bits.",
        _escaped(verdict) if level == "pass" else f"**{_escaped(verdict)}**",
        _escaped(report_text.perturbations(result.threat_model)),
        "## Attacks",
        _table(report_text.ATTACK_HEADER, report_text.attack_rows(result)),
        report_text.ATTACK_NOTE,
        *_curves(result.diagnosis, result.threat_model.epsilon),
        "## Checks",
        _table(
            ("check", "verdict", "what was seen", "advice"),
            [
                (check.name, check.verdict, check.detail, check.advice)
                for check in report_text.ordered(result.checks)
            ],
        ),
        "## Manifest",
        _table(
            ("what", "value"),
            report_text.manifest_rows(result, manifest),
            code_column=1,
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _curves(diagnosis: Diagnosis, epsilon: float) -> list[str]:
    """Sections of the curves that there are."""
    sections = []
    curve = diagnosis.epsilon_curve
    if curve is not None:
        sections += [
            "## Accuracy against epsilon",
            _table(report_text.EPSILON_HEADER, report_text.epsilon_rows(curve, epsilon)),
            _escaped(report_text.epsilon_note(curve)),
        ]
    if diagnosis.loss_curves:
        sections += [
            "## Loss of the attacks",
            _table(report_text.LOSS_HEADER, report_text.loss_rows(diagnosis.loss_curves)),
            report_text.LOSS_NOTE,
        ]
    return sections


def _table(
    header: tuple[str, ...], rows: Sequence[tuple[str, ...]], code_column: int | None = None
) -> str:
    lines = [header, ("---",) * len(header)]
    lines += [
        tuple(
            _code(cell) if column == code_column else _escaped(cell)
            for column, cell in enumerate(row)
        )
        for row in rows
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(text: str) -> str:
    """On one line; without what Markdown or the HTML in it would take for markup."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*|]|\](?=[(\[]))", r"\\\1", plain)


def _code(text: str) -> str:
    """A code span that fits in a table, whatever is in it."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    content = " ".join(text.split()).replace("|", "\\|")
    return f"{fence}{space}{content}{space}{fence}"
