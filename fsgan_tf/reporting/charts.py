"""The charts of report.html, as inline SVG.

Positions are shares of the width, so that a chart is as wide as its column while its text keeps its
size. Every chart has a title and a description that says its figures, for those who hear the page.
The classes are styled by `templates/report.css`.
"""

import math
from collections.abc import Sequence

from fsgan_tf import norms
from fsgan_tf.reporting import bars, report_text
from fsgan_tf.results.findings import EpsilonCurve, Findings, LossCurve

_EPSILON_HEIGHT, _LOSS_HEIGHT = 220, 110
# Of the width: a label of five characters, in a narrow window and in a wide one.
_TICK_GAP, _MINOR_TICK_GAP = 0.16, 0.07


def accuracy_bars(result: Findings) -> str:
    """Accuracy without attack, under each attack and in the worst case, with its interval."""
    count = result.num_examples
    drawn = [bars.Bar("clean", "clean", result.clean_accuracy, count)]
    drawn += [bars.Bar("attack", attack.name, attack.accuracy, count) for attack in result.attacks]
    worst = (result.worst_case_accuracy, count, result.confidence_interval_95)
    drawn.append(bars.Bar("worst", "worst case", *worst))
    return bars.chart("Accuracy without attack, under each attack and in the worst case", drawn)


def epsilon_chart(
    curve: EpsilonCurve,
    epsilon: float,
    name: str = "epsilon",
    title: str = "Accuracy against epsilon",
    *,
    norm: str = "linf",
) -> str:
    """Accuracy against the radius; a dashed line marks `epsilon`, the one evaluated.

    `name` tells the page's charts apart.

    Radii grow about geometrically from 0, so they stand at the square root of their share.
    """
    widest = max(*curve.epsilons, epsilon)

    def place(radius: float) -> float:
        return math.sqrt(radius / widest)

    points = [
        (place(radius), 1 - accuracy)
        for radius, accuracy in zip(curve.epsilons, curve.accuracies, strict=True)
    ]
    marked = place(epsilon)
    radii = {place(radius): radius for radius in (epsilon, 0.0, widest, *curve.epsilons)}
    places = list(radii)
    ticks = _spread(places, _TICK_GAP)
    minor_ticks = _spread([*ticks, *places], _MINOR_TICK_GAP)[len(ticks) :]
    description = ", ".join(
        f"{norms.radius_text(norm, radius)} {accuracy:.1%}"
        for radius, accuracy in zip(curve.epsilons, curve.accuracies, strict=True)
    )
    parts = [
        *(_gridline(y, f"{1 - y:.0%}") for y in (0, 0.25, 0.5, 0.75, 1)),
        *(_epsilon_tick(x, radii[x], norm) for x in ticks),
        *(_epsilon_tick(x, radii[x], norm, "minor") for x in minor_ticks),
        f'<line class="evaluated" x1="{marked:.2%}" x2="{marked:.2%}" y2="100%"/>',
        _text(marked, "0%", "-.6em", f"evaluated: {norms.radius_text(norm, epsilon)}", "evaluated"),
        _path(points),
        *(f'<circle cx="{x:.2%}" cy="{y:.2%}" r="4"/>' for x, y in points),
    ]
    return bars.svg(name, _EPSILON_HEIGHT, title, description, "\n".join(parts), "plot tall")


def loss_chart(curve: LossCurve, number: int) -> str:
    """Loss against step, between its own extremes; `number` tells the page's charts apart.

    Losses that are not finite are left out.
    """
    finite = [(step, loss) for step, loss in enumerate(curve.losses) if math.isfinite(loss)]
    low = min((loss for _, loss in finite), default=math.nan)
    high = max((loss for _, loss in finite), default=math.nan)
    steps = len(curve.losses) - 1
    points = [(step / max(steps, 1), 1 - _share(loss, low, high)) for step, loss in finite]
    parts = [
        _gridline(0, f"{high:.3g}"),
        _gridline(1, f"{low:.3g}"),
        _text(0, "100%", "1.4em", "0"),
        _text(1, "100%", "1.4em", f"{steps} steps"),
        _path(points),
        *(f'<circle cx="{x:.2%}" cy="{y:.2%}" r="4"/>' for x, y in points[-1:]),
    ]
    _, _, *losses = report_text.loss_rows([curve])[0]
    start, half, end = losses
    description = f"{start} at the start, {half} half-way, {end} after {steps} steps"
    title = f"Loss of {curve.attack} against its steps"
    return bars.svg(f"loss-{number}", _LOSS_HEIGHT, title, description, "\n".join(parts), "plot")


def _gridline(y: float, label: str) -> str:
    """A line across the plot, with its label outside on the left."""
    return (
        f'<line class="grid" x2="100%" y1="{y:.0%}" y2="{y:.0%}"/>'
        f'<text class="end" x="-8" y="{y:.0%}" dy=".35em">{label}</text>'
    )


def _epsilon_tick(x: float, radius: float, norm: str, style: str = "") -> str:
    """A radius below the plot; in l_inf in 255ths, and in pixel units below that."""
    if norm != "linf":
        return _text(x, "100%", "1.4em", f"{radius:.3g}", style)
    in_255ths = norms.radius_text(norm, radius).removesuffix("/255")
    in_pixel_units = f"{radius:.2g}"
    return "\n".join(
        [
            _text(x, "100%", "1.4em", in_255ths, style),
            _text(x, "100%", "2.8em", in_pixel_units, style),
        ]
    )


def _text(x: float, y: str, dy: str, words: str, style: str = "") -> str:
    """Words centred on `x`, but never beyond the plot's sides."""
    anchor = "start" if x < 0.1 else "end" if x > 0.9 else "middle"
    return f'<text class="{style} {anchor}" x="{x:.2%}" y="{y}" dy="{dy}">{words}</text>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    """A line through points in [0, 1], from the upper left corner of the whole plot."""
    corners = " ".join(f"{100 * x:.2f},{100 * y:.2f}" for x, y in points)
    return (
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">'
        f'<polyline points="{corners}" vector-effect="non-scaling-stroke"/></svg>'
    )


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """The places whose labels do not overlap; earlier ones win."""
    kept: list[float] = []
    for place in places:
        if all(abs(place - other) >= gap for other in kept):
            kept.append(place)
    return kept


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5
