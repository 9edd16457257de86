"""The readers of what comes from outside, fuzzed in short; and the fuzzer itself."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from fsgan_tf.errors import UserError
from tests.commands import ROOT, call
from tools import fuzz


@pytest.mark.parametrize("target", fuzz.TARGETS.values(), ids=list(fuzz.TARGETS))
def test_no_reader_crashes(target, monkeypatch):
    monkeypatch.chdir(ROOT)  # Seeds are the repository's configurations.
    answers = [answer for *_, answer in fuzz.answers(target, range(200), seed=1)]
    failures = [answer for answer in answers if isinstance(answer, str)]
    assert failures == []
    assert True in answers
    assert False in answers


def draw(source: random.Random, seeds: list[bytes]) -> bytes:
    return source.choice(seeds)


def prepare_treacherous(folder: Path) -> tuple[list[bytes], fuzz.Reader]:
    def read(content: bytes) -> bool:
        if content == b"raise":
            raise KeyError("of the reader")
        if content == b"die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if content == b"hang":
            time.sleep(600)
        if content == b"refuse":
            raise UserError("refused")
        return True

    return [b"accept", b"refuse", b"raise", b"die", b"hang"], read


TREACHEROUS = fuzz.Target("treacherous", prepare_treacherous, draw)


@pytest.fixture(scope="module")
def outcome() -> fuzz.Outcome:
    return fuzz.fuzz(TREACHEROUS, inputs=12, seed=3, hang_seconds=1)


def test_exceptions_deaths_and_hangs_are_failures(outcome):
    told = {failure.content: failure.told for failure in outcome.failures}
    assert told[b"raise"].startswith("KeyError: 'of the reader' (read, line ")
    assert told[b"die"] == "the process died with exit code -11"
    assert told[b"hang"] == "no answer in 1 seconds"
    assert set(told) == {b"raise", b"die", b"hang"}
    assert outcome.accepted
    assert outcome.refused
    assert outcome.accepted + outcome.refused + len(outcome.failures) == 12


def test_the_command_keeps_the_inputs_that_fail(outcome, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fuzz, "fuzz", lambda *_: outcome)
    assert call(fuzz, "--targets=flags", f"--failures_dir={tmp_path}") == 1
    first = outcome.failures[0]
    assert (tmp_path / f"flags_{first.number}").read_bytes() == first.content
    assert f"| flags | 12 | {outcome.accepted} |" in capsys.readouterr().out
    assert call(fuzz, "--targets=flag") == 2


def test_mutations_are_those_of_their_seed_and_differ():
    drawn = [fuzz.mutate_text(random.Random(number), [b"epoch 1"]) for number in range(50)]
    assert drawn == [fuzz.mutate_text(random.Random(number), [b"epoch 1"]) for number in range(50)]
    assert len(set(drawn)) > 20
