"""The verdict, and the table that a terminal shows."""

import dataclasses

import numpy as np
import pytest

from fsgan_tf.attacks.parts.sample import Sample
from fsgan_tf.attacks.suites import SUITES
from fsgan_tf.results import intervals, summary
from fsgan_tf.results.findings import Diagnosis
from tests.reports import result


@pytest.mark.parametrize(
    ("verdicts", "name", "level", "sentence"),
    [
        (["pass", "skipped"], "upper bound", "warn", "only pgd20 and square were tried"),
        (["pass", "warn"], "upper bound", "warn", "Detail 1. Advice 1."),
        (["warn", "fail"], "not a robustness figure", "fail", "Detail 1. Advice 1."),
        (
            ["fail"] * 2,
            "not a robustness figure",
            "fail",
            "Advice 0. (1 more check failed.)",
        ),
        (["fail"] * 3, "not a robustness figure", "fail", "(2 more checks failed.)"),
        (["warn"] * 3, "upper bound", "warn", "(2 more checks warned.)"),
        ([], "upper bound", "skipped", "No check was run, so nothing says how far"),
    ],
)
def test_the_most_serious_check_gives_verdict_and_words(verdicts, name, level, sentence):
    found = summary.verdict(result(*verdicts))
    assert (found.name, found.level) == (name, level)
    assert sentence in found.sentence
    assert "check_" not in found.sentence
    assert result(*verdicts).verdict == name


def _attacked_by(names, *verdicts):
    plain = result(*verdicts)
    attack = plain.attacks[0]
    return dataclasses.replace(
        plain, attacks=tuple(dataclasses.replace(attack, name=name) for name in names)
    )


def test_only_the_strong_suite_makes_a_figure_trustworthy():
    quick, strong = (SUITES[name].attacks for name in ("quick", "strong"))
    found = summary.verdict(_attacked_by(quick, "pass", "skipped"))
    assert (found.name, found.level) == ("upper bound", "warn")
    assert "only fgsm, pgd20 and cw20 were tried" in found.sentence
    assert "--suite=strong" in found.sentence
    assert found.sentence in str(_attacked_by(quick, "pass"))
    for names in (strong, [*quick, *strong]):
        found = summary.verdict(_attacked_by(names, "pass", "skipped"))
        assert (found.name, found.level) == ("trustworthy", "pass")
    assert summary.verdict(_attacked_by(strong[:-1], "pass")).name == "upper bound"
    assert summary.verdict(_attacked_by(strong, "warn")).sentence == "Detail 0. Advice 0."
    fast = dataclasses.replace(_attacked_by(strong, "pass").diagnosis, mode="fast")
    found = summary.verdict(dataclasses.replace(_attacked_by(strong, "pass"), diagnosis=fast))
    assert found.name == "upper bound"
    assert "--checks=full" in found.sentence
    assert "only fgsm was tried" in summary.verdict(_attacked_by(["fgsm"], "pass")).sentence


def test_checks_that_did_not_pass_come_first():
    checks = summary.ordered(result("pass", "skipped", "warn", "fail", "pass").checks)
    assert [check.name[-1] for check in checks] == ["3", "2", "1", "0", "4"]


def test_a_printed_result_is_a_verdict_and_a_table():
    lines = str(result("pass", "warn", "fail")).splitlines()
    assert lines[0] == "verdict: not a robustness figure"
    assert [line.split()[0] for line in lines[1:]] == [
        *("clean", "pgd20", "square", "worst", "fail:", "warn:")
    ]
    assert lines[1].endswith("95.0% of 40")
    assert lines[4] == "worst case    62.5% of 40  (95% interval 47.0% to 75.8%)"
    assert lines[6] == "warn: Detail 1. Advice 1."


def test_long_names_keep_the_columns():
    plain = result()
    long = dataclasses.replace(plain.attacks[0], name="a" * 40)
    found = dataclasses.replace(plain, attacks=(long,), diagnosis=Diagnosis())
    ends = {line.index("% of") for line in str(found).splitlines()[1:]}
    assert len(ends) == 1


def test_repr_is_short():
    assert repr(result("warn")) == "<Result: 62.5% of 40 robust, upper bound>"


@pytest.mark.parametrize(
    ("num_others", "name"), [(14, "trustworthy"), (28, "upper bound"), (8, "trustworthy")]
)
def test_the_strongest_suite_is_trusted_up_to_a_point_that_it_leaves_open(num_others, name):
    """Of 8 drawn none is fooled, so that so many of the others may be, of 500 images."""
    plain = _attacked_by(SUITES["strongest"].attacks, "pass", "skipped")
    clean = np.arange(500) < 400
    sample = Sample(np.arange(5), np.arange(5, 13), num_others)
    attacks = tuple(
        dataclasses.replace(attack, fooled=np.zeros(500, bool), samples=())
        for attack in plain.attacks
    )
    attacks = (*attacks[:-1], dataclasses.replace(attacks[-1], samples=(sample,)))
    found = summary.verdict(dataclasses.replace(plain, clean_correct=clean, attacks=attacks))
    assert found.name == name
    assert "The strongest suite ran" in found.sentence
    points = 100 * intervals.most_unseen_fooled(0, 8, num_others) / 500
    assert f"at most {points:.1f} points more" in found.sentence
    assert ("--suite=strong too" in found.sentence) == (name == "upper bound")
