"""The comparison of all methods, scaled down to two tiny ones on the digits."""

import json

import experiments
import pytest

from fsgan_tf import evaluate, train
from tests.commands import call
from tools import compare

SCALE = (
    "--dataset=digits --augmentation=none --classifier_depth=10 --classifier_width=1 "
    "--generator_width=4 --batch_size=16 --train_examples=32 --epochs=1 --lr_decay_epochs=1 "
    "--attack_iterations=2 --eval_examples=0 --precision=float32"
)
COMMANDS = {command.__name__: command for command in (train, evaluate)}


@pytest.fixture
def processes(monkeypatch):
    """Runs what would be processes in this one; the list of their modules."""
    started = []

    def run_module(module, arguments):
        started.append(module)
        assert call(COMMANDS[module], *arguments) == 0

    monkeypatch.setattr(experiments, "run_module", run_module)
    return started


def _compare(*arguments: str) -> int:
    return call(compare, *arguments)


def test_the_table_holds_what_the_runs_measured_and_nothing_runs_twice(tmp_path, processes, capsys):
    command = (
        f"--runs={tmp_path}",
        f"--scale={SCALE}",
        "--methods=standard,feature_scatter",
        "--num_examples=8",
    )
    assert _compare(*command) == 0
    assert processes == ["fsgan_tf.train", "fsgan_tf.evaluate"] * 2
    table = (tmp_path / "table.md").read_text()
    for method in ("standard", "feature_scatter"):
        run = tmp_path / f"{method}_seed0"
        results = json.loads((run / "evaluation" / "results.json").read_text())
        assert results["split"] == "test"
        assert results["num_examples"] == 8
        row = next(line for line in table.splitlines() if line.startswith(f"| {method} "))
        accuracies = [attack["accuracy"] for attack in results["attacks"]]
        shares = [results["clean_accuracy"], *accuracies, results["worst_case_accuracy"]]
        assert [f"{share:.3f}" for share in shares] == row.split(" | ")[2:-1]

    processes.clear()
    assert _compare(*command) == 0
    assert not processes
    assert (tmp_path / "table.md").read_text() == table


def test_l2l_da_alone_starts_from_the_standard_classifier_of_its_seed(tmp_path):
    (tmp_path / "standard_seed3").mkdir()
    flags = compare._initialisation(tmp_path, "l2l_da", "3")
    assert flags == [f"--init_from={tmp_path / 'standard_seed3'}"]
    assert compare._initialisation(tmp_path, "l2l", "3") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods=l2l_da"], ["standard_seed0", "put standard first"]),
        (["--methods=gan"], ["gan", "feature_scatter"]),
    ],
)
def test_bad_methods_are_one_line(tmp_path, processes, arguments, words, capsys):
    assert _compare(f"--runs={tmp_path}", *arguments) == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    assert all(word in message for word in words), message
    assert not processes
