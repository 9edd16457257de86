"""report.html: one page that a person can open anywhere, now or in ten years.

Everything is inside the file: no script, no font and no picture from elsewhere, which its content
security policy also enforces. Jinja2 escapes every word from outside (paths, commands, names).
"""

import base64
from collections.abc import Sequence

import numpy as np

from fsgan_tf.reporting import charts, example_pictures, report_text, templating
from fsgan_tf.reporting.manifest import Manifest
from fsgan_tf.reporting.templating import markup
from fsgan_tf.results import summary
from fsgan_tf.results.findings import Check, Findings

_MARKS = {"fail": "✕", "warn": "!", "pass": "✓", "skipped": "–"}


def page(result: Findings, manifest: Manifest) -> str:
    """The content of report.html: a complete HTML 5 document."""
    curve, ball = result.diagnosis.epsilon_curve, result.threat_model
    return templating.render(
        "report.html",
        result=result,
        manifest=manifest,
        verdict=summary.verdict(result),
        text=report_text,
        tried=report_text.tried(result, manifest),
        bars=markup(charts.accuracy_bars(result)),
        epsilon_chart=curve and markup(charts.epsilon_chart(curve, ball.epsilon, norm=ball.norm)),
        radii_chart=result.smaller
        and markup(
            charts.epsilon_chart(
                report_text.radii_curve(result),
                ball.epsilon,
                "radii",
                "Worst case at each radius",
                norm=ball.norm,
            )
        ),
        loss_charts=[
            (losses.attack, markup(charts.loss_chart(losses, number)))
            for number, losses in enumerate(result.diagnosis.loss_curves)
        ],
        examples=example_pictures.pictures(
            result.examples, result.threat_model, manifest.class_names
        ),
        checks=_by_verdict(result.checks),
        marks=_MARKS,
        data_uri=_data_uri,
    )


def _by_verdict(checks: Sequence[Check]) -> dict[str, list[Check]]:
    """The checks of each verdict that there are, the most serious first."""
    groups = {
        verdict: [check for check in checks if check.verdict == verdict]
        for verdict in summary.LEVELS
    }
    return {verdict: group for verdict, group in groups.items() if group}


def _data_uri(picture: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(example_pictures.png(picture)).decode()
