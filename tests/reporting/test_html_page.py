import base64
import dataclasses
import re
from urllib.parse import urlparse

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.reporting import html_page, report_text
from fsgan_tf.results import summary
from fsgan_tf.results.findings import Check, Diagnosis
from tests.reports import (
    HOSTILE,
    MANIFEST,
    Page,
    adversarial_examples,
    hostile_manifest,
    hostile_result,
    result,
)


def _page(*verdicts, **options):
    return Page(html_page.page(result(*verdicts, **options), MANIFEST))


def _headings(page):
    return [heading.text for heading in page.all("h2")]


def test_headline():
    page = _page("pass")
    assert page.one("h1").text == "Robustness of runs/a"
    assert page.one("p", "headline").text == "62.5%"
    # Wilson interval of 25 in 40, worked out by hand.
    assert " ".join(page.one("p", "scope").text.split()) == (
        "of 40 images (digits, test) are classified correctly under every attack "
        "(95% interval 47.0% to 75.8%); 95.0% without attack, at most 65.0% once adversarial "
        "images are rounded to 8 bits (no attack searched among rounded images)."
    )
    assert "at most 0.031373 (8/255), pixels in [0, 1]." in page.all("p", "note")[0].text


@pytest.mark.parametrize(
    ("verdicts", "level"),
    [(["pass"], "warn"), (["pass", "warn"], "warn"), (["fail"], "fail"), ([], "skipped")],
)
def test_the_headline_says_whether_to_believe_it(verdicts, level):
    page = _page(*verdicts)
    verdict = page.one("div", "verdict")
    expected = summary.verdict(result(*verdicts))
    assert verdict.attributes["class"] == f"verdict {level}"
    assert page.one("p", "name").text == expected.name.capitalize()
    assert expected.sentence in verdict.text
    headline = page.one("p", "headline")
    assert page.elements.index(verdict) < page.elements.index(headline)


def test_the_report_says_what_was_not_tried_and_the_next_command():
    page = _page("pass")
    assert "It did not try targeted attacks" in page.one("header").text
    command = "python -m fsgan_tf.evaluate '--run_dir=runs/a b' --suite=strong"
    assert page.one("p", "next").text == f"Next: {command}"
    assert "2026-11-27 09:30 UTC" in page.one("header").text


def test_attack_table():
    page = _page(curves=False)
    header = [cell.text for cell in page.all("th")][: len(report_text.ATTACK_HEADER)]
    assert header == list(report_text.ATTACK_HEADER)
    parameters = "num_steps 20, step_size 0.0078431"
    cells = page.all("td")[: 2 * len(report_text.ATTACK_HEADER)]
    assert [cell.text for cell in cells] == [
        *("pgd20", "75.0% of 40", "77.5% of 40", "yes", "1.2", parameters),
        *("square", "62.5% of 40", "65.0% of 40", "no", "1.2", parameters),
    ]
    assert [cell.attributes["data-label"] for cell in cells] == header * 2


def test_curves():
    page = _page("pass")
    assert _headings(page) == [
        *("Accuracy", "Attacks", "Classes", "Accuracy against epsilon", "Loss of the attacks"),
        *("Adversarial examples", "Checks", "Manifest"),
    ]
    titles = [title.text for title in page.all("title")][2:]
    assert titles == [
        "Accuracy against epsilon",
        "Loss of pgd4 against its steps",
        "Loss of cw2 against its steps",
    ]
    identifiers = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(set(identifiers)) == len(identifiers) == 8
    assert "8/255 (evaluated)" in page.one("details").text


def test_examples():
    page = _page("pass")
    captions = [caption.text for caption in page.all("figcaption")][-3:]
    assert captions == [
        "zero → one\nby pgd20, image 10",
        "one → two\nby pgd20, image 11",
        "two → class 3\nby pgd20, image 12",
    ]
    images = [image.attributes for image in page.all("img")]
    assert [image["alt"] for image in images[:3]] == [
        "zero, image 10",
        "the same, taken for one",
        "the perturbation, magnified",
    ]
    values = []
    for image in images[:3]:
        kind, encoded = image["src"].split(",")
        assert kind == "data:image/png;base64"
        values.append(np.unique(tf.io.decode_png(base64.b64decode(encoded))).tolist())
    assert values == [[51], [47], [64]]
    assert "3 of the 3 found" in page.one("main").text


def test_what_is_missing_is_left_out_or_said():
    page = _page(curves=False, examples=adversarial_examples([]))
    assert _headings(page) == [
        *("Accuracy", "Attacks", "Classes", "Adversarial examples", "Checks", "Manifest")
    ]
    assert not page.all("img")
    assert "No attack fooled the classifier." in page.one("main").text
    assert "No check was made" in page.one("main").text


def test_checks_are_grouped_the_most_serious_first():
    page = _page("pass", "skipped", "warn", "fail", "pass")
    headings = [heading.text for heading in page.all("h3")]
    assert headings == ["Failed (1)", "Warned (1)", "Skipped (1)", "Passed (2)"]
    groups = [group.attributes["class"] for group in page.all("ul")]
    assert groups == ["fail", "warn", "skipped", "pass"]
    assert [item.text for item in page.all("li")] == [
        "✕check 3Detail 3.Advice 3.",
        "!check 2Detail 2.Advice 2.",
        "–check 1Detail 1.Advice 1.",
        "✓check 0Detail 0.Advice 0.",
        "✓check 4Detail 4.Advice 4.",
    ]


def test_flags_in_advice_look_like_code():
    plain = result()
    check = Check("a", "skipped", "No <source>.", "Name a run in --source, -- not here.")
    plain = dataclasses.replace(plain, diagnosis=Diagnosis((check,)))
    page = Page(html_page.page(plain, MANIFEST))
    assert page.one("li").text == "–aNo <source>.Name a run in --source, -- not here."
    assert [code.text for code in page.all("code", "flag")] == ["--suite=strong", "--source"]


def test_manifest():
    page = _page()
    names = [element.text for element in page.all("dt")]
    values = [element.text for element in page.all("dd")]
    rows = report_text.manifest_rows(result(), MANIFEST)
    assert list(zip(names, values, strict=True)) == rows


def test_words_from_outside_are_words():
    page = Page(html_page.page(hostile_result(), hostile_manifest()))
    assert not page.all("script")
    assert all(image.attributes["src"].startswith("data:") for image in page.all("img"))
    body = page.one("body").text
    # Title, verdict (2), scope (2), date, suite and its attack, bars, table (4), classes (3),
    # curve, loss (2), captions (2 * 3 names but the last prediction, which has none, and 3
    # attacks), check (3), manifest (1 + 1 + 2 + 3 + 2 + 1 + 1).
    assert body.count(HOSTILE) == 1 + 2 + 2 + 1 + 2 + 1 + 4 + 3 + 1 + 2 + 8 + 3 + 11
    assert page.all("img")[1].attributes["alt"] == f"the same, taken for {HOSTILE}"


def test_nothing_comes_from_elsewhere():
    page = _page("pass")
    policy = [meta for meta in page.all("meta") if "http-equiv" in meta.attributes]
    assert [meta.attributes["content"] for meta in policy] == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    ]
    assert not {"script", "link", "iframe"} & {element.tag for element in page.elements}
    for element in page.elements:
        assert "href" not in element.attributes
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
    for word in ("ink", "soft", "worst", "pass", "warn", "fail", "skipped"):
        assert _contrast(colour[word], colour["page"]) >= 4.5
    for bar in ("clean", "attack"):
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


def test_long_words_end_a_line_at_a_separator_and_short_ones_stay_whole():
    manifest = dataclasses.replace(MANIFEST, model="folder/a_very_long_name_of_a_model/" + "0" * 40)
    text = html_page.page(result("pass"), manifest)
    assert "Robustness of folder/<wbr>a_<wbr>very_<wbr>" in text
    assert "<wbr>" + "0" * 16 + "<wbr>" in text
    assert "step_size 0.0078431" in text


def test_the_name_of_a_flag_never_ends_a_line():
    """Browsers end lines after hyphens: `--` would stand alone on a phone."""
    page = _page("pass")
    flags = [element.text for element in page.all("span", "flag")]
    assert flags[:2] == ["'--run_dir=", "--suite="]
    assert re.search(r"\.flag \{[^}]*white-space: nowrap", page.one("style").text)
