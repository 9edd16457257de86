"""The comparison of all methods, scaled down to two tiny ones on the digits."""

import json
import shutil

import experiments
import pytest
from experiments import groups

from fsgan_tf import methods
from fsgan_tf.errors import RunError
from fsgan_tf.results.intervals import wilson_interval
from tests.commands import ROOT, call
from tests.small_training import SMALL, build
from tools import compare

SCALE = (
    f"--architecture={SMALL} --generator_width=4 --batch_size=16 "
    "--train_examples=32 --epochs=1 --lr_decay_epochs=1 --attack_iterations=2 --eval_examples=0 "
    "--precision=float32"
)


def _compare(*arguments: str) -> int:
    return call(compare, *arguments)


def _cells(text: str, row: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


@pytest.mark.slow
def test_the_table_holds_what_the_runs_measured_and_nothing_runs_twice(tmp_path, processes, capsys):
    measured = ("--columns=fgsm,quick", "--num_examples=8")
    command = (
        f"--runs={tmp_path}",
        "--dataset=digits",
        f"--scale={SCALE}",
        "--methods=standard,feature_scatter",
        *measured,
    )
    assert _compare(*command) == 0
    made = ["fsgan_tf.train", "fsgan_tf.evaluate", "fsgan_tf.evaluate"]
    assert [module for module, *_ in processes] == made * 2
    table = (tmp_path / "table.md").read_text()
    header = ["method", "seeds", "clean", "FGSM", "quick", "training minutes", "passes an image"]
    assert _cells(table, "method") == header
    for method in ("standard", "feature_scatter"):
        files = (tmp_path / f"{method}_seed0" / "evaluations").glob("*/results.json")
        results = {file.parent.name: json.loads(file.read_text()) for file in files}
        each, suite = results["each_test_8_images"], results["quick_test_8_images"]
        assert [(r["split"], r["num_examples"]) for r in (each, suite)] == [("test", 8)] * 2
        fgsm = each["attacks"][0]["accuracy"]
        cells = _cells(table, method)
        shares = (each["clean_accuracy"], fgsm, suite["worst_case_accuracy"])
        for cell, share in zip(cells[2:5], shares, strict=True):
            low, high = wilson_interval(round(8 * share), 8)
            assert cell == f"{100 * share:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        # With attack_iterations=2 where a method reads it.
        flags = {"attack_iterations": 2} if method == "feature_scatter" else {}
        passes = build(method, **flags).forward_equivalents["classifier"]
        assert cells[1::4] + cells[6:] == ["0", cells[5], f"{passes:g}"]
        assert f"- `{method}`, seed 0: trained" in table
        assert f"`{each['command']}`" in table
        assert each["machine"] in table
    assert "--train_examples=32" in table

    processes.clear()
    assert _compare(*command) == 0
    assert (tmp_path / "table.md").read_text() == table

    # The same runs, as made elsewhere.
    capsys.readouterr()
    shutil.move(tmp_path / "standard_seed0", tmp_path / "elsewhere")
    given = f"--runs={tmp_path / 'feature_scatter_seed0'},{tmp_path / 'elsewhere'}"
    assert _compare(given, f"--table={tmp_path / 'given.md'}", *measured) == 0
    assert not processes
    again = (tmp_path / "given.md").read_text()
    assert again.strip() in capsys.readouterr().out
    for row in ("method", "standard", "feature_scatter"):
        assert _cells(again, row) == _cells(table, row)


def test_results_of_other_checks_are_not_taken_for_these(tmp_path, monkeypatch):
    folders = []

    def evaluate(run_dir, attacks, arguments, *, output_dir, suite=None):
        folders.append(output_dir.name)
        return {"clean_accuracy": 0.5, "attacks": [{"name": "fgsm", "accuracy": 0.25}]}

    monkeypatch.setattr(experiments, "evaluate", evaluate)
    flag_values = compare._flags()
    for checks in ([], ["--checks=full"]):
        flag_values(["compare", "--columns=fgsm", *checks])
        compare._measure(groups.Run(tmp_path, None), flag_values)
    assert folders == ["each_test_1000_images", "each_test_1000_images_full_checks"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods=l2l_da"], ["standard_seed0", "put standard first"]),
        (["--methods=gan"], ["gan", "feature_scatter"]),
        (["--columns=pgd20,autoattack"], ["autoattack", "pgdN", "strong"]),
        (["--columns=transfer_pgd20"], ["transfer_pgd20"]),
        (["--columns=pgd20,paper_black_box"], ["paper_black_box must be", "paper_white_box"]),
        (["--seeds=a"], ["seeds", "whole numbers"]),
        (["--runs=a,b"], ["a is not a run directory"]),
    ],
)
def test_bad_flags_are_one_line_before_anything_runs(tmp_path, processes, arguments, words, capsys):
    assert _compare(f"--runs={tmp_path}", *arguments) == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    assert all(word in message for word in words), message
    assert not processes


def test_a_mistyped_run_is_seen_before_it_is_trained(tmp_path, monkeypatch, capsys):
    def train(run_dir, _):
        assert f"there is no {run_dir} yet: training it" in capsys.readouterr().err
        raise RunError("ends here")

    monkeypatch.setattr(experiments, "train", train)
    assert _compare(f"--runs={tmp_path / 'mistyped'}", "--methods=standard") == 1
    assert capsys.readouterr().err == "error: ends here\n"


def test_every_method_has_a_file_or_trains_by_its_own_defaults():
    for method in methods.names():
        (flag,) = compare._configured("cifar10", method)
        assert (ROOT / flag.removeprefix("--flagfile=")).is_file()
    assert compare._configured("svhn_cropped", "pgd_at") == [
        "--flagfile=configs/baselines/svhn_pgd_at.flags"
    ]
    assert compare._configured("mnist", "pgd_at") == ["--dataset=mnist", "--method=pgd_at"]
