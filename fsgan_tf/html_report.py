"""report.html: one page that a person can open anywhere, now or in ten years.

Everything is inside the file: no script, no font and no picture from elsewhere, which its content
security policy also enforces. Every word from outside (paths, commands, names) is escaped.

Source: ours. The colours are those of Okabe and Ito (2008), darkened or lightened for contrast;
words and marks say the same as the colours.
"""

import html
from collections.abc import Sequence

from fsgan_tf.attacks.result import Check, Result

# The most serious first, as the page lists them.
_MARKS = {"fail": "✕", "warn": "!", "pass": "✓", "skipped": "–"}

_ROW_HEIGHT, _BAR_TOP, _BAR_HEIGHT, _TEXT_BASELINE = 46, 22, 12, 15

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #fff; --ink: #1b1f23; --soft: #59616a; --line: #dde1e5; --panel: #f5f6f8;
  --clean: #7a828b; --attack: #0072b2; --worst: #c24f00;
  --pass: #00734f; --warn: #8a5a00; --fail: #b03a00; --skipped: #59616a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --ink: #e8eaed; --soft: #a3abb4; --line: #343a41; --panel: #1d2125;
    --clean: #8c949d; --attack: #56b4e9; --worst: #f0904a;
    --pass: #3fc49a; --warn: #e6b34a; --fail: #ff8a57; --skipped: #a3abb4;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 46rem;
  background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere;
}
h1 { margin: 0; font-size: 1rem; font-weight: 600; color: var(--soft); }
h2 { margin: 3rem 0 .75rem; font-size: 1.25rem; line-height: 1.25; }
p { margin: .5rem 0; }
code { font: .875em ui-monospace, monospace; }
.figure { margin: 1rem 0 0; font-size: 4rem; font-weight: 700; line-height: 1.1; }
.scope { font-size: 1.125rem; }
.note { color: var(--soft); font-size: .875rem; }
.verdict {
  display: flex; gap: .75rem; margin: 1.5rem 0; padding: .75rem 1rem; font-weight: 600;
  background: var(--panel); border-left: .25rem solid var(--verdict); border-radius: .25rem;
}
.mark {
  flex: none; width: 1.5rem; height: 1.5rem; border-radius: 50%;
  background: var(--verdict); color: var(--page);
  font-size: .875rem; font-weight: 700; line-height: 1.5rem; text-align: center;
}
.pass { --verdict: var(--pass); } .warn { --verdict: var(--warn); }
.fail { --verdict: var(--fail); } .skipped { --verdict: var(--skipped); }
svg { display: block; width: 100%; font-size: .9375rem; font-variant-numeric: tabular-nums; }
svg text { fill: var(--ink); }
.end { text-anchor: end; } text.worst { font-weight: 700; } .track { fill: var(--line); }
rect.clean { fill: var(--clean); } rect.attack { fill: var(--attack); }
rect.worst { fill: var(--worst); } .interval { stroke: var(--ink); stroke-width: 2; }
table {
  width: 100%; border-collapse: collapse; font-size: .9375rem; overflow-wrap: break-word;
}
th, td { padding: .5rem .75rem .5rem 0; text-align: left; vertical-align: top; }
tr { border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-size: .875rem; font-weight: 600; white-space: nowrap; }
td { font-variant-numeric: tabular-nums; }
td:first-child { font-weight: 600; }
ul { margin: 0; padding: 0; list-style: none; }
li { display: flex; gap: .75rem; padding: .75rem 0; border-bottom: 1px solid var(--line); }
li strong { margin-right: .5rem; }
li .word { color: var(--verdict); font-weight: 600; }
li p { margin: .125rem 0 0; font-size: .9375rem; }
dl { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: .375rem 1.25rem; }
dt { color: var(--soft); }
dd { margin: 0; }
@media (max-width: 36rem) {
  body { padding-top: 1.5rem; }
  table, tbody { display: block; }
  thead { display: none; }
  tr { display: flex; flex-wrap: wrap; gap: 0 1.25rem; padding: .5rem 0; }
  td { padding: 0; }
  td:not(:first-child)::before { content: attr(data-label) " "; color: var(--soft); }
  dl { display: block; }
  dd { margin-bottom: .5rem; }
}
"""


def page(
    result: Result,
    *,
    title: str,
    scope: str,
    perturbations: str,
    verdict: tuple[str, str],
    attack_header: Sequence[str],
    attack_rows: Sequence[Sequence[str]],
    attack_note: str,
    manifest_rows: Sequence[tuple[str, str]],
) -> str:
    """The content of report.html. Every text is plain: it is escaped here.

    Args:
      result: what was found.
      title: of the page.
      scope: what the worst-case accuracy is a share of, with its interval; goes on after it.
      perturbations: a sentence on the threat model.
      verdict: `pass`, `warn` or `fail`, and the sentence that says so.
      attack_header: a word for each column of `attack_rows`.
      attack_rows: a row for each attack, the name first.
      attack_note: how to read them.
      manifest_rows: names and values.

    Returns:
      A complete HTML 5 document.
    """
    level, sentence = verdict
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{html.escape(title)}</h1>
<p class="figure">{result.worst_case_accuracy:.1%}</p>
<p class="scope">{html.escape(scope)}; {result.clean_accuracy:.1%} without attack.</p>
<p class="verdict {level}">{_mark(level)}<span>{html.escape(sentence)}</span></p>
<p class="note">{html.escape(perturbations)}</p>
</header>
<main>
<h2>Accuracy</h2>
{_chart(result)}
<h2>Attacks</h2>
{_attack_table(attack_header, attack_rows)}
<p class="note">{html.escape(attack_note)}</p>
<h2>Checks</h2>
{_check_list(result.checks)}
<h2>Manifest</h2>
{_manifest_list(manifest_rows)}
</main>
</body>
</html>
"""


def _chart(result: Result) -> str:
    """Bars from 0 to 100% of the width; texts keep their size however narrow the window is."""
    bars = [("clean", "clean", result.clean_accuracy)]
    bars += [("attack", attack.name, attack.accuracy) for attack in result.attacks]
    bars += [("worst", "worst case", result.worst_case_accuracy)]
    low, high = result.confidence_interval_95
    description = ", ".join(f"{name} {accuracy:.1%}" for _, name, accuracy in bars)
    description += f" (95% interval {low:.1%} to {high:.1%})"
    rows = "\n".join(
        _bar(kind, name, accuracy, _ROW_HEIGHT * index)
        for index, (kind, name, accuracy) in enumerate(bars)
    )
    return f"""<svg role="img" aria-labelledby="chart-title chart-description"
 height="{_ROW_HEIGHT * len(bars)}">
<title id="chart-title">Accuracy without attack, under each attack and in the worst case</title>
<desc id="chart-description">{html.escape(description)}</desc>
{rows}
{_interval(low, high, _ROW_HEIGHT * (len(bars) - 1))}
</svg>
<p class="note">Share of all images, 0 to 100%.
The line across the worst case is its 95% interval.</p>"""


def _bar(kind: str, name: str, accuracy: float, top: int) -> str:
    baseline, bar = top + _TEXT_BASELINE, f'y="{top + _BAR_TOP}" height="{_BAR_HEIGHT}" rx="2"'
    return f"""<text class="{kind}" y="{baseline}">{html.escape(name)}</text>
<text class="{kind} end" x="100%" y="{baseline}">{accuracy:.1%}</text>
<rect class="track" width="100%" {bar}/>
<rect class="{kind}" width="{accuracy:.2%}" {bar}/>"""


def _interval(low: float, high: float, top: int) -> str:
    upper, lower = top + _BAR_TOP - 3, top + _BAR_TOP + _BAR_HEIGHT + 3
    middle = (upper + lower) / 2
    ends = [(low, low, upper, lower), (high, high, upper, lower), (low, high, middle, middle)]
    return "\n".join(
        f'<line class="interval" x1="{x1:.2%}" x2="{x2:.2%}" y1="{y1:g}" y2="{y2:g}"/>'
        for x1, x2, y1, y2 in ends
    )


def _attack_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
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
    order = list(_MARKS)
    items = "\n".join(
        f'<li class="{check.verdict}">{_mark(check.verdict)}<div>'
        f'<strong>{html.escape(check.name)}</strong><span class="word">{check.verdict}</span>'
        f"<p>{html.escape(check.detail)}</p></div></li>"
        for check in sorted(checks, key=lambda check: order.index(check.verdict))
    )
    return f"<ul>\n{items}\n</ul>"


def _manifest_list(rows: Sequence[tuple[str, str]]) -> str:
    items = "\n".join(
        f"<dt>{html.escape(name)}</dt><dd><code>{html.escape(value)}</code></dd>"
        for name, value in rows
    )
    return f"<dl>\n{items}\n</dl>"


def _mark(verdict: str) -> str:
    return f'<span class="mark" aria-hidden="true">{_MARKS[verdict]}</span>'
