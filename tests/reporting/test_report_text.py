"""What is said of a result; the tables are tested where they are shown."""

import dataclasses

import pytest

from fsgan_tf.reporting import report_text
from tests.reports import MANIFEST, result


@pytest.mark.parametrize(
    ("verdicts", "level", "sentence"),
    [
        (["pass", "skipped"], "pass", "No check speaks against the figure."),
        (["pass", "warn"], "warn", "Read this figure with care: warned by check_1."),
        (["warn", "fail"], "fail", "Do not trust this figure: failed check_1."),
        ([], "skipped", "No check was run: nothing says whether to believe this figure."),
    ],
)
def test_the_most_serious_verdict_counts(verdicts, level, sentence):
    assert report_text.verdict(result(*verdicts)) == (level, sentence)


def test_checks_that_did_not_pass_come_first():
    checks = report_text.ordered(result("pass", "skipped", "warn", "fail", "pass").checks)
    assert [check.name[-1] for check in checks] == ["3", "2", "1", "0", "4"]


def test_the_manifest_names_all_classes_or_the_first():
    rows = dict(report_text.manifest_rows(result(), MANIFEST))
    assert rows["classes"] == "3: zero, one, two"
    assert rows["data"] == "digits, test, 40 images"
    many = dataclasses.replace(MANIFEST, class_names=tuple(map(str, range(200))))
    rows = dict(report_text.manifest_rows(result(), many))
    assert rows["classes"].startswith("200: 0, 1, ")
    assert rows["classes"].endswith(", 19, ...")
