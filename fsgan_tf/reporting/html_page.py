"""report.html: one page that a person can open anywhere, now or in ten years.

Everything is inside the file: no script, no font and no picture from elsewhere, which its content
security policy also enforces. Jinja2 escapes every word from outside (paths, commands, names).
"""

import base64
import re
from collections.abc import Sequence

import jinja2
import markupsafe
import numpy as np

from fsgan_tf.evaluation import summary
from fsgan_tf.evaluation.result import Check, Result
from fsgan_tf.reporting import charts, example_pictures, report_text
from fsgan_tf.reporting.manifest import Manifest

# Of a long word: what ends in separators, or 16 characters of anything.
_PIECE = r"[^/_=,.-]{1,16}[/_=,.-]*|[/_=,.-]+"
_LONG = 25
_MARKS = {"fail": "✕", "warn": "!", "pass": "✓", "skipped": "–"}


def page(result: Result, manifest: Manifest) -> str:
    """The content of report.html: a complete HTML 5 document."""
    curve, epsilon = result.diagnosis.epsilon_curve, result.threat_model.epsilon
    template = _environment().get_template("report.html")
    return template.render(
        result=result,
        manifest=manifest,
        verdict=summary.verdict(result),
        text=report_text,
        tried=report_text.tried(result, manifest),
        bars=_markup(charts.accuracy_bars(result)),
        epsilon_chart=curve and _markup(charts.epsilon_chart(curve, epsilon)),
        loss_charts=[
            (losses.attack, _markup(charts.loss_chart(losses, number)))
            for number, losses in enumerate(result.diagnosis.loss_curves)
        ],
        examples=example_pictures.pictures(
            result.examples, result.threat_model, manifest.class_names
        ),
        checks=_by_verdict(result.checks),
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fsgan_tf.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["marks"] = _MARKS
    environment.filters["with_flags"] = _with_flags
    environment.filters["breakable"] = _breakable
    environment.filters["data_uri"] = _data_uri
    return environment


def _markup(chart: str) -> markupsafe.Markup:
    """A chart, which escaped its own words."""
    return markupsafe.Markup(chart)  # noqa: S704


def _by_verdict(checks: Sequence[Check]) -> dict[str, list[Check]]:
    """The checks of each verdict that there are, the most serious first."""
    groups = {
        verdict: [check for check in checks if check.verdict == verdict]
        for verdict in report_text.HEADINGS
    }
    return {verdict: group for verdict, group in groups.items() if group}


def _with_flags(text: str) -> markupsafe.Markup:
    """Flags look like code, and no line ends within one."""
    escaped = str(markupsafe.escape(text))
    return markupsafe.Markup(re.sub(r"--[\w=]+", r'<code class="flag">\g<0></code>', escaped))  # noqa: S704


def _breakable(text: str) -> markupsafe.Markup:
    """A word of over 24 characters may end a line after a separator, or each 16 characters.

    The name of a flag never does, though browsers end lines after hyphens.
    """
    parts = re.split(r"(\S+)", text)
    return markupsafe.Markup("").join([*map(_breakable_word, parts)])


def _breakable_word(word: str) -> markupsafe.Markup:
    flag = match[0] if (match := re.match(r"'?--\w+=?", word)) else ""
    kept = markupsafe.Markup('<span class="flag">{}</span>').format(flag) if flag else ""
    rest = [word[len(flag) :]]
    if len(word) >= _LONG:
        rest = re.findall(_PIECE, rest[0])
    return markupsafe.Markup("<wbr>").join([*([kept] if flag else []), *rest])


def _data_uri(picture: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(example_pictures.png(picture)).decode()
