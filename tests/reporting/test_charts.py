import dataclasses
import math

import numpy as np
import pytest

from fsgan_tf.reporting import charts
from fsgan_tf.results.findings import LossCurve
from tests.reports import EPSILON_CURVE, HOSTILE, LOSS_CURVES, Page, result

EPSILON = 8 / 255


def _percent(text):
    return float(text.removesuffix("%")) / 100


def _circles(page):
    return [
        [_percent(circle.attributes[name]) for name in ("cx", "cy")]
        for circle in page.all("circle")
    ]


def _corners(page):
    points = page.one("polyline").attributes["points"].split()
    return [[float(number) / 100 for number in point.split(",")] for point in points]


def test_bars_are_as_long_as_the_accuracies():
    page = Page(charts.accuracy_bars(result()))
    names = [text.text for text in page.all("text") if not text.has("text", "end")]
    assert names == ["clean", "pgd20", "square", "worst case"]
    assert [text.text for text in page.all("text", "end")] == [
        f"{accuracy}% of 40" for accuracy in (95.0, 75.0, 62.5, 62.5)
    ]
    bars = [rect for rect in page.all("rect") if not rect.has("rect", "track")]
    assert [(bar.attributes["class"], bar.attributes["width"]) for bar in bars] == [
        ("clean", "95.00%"),
        ("attack", "75.00%"),
        ("attack", "62.50%"),
        ("worst", "62.50%"),
    ]
    tops = [float(bar.attributes["y"]) for bar in bars]
    assert len(set(np.diff(tops))) == 1
    assert tops[-1] + float(bars[-1].attributes["height"]) < float(
        page.one("svg").attributes["height"]
    )


def test_a_long_name_leaves_its_percentage_room():
    plain = result()
    attack = dataclasses.replace(plain.attacks[0], name="a" * 99)
    page = Page(charts.accuracy_bars(dataclasses.replace(plain, attacks=(attack,))))
    assert page.all("text", "attack")[0].text == "a" * 19 + "…"
    assert "a" * 99 in page.one("desc").text


def test_the_interval_crosses_the_bar_of_the_worst_case():
    page = Page(charts.accuracy_bars(result()))
    low_end, high_end, span = (line.attributes for line in page.all("line", "interval"))
    assert low_end["x1"] == low_end["x2"] == span["x1"]
    assert high_end["x1"] == high_end["x2"] == span["x2"]
    low, high = result().confidence_interval_95
    assert (span["x1"], span["x2"]) == (f"{low:.2%}", f"{high:.2%}")
    bar = page.one("rect", "worst").attributes
    middle = float(bar["y"]) + float(bar["height"]) / 2
    assert float(span["y1"]) == float(span["y2"]) == middle


def test_accuracy_against_epsilon_is_where_it_was_measured():
    page = Page(charts.epsilon_chart(EPSILON_CURVE, EPSILON))
    across = np.sqrt(np.array(EPSILON_CURVE.epsilons) / 0.5)
    down = 1 - np.array(EPSILON_CURVE.accuracies)
    np.testing.assert_allclose(_circles(page), np.stack([across, down], axis=1), atol=1e-4)
    np.testing.assert_allclose(_corners(page), _circles(page), atol=1e-4)
    mark = page.one("line", "evaluated").attributes
    assert mark["x1"] == mark["x2"] == f"{across[2]:.2%}"
    assert page.one("text", "evaluated").text == "evaluated: 8/255"
    labels = [text.text for text in page.all("text")]
    assert labels[:5] == ["100%", "75%", "50%", "25%", "0%"]
    assert labels[5:11] == ["8", "0.031", "0", "0", "127.5", "0.5"]
    # 2/255 stands too close to 0 and to 8/255 for a narrow window.
    assert [text.text for text in page.all("text", "minor")] == ["2", "0.0078"]


def test_an_epsilon_beyond_the_curve_is_marked_too():
    page = Page(charts.epsilon_chart(EPSILON_CURVE, 1.0))
    assert page.one("line", "evaluated").attributes["x1"] == "100.00%"


def test_losses_rise_between_their_own_extremes():
    page = Page(charts.loss_chart(LOSS_CURVES[0], 0))
    expected = [[0, 1], [0.25, 0.5], [0.5, 0.25], [0.75, 0.125], [1, 0]]
    np.testing.assert_allclose(_corners(page), expected)
    assert [text.text for text in page.all("text")] == ["2.5", "0.5", "0", "4 steps"]
    assert _circles(page) == [[1, 0]]


@pytest.mark.parametrize(
    ("losses", "corners"),
    [
        ((math.nan, 1.0, math.inf, 2.0), [[1 / 3, 1], [1, 0]]),
        ((math.nan,) * 3, []),
        ((2.0, 2.0), [[0, 0.5], [1, 0.5]]),
        ((2.0,), [[0, 0.5]]),
    ],
    ids=["some not finite", "none finite", "flat", "no step"],
)
def test_losses_that_make_no_curve_still_make_a_chart(losses, corners):
    page = Page(charts.loss_chart(LossCurve("pgd", losses), 0))
    np.testing.assert_allclose(_corners(page), corners, atol=1e-4)


@pytest.mark.parametrize(
    ("chart", "said"),
    [
        (
            charts.accuracy_bars(result()),
            "clean 95.0%, pgd20 75.0%, square 62.5%, worst case 62.5% "
            "(95% interval 47.0% to 75.8%)",
        ),
        (
            charts.epsilon_chart(EPSILON_CURVE, EPSILON),
            "0/255 95.0%, 2/255 90.0%, 8/255 75.0%, 127.5/255 0.0%",
        ),
        (
            charts.loss_chart(LOSS_CURVES[1], 1),
            "-3 at the start, 1 half-way, 1 after 2 steps",
        ),
    ],
    ids=["bars", "epsilon", "loss"],
)
def test_charts_can_be_read_aloud(chart, said):
    page = Page(chart)
    svg = page.all("svg")[0].attributes
    assert svg["role"] == "img"
    described = {element.attributes.get("id"): element.text for element in page.elements}
    title, description = (described[name] for name in svg["aria-labelledby"].split())
    assert title == page.one("title").text != ""
    assert description == said


def test_a_hostile_name_is_a_name():
    page = Page(charts.loss_chart(LossCurve(HOSTILE, (0.0, 1.0)), 0))
    assert page.one("title").text == f"Loss of {HOSTILE} against its steps"
