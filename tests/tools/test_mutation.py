"""The mutation check: which changes it makes, and that it sees which of them tests notice."""

import mutation
import pytest

from tests.commands import ROOT, python

CHECK = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2] + "/tools", sys.argv[2]]
from pathlib import Path
import mutation
mutation.ROOT, mutation.PACKAGE = Path(sys.argv[1]), "little"
mutation.TESTS = {"sums.py": ["test_sums.py"]}
mutation._PRELOADED = ("pytest",)
import pytest
print("endless:", mutation.run_tests("sums.py", "while True: pass", deadline=2.0), flush=True)
sys.exit(mutation.runner.run(mutation.main, mutation._flags(), description="", argv=sys.argv[3:]))
"""


def _changes(source: str) -> set[str]:
    return {mutant.change for mutant in mutation.mutants(source)}


def test_every_kind_of_change_is_made():
    assert _changes("a + b * 2.0") == {
        "a + b * 2.0  ->  a - b * 2.0",
        "b * 2.0  ->  b / 2.0",
        "2.0  ->  4.0",
    }
    assert _changes("a < -1") == {"a < -1  ->  a <= -1", "-1  ->  +1", "1  ->  2"}
    assert _changes("c = tf.abs(a, axis=b)") == {
        "c = tf.abs(a, axis=b)  ->  c = a",
        "tf.abs(a, axis=b)  ->  tf.abs(a)",
    }
    assert "x if a else y  ->  x if not a else y" in _changes("x if a else y")
    assert _changes("def f():\n    g()\n    return True") == {
        "def f():  ->  without g()",
        "True  ->  False",
    }


def test_types_are_not_changed():
    assert _changes("def f(a: int | float) -> bool | None:\n    b: X[1] = a") == set()


def test_a_mutant_is_the_module_with_one_change():
    (mutant,) = mutation.mutants("'''Words.'''\n\nx = a - b\n")
    assert (mutant.line, mutant.source) == (3, "'''Words.'''\nx = a + b".replace("'''", '"""'))


@pytest.mark.slow
def test_what_no_test_notices_survives_and_what_does_not_end_is_killed(tmp_path):
    for folder in ("little", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "little" / "__init__.py").touch()
    (tmp_path / "little" / "sums.py").write_text("def total(a, b):\n    return a + b * 1\n")
    (tmp_path / "tests" / "test_sums.py").write_text(
        "from little.sums import total\n\n\ndef test_total():\n    assert total(1, 2) == 3\n"
    )
    done = python("-c", CHECK, tmp_path, ROOT)
    assert done.returncode == 1
    assert done.stderr == "error: fewer than 90% of the mutants were killed\n"
    first, *_ = done.stdout.splitlines()
    assert first == "endless: None"
    assert "survived: sums.py:2: b * 1  ->  b / 1\n" in done.stdout
    assert done.stdout.count("survived") == 1
    assert "| sums.py | 3 | 2 | 67% |" in done.stdout
