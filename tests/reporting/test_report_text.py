"""What is said of a result; the tables are tested where they are shown."""

import dataclasses

import numpy as np
import pytest

from fsgan_tf.attacks.suites import SUITES
from fsgan_tf.reporting import report_text
from fsgan_tf.reporting.manifest import Manifest
from fsgan_tf.results.randomness import Randomness
from tests.reports import MANIFEST, result


def test_the_manifest_names_all_classes_or_the_first():
    rows = dict(report_text.manifest_rows(result(), MANIFEST))
    assert rows["classes"] == "3: zero, one, two"
    assert rows["data"] == "digits, test, 40 images"
    many = dataclasses.replace(MANIFEST, class_names=tuple(map(str, range(200))))
    rows = dict(report_text.manifest_rows(result(), many))
    assert rows["classes"].startswith("200: 0, 1, ")
    assert rows["classes"].endswith(", 19, ...")
    assert rows["image size"] == "2x4x1"
    assert rows["date"] == "2026-11-27 09:30 UTC"
    assert "cores" in rows["machine"]
    assert "command" not in dict(report_text.manifest_rows(result(), Manifest("a", "b")))


def _attacked_by(*names):
    attack = result().attacks[0]
    attacks = tuple(dataclasses.replace(attack, name=name) for name in names)
    return dataclasses.replace(result(), attacks=attacks)


TARGETED, SHORTENING, BLIND = (
    "targeted attacks",
    "attacks that shorten their steps",
    "attacks without gradients",
)


@pytest.mark.parametrize(
    ("suite", "untried"),
    [
        ("quick", {TARGETED, SHORTENING, BLIND}),
        ("random", {TARGETED, BLIND}),
        ("paper_white_box", {TARGETED, SHORTENING, BLIND}),
        ("paper_black_box", {TARGETED, SHORTENING}),
        ("strong", set()),
        ("strongest", set()),
    ],
)
def test_only_what_no_attack_did_was_not_tried(suite, untried):
    found = _attacked_by(*SUITES[suite].attacks)
    # As of a command with --suite, and of `write_report`, which knows of no suite.
    for manifest in (dataclasses.replace(MANIFEST, suite=suite), Manifest("a", "b")):
        sentence, command = report_text.tried(found, manifest)
        assert {kind for kind in (TARGETED, SHORTENING, BLIND) if kind in sentence} == untried
        assert ("did not try" in sentence) == bool(untried)
        assert ("may still find more" in sentence) == (not untried)
        assert bool(command) == bool(untried and manifest.command)


def test_the_suite_says_what_it_left_untried_and_the_next_command():
    sentence, command = report_text.tried(result(), MANIFEST)
    assert sentence == (
        "The suite quick ran pgd20, square. It did not try targeted attacks, or attacks that "
        "shorten their steps, which often lower the figure."
    )
    assert command == "python -m fsgan_tf.evaluate '--run_dir=runs/a b' --suite=strong"
    chosen = dataclasses.replace(
        MANIFEST, suite="", command="python -m fsgan_tf.evaluate --attacks=fgsm --seed=1"
    )
    sentence, command = report_text.tried(result(), chosen)
    assert sentence.startswith("The attacks chosen ran pgd20, square.")
    assert command == "python -m fsgan_tf.evaluate --seed=1 --suite=strong"
    trained = dataclasses.replace(MANIFEST, command="python -m fsgan_tf.train --epochs=1")
    _, command = report_text.tried(result(), trained)
    assert command == "python -m fsgan_tf.evaluate --run_dir=runs/a --suite=strong"
    sentence, _ = report_text.tried(_attacked_by("apgd_t"), MANIFEST)
    assert "It did not try attacks without gradients, which" in sentence


def test_the_least_robust_class_comes_first():
    # 25 of 40 are robust, 38 clean; the labels go round from 0 to 3.
    assert report_text.class_rows(result(), MANIFEST) == [
        ("one", "10", "100.0%", "60.0%"),
        ("two", "10", "90.0%", "60.0%"),
        ("class 3", "10", "90.0%", "60.0%"),
        ("zero", "10", "100.0%", "70.0%"),
    ]
    without = dataclasses.replace(result(), labels=None)
    assert report_text.class_rows(without, MANIFEST) == []


def test_a_model_card_says_all_that_a_figure_needs():
    card = report_text.model_card(result("warn"), MANIFEST)
    assert card.startswith("Robust accuracy: 62.5% of 40 images (digits, test) are classified")
    for words in (
        "95% interval 47.0% to 75.8%",
        "clean accuracy 95.0% of 40",
        "linf norm at most 0.031373 (8/255)",
        "suite quick (pgd20, square)",
        "2026-11-27 09:30 UTC, seed 3",
        "Verdict: upper bound.",
    ):
        assert words in card


def test_the_next_command_averages_as_the_suite_did():
    drawn = Randomness(20, 51, np.zeros(40, int), np.zeros(40, int))
    random = dataclasses.replace(result("pass"), randomness=drawn)
    manifest = dataclasses.replace(MANIFEST, suite="random")
    _, command = report_text.tried(random, manifest)
    assert command.endswith("--suite=strong --eot=20")
    assert str(drawn) in report_text.model_card(random, manifest)
