"""report.md: the whole report for a terminal, a code host and TensorBoard."""

from fsgan_tf.reporting import report_text
from fsgan_tf.reporting.manifest import Manifest
from fsgan_tf.reporting.markdown import code, escaped, table
from fsgan_tf.results import summary
from fsgan_tf.results.findings import Diagnosis, Findings
from fsgan_tf.threat_model import ThreatModel


def page(result: Findings, manifest: Manifest) -> str:
    """The content of report.md; text from outside is shown as it is."""
    verdict = summary.verdict(result)
    tried, next_command = report_text.tried(result, manifest)
    sections = [
        f"# {escaped(report_text.title(manifest))}",
        f"**Verdict: {verdict.name}.** {escaped(verdict.sentence)}",
        f"**{result.worst_case_accuracy:.1%}** {escaped(report_text.scope(result, manifest))}; "
        f"**{result.clean_accuracy:.1%}** without attack, "
        f"at most **{result.worst_case_accuracy_8bit:.1%}** once adversarial images are rounded "
        "to 8 bits (no attack searched among rounded images).",
        escaped(f"{report_text.perturbations(result.threat_model)} {manifest.date}."),
        " ".join([escaped(tried), *([f"Next: {code(next_command)}"] if next_command else [])]),
        *([escaped(str(result.randomness))] if result.randomness else []),
        "## Attacks",
        table(report_text.ATTACK_HEADER, report_text.attack_rows(result)),
        report_text.attack_note(result),
        *_radii(result),
        *_classes(result, manifest),
        *_curves(result.diagnosis, result.threat_model),
        "## Checks",
        report_text.checks_note(result),
        table(
            ("check", "verdict", "what was seen", "advice"),
            [
                (report_text.heading(check.name), check.verdict, check.detail, check.advice)
                for check in summary.ordered(result.checks)
            ],
        ),
        "## For a model card",
        escaped(report_text.model_card(result, manifest)),
        "## Manifest",
        table(
            ("what", "value"),
            report_text.manifest_rows(result, manifest),
            code_column=1,
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _radii(result: Findings) -> list[str]:
    if not result.smaller:
        return []
    rows = report_text.radii_rows(result)
    return [
        "## Several radii",
        table(report_text.radii_header(result), rows),
        report_text.RADII_NOTE,
    ]


def _classes(result: Findings, manifest: Manifest) -> list[str]:
    rows = report_text.class_rows(result, manifest)
    return ["## Classes", table(report_text.CLASS_HEADER, rows)] if rows else []


def _curves(diagnosis: Diagnosis, threat_model: ThreatModel) -> list[str]:
    """Sections of the curves that there are."""
    sections = []
    curve = diagnosis.epsilon_curve
    if curve is not None:
        sections += [
            "## Accuracy against epsilon",
            table(
                report_text.epsilon_header(threat_model.norm),
                report_text.epsilon_rows(curve, threat_model),
            ),
            escaped(report_text.epsilon_note(curve)),
        ]
    if diagnosis.loss_curves:
        sections += [
            "## Loss of the attacks",
            table(report_text.LOSS_HEADER, report_text.loss_rows(diagnosis.loss_curves)),
            report_text.LOSS_NOTE,
        ]
    return sections
