"""The benchmark's tables: their arithmetic, not their speed."""

import json
import re
import sys

import pytest
from benchmarks import training

from tests.commands import call
from tools import benchmark

TINY = "--classifier_depth=10 --classifier_width=1 --batch_size=4 --precision=float32"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["benchmarks.timing"], "SECONDS", 0.0)
    return tmp_path / "results"


def _benchmark(*arguments: str) -> int:
    return call(benchmark, *arguments)


def test_the_table_follows_from_rates_and_counted_arithmetic(capsys, results):
    command = (
        "train",
        "--training_parts=steps",
        "--methods=standard,feature_scatter",
        f"--training_flags={TINY}",
        "--rounds=1",
        f"--results={results}",
    )
    assert _benchmark(*command) == 0
    printed = capsys.readouterr().out
    peak = float(re.search(r"float32: (\d+) GFLOP/s", printed)[1])
    for name, passes in (("standard", 3), ("feature_scatter", 6)):
        row = next(line for line in printed.splitlines() if line.startswith(f"| {name} "))
        rate, arithmetic, reached, share = (
            float(cell.strip(" %")) for cell in row.strip("| ").split(" | ")[1:]
        )
        # WRN-10-1, layer by layer: 12,501,632 multiply-adds an image and pass.
        operations = 2 * passes * 12_501_632 / 1e9
        assert arithmetic == pytest.approx(operations, abs=0.0051)
        assert reached == pytest.approx(rate * operations, abs=1)
        assert share == pytest.approx(100 * reached / peak, rel=0.3, abs=1)
    (section,) = json.loads((results / "benchmark.json").read_text())
    assert len(section["timings"]["standard"]) == 1


def test_the_method_asked_for_wins_over_a_flag_files():
    (values,) = training.parse(["l2l"], "--flagfile=configs/cifar10.flags").values()
    assert (values.training.method, values.classifier.classifier_depth) == ("l2l", 28)


def test_a_missing_peer_is_a_line(capsys, results):
    command = (
        "train",
        "--training_parts=peer",
        f"--training_flags={TINY}",
        "--rounds=1",
        f"--results={results}",
    )
    assert _benchmark(*command) == 0
    printed = capsys.readouterr().out
    assert "| ours, float32 |" in printed
    assert "The authors' code did not run: --feature_scatter" in printed


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "train|attack|all"),
        (["train", "--methods=gan"], "feature_scatter"),
        (["train", "--training_flags=--epohcs=3"], "epochs"),
        (["train", "--training_flags=now"], "now"),
        (["train", "--training_parts=speed"], "growth"),
        (["attack"], "--run_dir"),
    ],
)
def test_bad_flags_are_one_line(arguments, word, capsys):
    assert _benchmark(*arguments) == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    assert word in message
