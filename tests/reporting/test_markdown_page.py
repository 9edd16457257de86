import re

import markdown

from fsgan_tf.reporting import markdown_page, report_text
from tests.reports import (
    EPSILON_CURVE,
    HOSTILE,
    MANIFEST,
    Page,
    hostile_manifest,
    hostile_result,
    result,
)


def _tables(text):
    """Cells of each table's rows."""
    tables, inside = [], False
    for line in text.splitlines():
        is_row = line.startswith("|")
        if is_row and not inside:
            tables.append([])
        if is_row:
            tables[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        inside = is_row
    return tables


def test_headline():
    text = markdown_page.page(result("pass", "warn"), MANIFEST)
    assert text.startswith("# Robustness of runs/a\n")
    assert "## For a model card\n\nRobust accuracy: 62.5% of 40 images" in text
    assert "**62.5%** of 40 images (digits, test)" in text
    assert "**95.0%** without attack, at most **65.0%** once adversarial images are" in text
    assert text.count("no attack searched among rounded images") == 2
    assert "\n\n**Verdict: upper bound.** Detail 1. Advice 1.\n\n" in text
    assert text.index("Verdict") < text.index("62.5%")
    assert "Next: `python -m fsgan_tf.evaluate '--run_dir=runs/a b' --suite=strong`" in text
    assert "0.031373 (8/255), pixels in [0, 1]." in text


def test_tables():
    attacks, classes, epsilons, losses, checks, manifest = _tables(
        markdown_page.page(result("pass", "warn"), MANIFEST)
    )
    assert attacks[0] == [
        *("attack", "accuracy", "8-bit accuracy", "stand-alone", "seconds", "parameters")
    ]
    assert attacks[2] == [
        *("pgd20", "75.0% of 40", "77.5% of 40", "yes", "1.2", "num_steps 20, step_size 0.0078431")
    ]
    assert classes[2] == ["one", "10", "100.0%", "60.0%"]
    assert epsilons[2:] == [
        ["0/255", "0", "95.0% of 32"],
        ["2/255", "0.0078431", "90.0% of 32"],
        ["8/255 (evaluated)", "0.031373", "75.0% of 32"],
        ["127.5/255", "0.5", "0.0% of 32"],
    ]
    assert losses[2:] == [["pgd4", "4", "0.5", "2", "2.5"], ["cw2", "2", "-3", "1", "1"]]
    assert checks[2:] == [
        ["check 1", "warn", "Detail 1.", "Advice 1."],
        ["check 0", "pass", "Detail 0.", "Advice 0."],
    ]
    values = dict(manifest[2:])
    assert values["command"] == f"`{MANIFEST.command}`"
    assert values["data sha256"] == f"`{'cd' * 32}`"
    assert values["source of transfer"] == "`runs/b: standard, seed 1`"
    assert {"seed", "python", "platform", "tensorflow", "classifier sha256"} <= set(values)


def test_what_was_not_measured_is_left_out():
    text = markdown_page.page(result("pass", curves=False), MANIFEST)
    assert len(_tables(text)) == 4
    assert "epsilon" not in text.replace(EPSILON_CURVE.attack, "")


def test_words_from_outside_are_words():
    """As TensorBoard renders them, which lets HTML through."""
    text = markdown_page.page(hostile_result(), hostile_manifest())
    page = Page(markdown.markdown(text, extensions=["tables"]))
    assert not {"script", "img", "a"} & {element.tag for element in page.elements}
    assert page.one("h1").text == f"Robustness of {HOSTILE}"
    rows = [len(page.all(tag)) for tag in ("table", "tr")]
    manifest_rows = 1 + len(report_text.manifest_rows(hostile_result(), hostile_manifest()))
    assert rows == [6, 2 + 5 + 5 + 2 + 2 + manifest_rows]
    # In code it keeps the backslash that a table needs.
    in_code = HOSTILE.replace("|", "\\|")
    assert f"command\n{in_code}" in page.all("table")[-1].text
    for table in _tables(text):
        assert len({len(row) for row in table}) == 1
