"""The benchmark's table: its arithmetic, not its speed."""

import re

import pytest

from fsgan_tf import cli
from tools import benchmark

TINY = "--classifier_depth=10 --classifier_width=1 --batch_size=4 --precision=float32"


def _benchmark(*arguments: str) -> int:
    return cli.run(benchmark.main, benchmark._flags(), description="", argv=arguments)


def test_the_table_follows_from_rates_and_counted_arithmetic(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "_SECONDS", 0.0)
    command = ("--methods=standard,feature_scatter", f"--training_flags={TINY}", "--rounds=1")
    assert _benchmark(*command) == 0
    printed = capsys.readouterr().out
    peak = float(re.search(r"float32: (\d+) GFLOP/s", printed)[1])
    for name, passes in (("standard", 3), ("feature_scatter", 6)):
        row = next(line for line in printed.splitlines() if line.startswith(f"| {name} "))
        rate, arithmetic, reached, share = (
            float(cell.strip(" %")) for cell in row.strip("| ").split(" | ")[1:]
        )
        # WRN-10-1, layer by layer: 12,501,632 multiply-adds an image and pass.
        assert arithmetic == pytest.approx(2 * passes * 12_501_632 / 1e9, abs=0.0051)
        assert reached == pytest.approx(rate * arithmetic, rel=0.1, abs=1)
        assert share == pytest.approx(100 * reached / peak, rel=0.3, abs=1)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--methods=gan"], "feature_scatter"),
        (["--training_flags=--epohcs=3"], "epochs"),
        (["--training_flags=now"], "now"),
    ],
)
def test_bad_flags_are_one_line(arguments, word, capsys):
    assert _benchmark(*arguments) == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    assert word in message
