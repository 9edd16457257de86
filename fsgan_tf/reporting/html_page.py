"""report.html: one page that a person can open anywhere, now or in ten years.

Everything is inside the file: no script, no font and no picture from elsewhere, which its content
security policy also enforces. Every word from outside (paths, commands, names) is escaped.
"""

import base64
import html
import re
from collections.abc import Sequence

import numpy as np

from fsgan_tf.evaluation.result import Check, Diagnosis, LossCurve, Result
from fsgan_tf.reporting import charts, example_pictures, report_text
from fsgan_tf.reporting.example_pictures import ExamplePicture
from fsgan_tf.reporting.html_style import STYLE
from fsgan_tf.reporting.report_text import Manifest

_MARKS = {"fail": "✕", "warn": "!", "pass": "✓", "skipped": "–"}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(result: Result, manifest: Manifest) -> str:
    """The content of report.html: a complete HTML 5 document."""
    title = html.escape(report_text.title(manifest))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{_headline(result, manifest)}
</header>
<main>
<h2>Accuracy</h2>
{charts.accuracy_bars(result)}
<p class="note">Share of all images, 0 to 100%.
The line across the worst case is its 95% interval.</p>
<h2>Attacks</h2>
{_table(report_text.ATTACK_HEADER, report_text.attack_rows(result))}
<p class="note">{report_text.ATTACK_NOTE}</p>
{_curves(result.diagnosis, result.threat_model.epsilon)}
{_examples(result, manifest.class_names)}
<h2>Checks</h2>
{_check_list(result.checks)}
<h2>Manifest</h2>
{_manifest_list(report_text.manifest_rows(result, manifest))}
</main>
</body>
</html>
"""


def _headline(result: Result, manifest: Manifest) -> str:
    level, sentence = report_text.verdict(result)
    return f"""<p class="headline">{result.worst_case_accuracy:.1%}</p>
<p class="scope">{html.escape(report_text.scope(result, manifest))}; {result.clean_accuracy:.1%}
without attack, {result.worst_case_accuracy_8bit:.1%} once adversarial images are rounded to 8 bits.
</p>
<p class="verdict {level}">{_mark(level)}<span>{html.escape(sentence)}</span></p>
<p class="note">{html.escape(report_text.perturbations(result.threat_model))}</p>"""


def _curves(diagnosis: Diagnosis, epsilon: float) -> str:
    """Sections of the curves that there are."""
    sections = []
    curve = diagnosis.epsilon_curve
    if curve is not None:
        sections.append(f"""<h2>Accuracy against epsilon</h2>
<figure>
{charts.epsilon_chart(curve, epsilon)}
<figcaption class="note">{html.escape(report_text.epsilon_note(curve))} Across: epsilon in 255ths,
and in pixel units below, at its square root.</figcaption>
</figure>
<details><summary>As a table</summary>
{_table(report_text.EPSILON_HEADER, report_text.epsilon_rows(curve, epsilon))}
</details>""")
    if diagnosis.loss_curves:
        sections.append(f"""<h2>Loss of the attacks</h2>
<div class="losses">
{_losses(diagnosis.loss_curves)}
</div>
<p class="note">{report_text.LOSS_NOTE}</p>""")
    return "\n".join(sections)


def _losses(curves: Sequence[LossCurve]) -> str:
    return "\n".join(
        f"<figure><figcaption>{html.escape(curve.attack)}</figcaption>\n"
        f"{charts.loss_chart(curve, number)}</figure>"
        for number, curve in enumerate(curves)
    )


def _examples(result: Result, class_names: Sequence[str]) -> str:
    shown = example_pictures.pictures(result.examples, result.threat_model, class_names)
    if not shown:
        return "<h2>Adversarial examples</h2>\n<p>No attack fooled the classifier.</p>"
    items = "\n".join(map(_example, shown))
    return f"""<h2>Adversarial examples</h2>
<p class="note">{len(shown)} of the {len(result.examples.indices)} found: the image, the adversarial
image, and the perturbation, magnified: grey is none, black and white are the whole of epsilon.</p>
<div class="examples">
{items}
</div>"""


def _example(example: ExamplePicture) -> str:
    true, predicted = html.escape(example.true_class), html.escape(example.predicted_class)
    tiles = [
        (f"{true}, image {example.index}", example.clean),
        (f"the same, taken for {predicted}", example.adversarial),
        ("the perturbation, magnified", example.perturbation),
    ]
    images = "\n".join(
        f'<img alt="{words}" src="{_data_uri(picture)}">' for words, picture in tiles
    )
    return f"""<figure><div class="triple">
{images}
</div>
<figcaption><strong>{true} → {predicted}</strong>
<span>by {html.escape(example.attack)}, image {example.index}</span></figcaption></figure>"""


def _data_uri(picture: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(example_pictures.png(picture)).decode()


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    labels = [html.escape(label) for label in header]
    head = "".join(f'<th scope="col">{label}</th>' for label in labels)
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<td data-label="{label}">{html.escape(cell)}</td>'
            for label, cell in zip(labels, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _check_list(checks: Sequence[Check]) -> str:
    """A list for each verdict, the most serious first."""
    groups = []
    for verdict, heading in report_text.VERDICTS.items():
        of_verdict = [check for check in checks if check.verdict == verdict]
        if of_verdict:
            items = "\n".join(map(_check, of_verdict))
            groups.append(
                f'<h3>{heading} ({len(of_verdict)})</h3>\n<ul class="{verdict}">\n{items}\n</ul>'
            )
    return "\n".join(groups) or "<p>No check was run.</p>"


def _check(check: Check) -> str:
    advice = f'<p class="advice">{_with_flags(check.advice)}</p>' if check.advice else ""
    return (
        f"<li>{_mark(check.verdict)}<div><strong>{html.escape(check.name)}</strong>"
        f"<p>{_with_flags(check.detail)}</p>{advice}</div></li>"
    )


def _with_flags(text: str) -> str:
    """Flags look like code, and no line ends within one."""
    return re.sub(r"--\w+", r"<code>\g<0></code>", html.escape(text))


def _manifest_list(rows: Sequence[tuple[str, str]]) -> str:
    items = "\n".join(
        f"<dt>{html.escape(name)}</dt><dd><code>{html.escape(value)}</code></dd>"
        for name, value in rows
    )
    return f"<dl>\n{items}\n</dl>"


def _mark(verdict: str) -> str:
    return f'<span class="mark" aria-hidden="true">{_MARKS[verdict]}</span>'
