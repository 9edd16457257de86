"""Results side by side."""

import dataclasses
import json

import numpy as np
import pytest

from fsgan_tf import evaluate
from fsgan_tf.errors import UserError
from fsgan_tf.reporting import comparison, comparison_page, report, results_file
from fsgan_tf.results import intervals
from fsgan_tf.results.randomness import Randomness
from fsgan_tf.threat_model import ThreatModel
from tests import commands
from tests.full_disk import full_disk
from tests.reports import HOSTILE, MANIFEST, Page, hostile_manifest, hostile_result, result


def _written(folder, found, manifest=MANIFEST):
    folder.mkdir()
    content = report.as_json(found, manifest)
    (folder / "results.json").write_text(json.dumps(content))
    return str(folder)


def _more_robust():
    """As `result`, but square fools one image alone."""
    plain = result()
    square = dataclasses.replace(plain.attacks[1], fooled=np.arange(40) == 25, accuracy=29 / 40)
    return dataclasses.replace(plain, attacks=(plain.attacks[0], square))


@pytest.fixture
def pair(tmp_path):
    """Folders of two results on the same images."""
    other = dataclasses.replace(MANIFEST, model="runs/b")
    return [_written(tmp_path / "a", result()), _written(tmp_path / "b", _more_robust(), other)]


def test_a_result_says_of_each_image_whether_it_stood(pair):
    content = results_file.read(comparison.read(pair)[0].file)
    found = result()
    np.testing.assert_array_equal(results_file.per_image(content, "worst_case"), found.robust)
    np.testing.assert_array_equal(results_file.per_image(content, "clean"), found.clean_correct)
    for attack, marks in content["per_image"]["attacks"].items():
        assert marks.count("1") == 40 * min(found.accuracy(attack), 30 / 40)
    assert results_file.per_image({**content, "num_examples": 41}, "clean") is None


def test_differences_are_paired_on_the_same_images(pair):
    entries = comparison.read(pair)
    assert comparison.unlike(entries) == []
    (difference,) = comparison.differences(entries)
    first, second = result().robust, _more_robust().robust
    assert (difference.points, difference.low, difference.high) == intervals.paired_difference(
        first, second
    )
    assert difference.pvalue == intervals.mcnemar(first, second)
    assert "B less A: +10.0 points" in str(difference)
    assert "paired, image by image" in str(difference)


@pytest.mark.parametrize(
    ("change", "manifest", "said"),
    [
        (lambda found: found, {"dataset_sha256": "ef" * 32}, "other images (digits test 40"),
        (lambda found: found, {"dataset_sha256": ""}, "other images"),
        (
            lambda found: dataclasses.replace(found, threat_model=ThreatModel(4 / 255)),
            {},
            "epsilon 0.015686, and 0.031373",
        ),
        (
            lambda found: dataclasses.replace(found, attacks=found.attacks[:1]),
            {},
            "attacked by pgd20, and by pgd20, square",
        ),
        (
            lambda found: dataclasses.replace(
                found, randomness=Randomness(20, 51, np.zeros(40, int), np.zeros(40, int))
            ),
            {},
            "attacked with --eot=20, and with no --eot",
        ),
    ],
)
def test_what_is_not_alike_is_said_and_not_paired(change, manifest, said, pair, tmp_path):
    manifest = dataclasses.replace(MANIFEST, **manifest)
    other = _written(tmp_path / "c", change(result()), manifest)
    entries = comparison.read([pair[0], pair[1], other])
    (sentence,) = comparison.unlike(entries)
    assert "C and A are not paired" in sentence
    assert said in sentence
    paired, unpaired = comparison.differences(entries)
    assert paired.pvalue is not None
    assert unpaired.pvalue is None
    assert "not paired" in str(unpaired)
    assert sentence in comparison.as_text(entries)


def test_results_that_say_nothing_of_their_images_are_not_paired(pair):
    file = comparison.read(pair)[1].file
    content = json.loads(file.read_text())
    del content["per_image"]
    file.write_text(json.dumps(content))
    entries = comparison.read(pair)
    assert "B does not say which images stood" in comparison.unlike(entries)[0]
    assert comparison.differences(entries)[0].pvalue is None


def test_a_verdict_of_a_comparison_is_refused_in_one_line(pair, capsys):
    assert commands.call(evaluate, "--compare", *pair, "--fail_on=warn") == 2
    assert capsys.readouterr().err.startswith("error: --fail_on judges one evaluation")


def test_the_command_prints_a_column_a_result_and_writes_a_report(pair, tmp_path, capsys):
    out = tmp_path / "out"
    assert commands.call(evaluate, "--compare", *pair, f"--output_dir={out}") == 0
    printed = capsys.readouterr().out
    assert "A: runs/a (" in printed
    assert printed.splitlines()[-1] == f"written: {out / 'report.md'} {out / 'report.html'}"
    rows = {line.split("  ")[0]: line.split()[-2:] for line in printed.splitlines()}
    assert rows["worst case"] == ["62.5%", "72.5%"]
    assert rows["square"] == ["62.5%", "72.5%"]
    page = Page((out / "report.html").read_text())
    bars = [element.text for element in page.all("text") if element.has("text", "worst")]
    assert bars[:2] == ["A: worst case", "62.5% of 40"]
    assert "B less A: +10.0 points" in page.one("main").text
    assert "B less A: +10.0 points" in (out / "report.md").read_text()


def test_a_report_that_cannot_be_written_is_one_line(pair, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison_page, "write_atomically", full_disk)
    out = tmp_path / "out"
    assert commands.call(evaluate, "--compare", *pair, f"--output_dir={out}") == 1
    error = capsys.readouterr().err
    assert error == (
        f"error: cannot read or write {out} (No space left on device); make room, or give another "
        "--output_dir\n"
    )


def test_words_from_outside_are_words(tmp_path):
    folder = _written(tmp_path / "a", hostile_result(), hostile_manifest())
    entries = comparison.read([folder, folder])
    page = Page(comparison_page.html_text(entries))
    assert not {"script", "img", "a"} & {element.tag for element in page.elements}
    assert HOSTILE in page.one("main").text


def test_what_cannot_be_compared(pair, tmp_path):
    with pytest.raises(UserError, match="two results or more"):
        comparison.read(pair[:1])
    with pytest.raises(UserError, match="holds no results.json"):
        comparison.read([pair[0], str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match="whose report would be lost"):
        comparison_page.write(tmp_path / "a", comparison.read(pair))


def test_comparing_imports_no_tensorflow():
    code = (
        "import sys; from fsgan_tf import evaluate; "
        "from fsgan_tf.reporting import comparison, comparison_page; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert commands.python("-c", code).returncode == 0
