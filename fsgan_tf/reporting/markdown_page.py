"""report.md: the whole report for a terminal, a code host and TensorBoard."""

import re
from collections.abc import Sequence

from fsgan_tf.evaluation import summary
from fsgan_tf.evaluation.result import Diagnosis, Result
from fsgan_tf.reporting import report_text
from fsgan_tf.reporting.manifest import Manifest


def page(result: Result, manifest: Manifest) -> str:
    """The content of report.md; words from outside stay words."""
    verdict = summary.verdict(result)
    tried, next_command = report_text.tried(result, manifest)
    sections = [
        f"# {_escaped(report_text.title(manifest))}",
        f"**Verdict: {verdict.name}.** {_escaped(verdict.sentence)}",
        f"**{result.worst_case_accuracy:.1%}** {_escaped(report_text.scope(result, manifest))}; "
        f"**{result.clean_accuracy:.1%}** without attack, "
        f"**{result.worst_case_accuracy_8bit:.1%}** once adversarial images are rounded to 8 bits.",
        _escaped(f"{report_text.perturbations(result.threat_model)} {manifest.date}."),
        " ".join([_escaped(tried), *([f"Next: {_code(next_command)}"] if next_command else [])]),
        "## Attacks",
        _table(report_text.ATTACK_HEADER, report_text.attack_rows(result)),
        report_text.ATTACK_NOTE,
        *_classes(result, manifest),
        *_curves(result.diagnosis, result.threat_model.epsilon),
        "## Checks",
        report_text.checks_note(result),
        _table(
            ("check", "verdict", "what was seen", "advice"),
            [
                (report_text.heading(check.name), check.verdict, check.detail, check.advice)
                for check in summary.ordered(result.checks)
            ],
        ),
        "## For a model card",
        _escaped(report_text.model_card(result, manifest)),
        "## Manifest",
        _table(
            ("what", "value"),
            report_text.manifest_rows(result, manifest),
            code_column=1,
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _classes(result: Result, manifest: Manifest) -> list[str]:
    rows = report_text.class_rows(result, manifest)
    return ["## Classes", _table(report_text.CLASS_HEADER, rows)] if rows else []


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
