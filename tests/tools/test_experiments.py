"""Series of runs: what is done is not done again, and a failure stops the series."""

import json
import os

import experiments
import pytest

from fsgan_tf.cli import training_flags
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.runs.directory import RunDirectory
from tests.reporting.test_results_file import RESULTS

FLAGS = ["--batch_size=50", "--epochs=2"]


@pytest.fixture
def finished(tmp_path):
    """A run directory that looks finished: 2 epochs of 10 and 20 steps of 50 images."""
    values = training_flags.parse([*FLAGS, f"--run_dir={tmp_path}"])
    run = RunDirectory(tmp_path)
    run.prepare(values)
    accuracies = {"one_step_accuracy": 0.5, "robust_accuracy": 0.25}
    run.metrics.append({"epoch": 0, "step": 10, "images_per_second": 100.0, **accuracies})
    run.metrics.append({"epoch": 1, "step": 30, "images_per_second": 10.0, **accuracies})
    run.saved_model.mkdir()
    return tmp_path


@pytest.fixture
def calls(monkeypatch):
    """What would have been run."""
    made = []
    monkeypatch.setattr(experiments, "run_module", lambda *call: made.append(call))
    return made


def _write_results(run_dir, *attacks):
    (run_dir / "evaluation").mkdir(exist_ok=True)
    results = {**RESULTS, "attacks": [{"name": name, "accuracy": 0.5} for name in attacks]}
    (run_dir / "evaluation" / "results.json").write_text(json.dumps(results))


def _evaluated(run_dir, attacks, *arguments, suite=None):
    folder = run_dir / "evaluation"
    return experiments.evaluate(run_dir, attacks, arguments, output_dir=folder, suite=suite)


def test_a_finished_training_is_not_run_again(finished, calls):
    experiments.train(finished, FLAGS)
    assert not calls


def test_an_unfinished_training_goes_on(finished, calls):
    experiments.train(finished, ["--batch_size=50", "--epochs=3"])
    assert calls == [("fsgan_tf.train", ["--batch_size=50", "--epochs=3", f"--run_dir={finished}"])]


def test_a_finished_training_of_other_flags_is_refused(finished, calls):
    with pytest.raises(UserError, match="--batch_size was 50 and is now 60"):
        experiments.train(finished, ["--batch_size=60", "--epochs=2"])
    assert not calls


def test_results_of_an_earlier_classifier_are_measured_again(finished, calls):
    _write_results(finished, "fgsm")
    _evaluated(finished, ["fgsm"])
    assert not calls
    results = finished / "evaluation" / "results.json"
    os.utime(results, (0, 0))
    _evaluated(finished, ["fgsm"])
    assert [module for module, _ in calls] == ["fsgan_tf.evaluate"]


def test_an_evaluation_that_lacks_an_attack_is_run(finished, calls, monkeypatch):
    _write_results(finished, "fgsm")
    assert experiments.accuracies(_evaluated(finished, ["fgsm"])) == {"fgsm": 0.5}
    assert not calls
    monkeypatch.setattr(
        experiments,
        "run_module",
        lambda module, arguments: (calls.append(arguments), _write_results(finished, "pgd20")),
    )
    (finished / "evaluation" / "results.json").write_text("[1]")
    results = _evaluated(finished, ["pgd20"], "--num_examples=7")
    assert experiments.accuracies(results) == {"pgd20": 0.5}
    assert {"--attacks=pgd20", "--standalone", "--num_examples=7"} <= set(calls[0])


def test_training_minutes_are_images_over_rate(finished):
    """10 * 50 / 100 + 20 * 50 / 10 seconds."""
    assert experiments.training_minutes(finished) == pytest.approx(105 / 60)


def test_minutes_count_the_images_of_every_replica(finished):
    """Twice as many images at the same rate."""
    RunDirectory(finished).starts_file.write_text('{"replicas": 2}\n')
    assert experiments.training_minutes(finished) == pytest.approx(210 / 60)


def test_a_suite_runs_as_it_is(finished, calls, monkeypatch):
    attacks = ("apgd_ce", "apgd_t", "fab_t", "square")
    monkeypatch.setattr(
        experiments,
        "run_module",
        lambda module, arguments: (calls.append(arguments), _write_results(finished, *attacks)),
    )
    for _ in range(2):
        _evaluated(finished, [], "--num_examples=7", suite="strong")
    where = [f"--run_dir={finished}", f"--output_dir={finished / 'evaluation'}"]
    assert calls == [[*where, "--suite=strong", "--num_examples=7"]]


def test_table_is_markdown():
    assert experiments.table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_failing_process_stops_the_series(capfd):
    with pytest.raises(UserError, match="exit code 2"):
        experiments.run_module("fsgan_tf.train", ["--epohcs=3"])
    assert "epochs" in capfd.readouterr().err
    with pytest.raises(RunError, match="exit code 1"):
        experiments.run_module("fsgan_tf.no_such_module", [])
