"""Bars of accuracies, as inline SVG for a page. Imports no TensorFlow.

Positions are shares of the width, as in `charts`; the classes are styled by `templates/report.css`.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence

from fsgan_tf.results.summary import share

_ROW_HEIGHT, _BAR_TOP, _BAR_HEIGHT, _TEXT_BASELINE = 46, 22, 12, 15
_LONGEST_NAME = 20  # Characters: what fits beside a percentage and a number in 300 pixels.


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
      kind: `clean`, `attack` or `worst`, which gives its colour.
      name: beside it.
      accuracy: its length, in [0, 1].
      count: number of examples.
      interval: a line across its end, in [0, 1]; None for none.
    """

    kind: str
    name: str
    accuracy: float
    count: int
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        words = f"{self.name} {self.accuracy:.1%}"
        if self.interval is None:
            return words
        return f"{words} (95% interval {self.interval[0]:.1%} to {self.interval[1]:.1%})"


def chart(title: str, drawn: Sequence[Bar]) -> str:
    """The bars below each other; intervals are drawn over them."""
    tops = [_ROW_HEIGHT * index for index in range(len(drawn))]
    rows = [
        _bar(bar.kind, bar.name, bar.accuracy, bar.count, top)
        for bar, top in zip(drawn, tops, strict=True)
    ]
    rows += [
        _interval(*bar.interval, top)
        for bar, top in zip(drawn, tops, strict=True)
        if bar.interval is not None
    ]
    return svg("bars", _ROW_HEIGHT * len(drawn), title, ", ".join(map(str, drawn)), "\n".join(rows))


def svg(name: str, height: int, title: str, description: str, content: str, style: str = "") -> str:
    """An inline SVG with a title and a description, for those who hear the page."""
    return f"""<svg class="{style}" role="img" aria-labelledby="{name}-title {name}-description"
 height="{height}">
<title id="{name}-title">{html.escape(title)}</title>
<desc id="{name}-description">{html.escape(description)}</desc>
{content}
</svg>"""


def _bar(kind: str, name: str, accuracy: float, count: int, top: int) -> str:
    baseline, bar = top + _TEXT_BASELINE, f'y="{top + _BAR_TOP}" height="{_BAR_HEIGHT}" rx="2"'
    shown = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return f"""<text class="{kind}" y="{baseline}">{html.escape(shown)}</text>
<text class="{kind} end" x="100%" y="{baseline}">{share(accuracy, count)}</text>
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
