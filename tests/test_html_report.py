import dataclasses
import re
from html.parser import HTMLParser
from urllib.parse import urlparse

import numpy as np
import pytest

from fsgan_tf import report
from fsgan_tf.attacks.result import AttackResult, Check, Diagnosis, Result
from fsgan_tf.threat_model import ThreatModel
from tests.attacks.test_result import no_examples

HOSTILE = "<script>alert('&')</script>\"><img src=x>"
MANIFEST = report.Manifest(
    model="runs/a",
    dataset="digits",
    split="test",
    classifier_sha256="ab" * 32,
    command="python -m fsgan_tf.evaluate --run_dir='runs/a b'",
)
VOID = {"meta", "link", "img", "br", "hr", "input"}


@dataclasses.dataclass
class Element:
    tag: str
    attributes: dict
    text: str = ""

    def has(self, tag, class_name):
        return self.tag == tag and class_name in self.attributes.get("class", "").split()


class Page(HTMLParser):
    """The elements in the order in which they start; fails on tags that do not balance."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs)
        self.elements.append(Element(tag, attributes))

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        for element in self.open:
            element.text += data

    def all(self, tag, class_name=None):
        found = [element for element in self.elements if element.tag == tag]
        return [element for element in found if class_name is None or element.has(tag, class_name)]

    def one(self, tag, class_name=None):
        (element,) = self.all(tag, class_name)
        return element


def _attack(name, fooled, accuracy, standalone):
    return AttackResult(
        name=name,
        parameters={"num_steps": 20, "step_size": 2 / 255},
        accuracy=accuracy,
        accuracy_8bit=accuracy,
        standalone=standalone,
        seconds=1.25,
        fooled=fooled,
        fooled_8bit=fooled,
        refused=0,
    )


def _result(*verdicts):
    """Of 40 images 38 are clean, 30 withstand pgd20 and 25 withstand square as well."""
    index = np.arange(40)
    return Result(
        ThreatModel(8 / 255),
        seed=3,
        clean_correct=index < 38,
        attacks=(
            _attack("pgd20", index >= 30, 0.75, standalone=True),
            _attack("square", (index >= 25) & (index < 30), 0.625, standalone=False),
        ),
        examples=no_examples(),
        diagnosis=Diagnosis(
            tuple(
                Check(f"check_{number}", verdict, f"Detail {number}.")
                for number, verdict in enumerate(verdicts)
            )
        ),
    )


def _page(*verdicts):
    return Page(report.as_html(_result(*verdicts), MANIFEST))


def test_headline():
    page = _page("pass")
    assert page.one("h1").text == "Robustness of runs/a"
    assert page.one("p", "figure").text == "62.5%"
    # Wilson interval of 25 in 40, worked out by hand.
    assert page.one("p", "scope").text == (
        "of 40 images (digits, test) are classified correctly under every attack "
        "(95% interval 47.0% to 75.8%); 95.0% without attack."
    )
    assert "at most 0.031373 (8/255), pixels in [0, 1]." in page.all("p", "note")[0].text


@pytest.mark.parametrize(
    ("verdicts", "level", "sentence"),
    [
        (["pass", "skipped"], "pass", "No check speaks against the figure."),
        (["pass", "warn"], "warn", "Read this figure with care: warned by check_1."),
        (["warn", "fail"], "fail", "Do not trust this figure: failed check_1."),
    ],
)
def test_the_headline_says_whether_to_believe_it(verdicts, level, sentence):
    verdict = _page(*verdicts).one("p", "verdict")
    assert verdict.attributes["class"] == f"verdict {level}"
    assert verdict.text.endswith(sentence)


def test_bars_are_as_long_as_the_accuracies():
    page = _page()
    names = [text.text for text in page.all("text") if not text.has("text", "end")]
    assert names == ["clean", "pgd20", "square", "worst case"]
    assert [text.text for text in page.all("text", "end")] == ["95.0%", "75.0%", "62.5%", "62.5%"]
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


def test_the_interval_crosses_the_bar_of_the_worst_case():
    page = _page()
    low_end, high_end, span = (line.attributes for line in page.all("line", "interval"))
    assert low_end["x1"] == low_end["x2"] == span["x1"]
    assert high_end["x1"] == high_end["x2"] == span["x2"]
    low, high = _result().confidence_interval_95
    assert (span["x1"], span["x2"]) == (f"{low:.2%}", f"{high:.2%}")
    bar = page.one("rect", "worst").attributes
    middle = float(bar["y"]) + float(bar["height"]) / 2
    assert float(span["y1"]) == float(span["y2"]) == middle


def test_the_picture_can_be_read_aloud():
    page = _page()
    svg = page.one("svg").attributes
    assert svg["role"] == "img"
    described = {element.attributes.get("id"): element.text for element in page.elements}
    title, description = (described[name] for name in svg["aria-labelledby"].split())
    assert title.startswith("Accuracy")
    assert description == (
        "clean 95.0%, pgd20 75.0%, square 62.5%, worst case 62.5% (95% interval 47.0% to 75.8%)"
    )


def test_attack_table():
    page = _page()
    header = [cell.text for cell in page.all("th")]
    assert header == ["attack", "accuracy", "stand-alone", "seconds", "parameters"]
    parameters = "num_steps 20, step_size 0.0078431"
    cells = page.all("td")
    assert [cell.text for cell in cells] == [
        *("pgd20", "75.0%", "yes", "1.2", parameters),
        *("square", "62.5%", "no", "1.2", parameters),
    ]
    assert [cell.attributes["data-label"] for cell in cells] == header * 2


def test_checks_that_speak_against_the_figure_come_first():
    items = _page("pass", "skipped", "warn", "fail").all("li")
    assert [(item.attributes["class"], item.text) for item in items] == [
        ("fail", "✕check_3failDetail 3."),
        ("warn", "!check_2warnDetail 2."),
        ("pass", "✓check_0passDetail 0."),
        ("skipped", "–check_1skippedDetail 1."),
    ]


def test_manifest():
    page = _page()
    values = [element.text for element in page.all("dd")]
    manifest = dict(zip([element.text for element in page.all("dt")], values, strict=True))
    content = report.as_json(_result(), MANIFEST)
    assert manifest == {
        "command": MANIFEST.command,
        "seed": "3",
        "classifier sha256": "ab" * 32,
        **content["versions"],
    }


def test_words_from_outside_are_words():
    result = _result()
    result = dataclasses.replace(
        result,
        diagnosis=Diagnosis((Check(HOSTILE, "fail", HOSTILE),)),
        attacks=(
            dataclasses.replace(
                result.attacks[0], name=HOSTILE, parameters={HOSTILE: HOSTILE, "source": HOSTILE}
            ),
        ),
    )
    manifest = report.Manifest(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    page = Page(report.as_html(result, manifest))
    assert not page.all("script")
    assert not page.all("img")
    body = page.one("body").text
    # Title, scope (2), verdict, picture (2), table (4), check (2), manifest (2).
    assert body.count(HOSTILE) == 14


def test_nothing_comes_from_elsewhere():
    text = report.as_html(_result("pass"), MANIFEST)
    page = Page(text)
    policy = [meta for meta in page.all("meta") if "http-equiv" in meta.attributes]
    assert [meta.attributes["content"] for meta in policy] == [
        "default-src 'none'; style-src 'unsafe-inline'"
    ]
    assert not {"script", "link", "img", "iframe"} & {element.tag for element in page.elements}
    for element in page.elements:
        assert not {"src", "href"} & set(element.attributes)
        assert not any(urlparse(value).netloc for value in element.attributes.values())
    assert not re.search(r"url\(|@import|@font-face", page.one("style").text)


def test_light_and_dark_name_the_same_colours():
    style = _page().one("style").text
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    names = [set(re.findall(r"--[\w]+(?=:)", colours)) for colours in (light, dark)]
    assert names[0] == names[1]
    assert set(re.findall(r"var\((--\w+)\)", style)) == names[0] | {"--verdict"}


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_and_bars_stand_out_from_the_page(scheme):
    colours = re.findall(r":root \{(.*?)\}", _page().one("style").text, re.DOTALL)[scheme]
    colour = dict(re.findall(r"--(\w+): (#\w+)", colours))
    for word in ("ink", "soft", "pass", "warn", "fail", "skipped"):
        assert _contrast(colour[word], colour["page"]) >= 4.5
    for bar in ("clean", "attack", "worst"):
        assert _contrast(colour[bar], colour["page"]) >= 3


def _contrast(one, other):
    """WCAG 2.1, "contrast ratio"."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = np.array([int(digits[start : start + 2], 16) for start in (0, 2, 4)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]
