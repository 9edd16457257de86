"""The end of a run says what it did not test."""

import types
from pathlib import Path

from tests import authors_code, conftest


def _summary(skipped=(), markexpr="") -> list[str]:
    lines = []
    reporter = types.SimpleNamespace(
        stats={"skipped": [types.SimpleNamespace(longrepr=("file", 1, why)) for why in skipped]},
        config=types.SimpleNamespace(option=types.SimpleNamespace(markexpr=markexpr)),
        section=lines.append,
        line=lines.append,
    )
    conftest.pytest_terminal_summary(reporter)
    return lines


def test_each_reason_to_skip_is_told_with_its_number(monkeypatch):
    monkeypatch.setattr(authors_code, "MISSING", {})
    assert _summary() == []
    assert _summary(["Skipped: no rights"] * 2 + ["Skipped: a GPU is there"]) == [
        "not tested in this run",
        "1 skipped: a GPU is there",
        "2 skipped: no rights",
    ]


def test_a_run_without_the_authors_code_says_so(monkeypatch):
    monkeypatch.setattr(authors_code, "MISSING", {"A": "PyTorch", "B": ""})
    expected = "no comparison with the code of A's authors: needs PyTorch"
    assert _summary() == ["not tested in this run", expected]
    assert _summary(markexpr="not slow")[-1].endswith("B's authors: run with -m slow")


def test_the_long_files_are_there():
    folder = Path(conftest.__file__).parent
    assert [name for name in conftest.LONG_FILES if not (folder / name).is_file()] == []
