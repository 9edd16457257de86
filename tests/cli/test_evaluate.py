import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import devices, evaluate
from fsgan_tf.attacks.suites import Suite
from fsgan_tf.cli import training_flags
from fsgan_tf.data import loading
from fsgan_tf.data.split import Split
from fsgan_tf.evaluation import checks, engine, run_and_diagnose, saved_examples
from fsgan_tf.files import sole_writer
from fsgan_tf.reporting import report, robustbench
from fsgan_tf.results import summary
from fsgan_tf.results.findings import Check, Diagnosis
from fsgan_tf.runs import restored as restored_module
from tests import commands
from tests.full_disk import full_disk

FAST = ["--attacks=fgsm,pgd3,cw3", "--batch_size=8"]


@pytest.fixture(scope="module")
def split():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (20, 8, 8, 1), np.uint8)
    return Split(images, np.arange(20, dtype=np.int32) % 3, "test")


@pytest.fixture
def test_set(monkeypatch, split):
    """Replaces the data sets; returns the arguments of each call."""
    calls = []

    def load_split(name, wanted=None, **options):
        calls.append((name, wanted, {key: value for key, value in options.items() if value}))
        return split, ("a", "b", "c")

    monkeypatch.setattr(loading, "load_split", load_split)
    return calls


@pytest.fixture(scope="module")
def model(split):
    """Fits its few examples, so that there is something to attack."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    features = split.images.reshape(20, -1) / 255
    targets = np.eye(3)[split.labels]
    weights = np.linalg.lstsq(np.c_[features, np.ones(20)], targets, rcond=None)[0]
    model.set_weights([weights[:-1], weights[-1]])
    return model


@pytest.fixture(scope="module")
def keras_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    model.save(path)
    return str(path)


@pytest.fixture(scope="module")
def saved_model(model, tmp_path_factory):
    return _save(tmp_path_factory.mktemp("saved"), lambda image: {"logits": model(image)}, model)


def _save(path, serve, model=None, shape=(None, 8, 8, 1), dtype=tf.float32):
    module = tf.Module()
    module.model = model
    signature = tf.function(serve, input_signature=[tf.TensorSpec(shape, dtype, name="image")])
    tf.saved_model.save(module, str(path), signatures=signature)
    return str(path)


@pytest.fixture
def run(monkeypatch, model, tmp_path):
    """A run directory as training would leave it, as far as evaluation looks."""
    values = training_flags.parse(["--epsilon=0.1", "--image_size=8"])
    restored = SimpleNamespace(
        model=model, class_names=("a", "b", "c"), configuration=values, weights_sha256="12" * 32
    )
    monkeypatch.setattr(restored_module, "restore_classifier", lambda path: restored)
    return tmp_path / "run"


def _evaluate(*argv):
    return commands.call(evaluate, *FAST, *argv)


def _results(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_run_brings_its_own_data_set_and_epsilon(run, test_set, capsys):
    assert _evaluate(f"--run_dir={run}", "--num_examples=12") == 0
    expected = {"image_size": (8, 8), "trained_on": True, "known_names": ("a", "b", "c")}
    assert test_set == [("digits", None, expected)]
    results = _results(run / "evaluation")
    assert results["dataset"] == "digits"
    assert results["model"] == str(run)
    assert results["num_examples"] == 12
    assert results["threat_model"] == {"norm": "linf", "epsilon": 0.1}
    assert results["classifier_sha256"] == "12" * 32
    assert [attack["name"] for attack in results["attacks"]] == ["fgsm", "pgd3", "cw3"]
    assert results["attacks"][1]["parameters"]["step_size"] == 0.025
    assert len(results["checks"]) == 23
    assert results["command"].startswith("python -m fsgan_tf.evaluate")
    printed = capsys.readouterr().out
    assert "worst case" in printed
    for page in ("report.md", "report.html"):
        assert str(run / "evaluation" / page) in printed


def test_flags_win_over_the_run(run, test_set, tmp_path, unchecked):
    argv = [f"--run_dir={run}", "--dataset=other", "--epsilon=2/255", "--seed=5", "--standalone"]
    argv.append("--data_dir=somewhere")
    assert _evaluate(*argv, f"--output_dir={tmp_path / 'out'}", "--restarts=2") == 0
    ((*named, options),) = test_set
    assert named == ["other", None]
    expected = {"data_dir": "somewhere", "image_size": (8, 8), "known_names": ("a", "b", "c")}
    assert options == expected
    results = _results(tmp_path / "out")
    assert results["threat_model"]["epsilon"] == 2 / 255
    assert results["seed"] == 5
    assert all(attack["standalone"] for attack in results["attacks"])
    assert [a["parameters"]["restarts"] for a in results["attacks"]] == [1, 2, 2]
    assert not (run / "evaluation").exists()


def test_another_norm_comes_with_its_own_epsilon(run, test_set, tmp_path, unchecked, capsys):
    folder = tmp_path / "out"
    argv = [f"--run_dir={run}", f"--output_dir={folder}", "--norm=l2"]
    assert _evaluate(*argv) == 2
    error = capsys.readouterr().err
    assert "--norm=l2 needs --epsilon in its own unit; the run's is 25.5/255 in linf" in error
    assert _evaluate(f"--run_dir={run}", "--epsilon=9") == 2
    assert "--epsilon=9: must be at most 1 in linf" in capsys.readouterr().err
    assert _evaluate(*argv, "--epsilon=9") == 2
    assert "8 in l2 already turns any 8x8x1 image into any other" in capsys.readouterr().err
    assert _evaluate(*argv, "--epsilon=1.5", "--save_examples") == 0
    results = _results(folder)
    assert results["threat_model"] == {"norm": "l2", "epsilon": 1.5}
    assert results["attacks"][1]["parameters"]["step_size"] == 2.5 / 3 * 1.5
    assert "l2 norm at most 1.5" in (folder / "report.md").read_text()
    saved = f"--verify_examples={folder / 'adversarial_examples.npz'}"
    assert _evaluate(*argv, "--epsilon=1.5", saved) == 0
    assert _results(folder)["attacks"][0]["accuracy"] == results["worst_case_accuracy"]
    assert _evaluate(f"--run_dir={run}", saved) == 2
    assert "holds perturbations of l2; give --norm=l2" in capsys.readouterr().err
    assert _evaluate(*argv[:2], "--norm=l1", "--epsilon=12", "--attacks=pma") == 2
    assert "pma attacks in linf, l2 alone, not in l1; those that do are" in capsys.readouterr().err


def test_the_validation_split_of_a_run(run, split, monkeypatch, unchecked):
    calls = []

    def load_split(name, wanted, **options):
        calls.append((name, wanted, {key: value for key, value in options.items() if value}))
        return split.part(0, 20, "validation"), ("a", "b", "c")

    monkeypatch.setattr(loading, "load_split", load_split)
    assert _evaluate(f"--run_dir={run}", "--split=validation") == 0
    expected = {"validation_examples": 1000, "image_size": (8, 8), "trained_on": True}
    expected["known_names"] = ("a", "b", "c")
    assert calls == [("digits", "validation", expected)]
    assert _results(run / "evaluation")["split"] == "validation"


def test_running_out_of_memory_says_what_to_lower(run, test_set, monkeypatch, capsys):
    def exhausted(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "a long tale")

    monkeypatch.setattr(run_and_diagnose, "measure", exhausted)
    assert _evaluate(f"--run_dir={run}") == 1
    assert "a smaller --batch_size than 8" in capsys.readouterr().err


def test_keras_file_and_saved_model_give_what_the_model_gives(
    keras_file, saved_model, model, split, test_set, tmp_path, unchecked
):
    expected = run_and_diagnose.evaluate(
        model, split.images, split.labels, epsilon=0.1, attacks=["fgsm", "pgd3", "cw3"]
    )
    assert expected.clean_accuracy == 1
    assert 0 < expected.worst_case_accuracy < 1
    hashes = set()
    for flag in (f"--keras_model={keras_file}", f"--saved_model={saved_model}"):
        folder = tmp_path / flag.strip("-").split("=")[0]
        assert _evaluate(flag, "--dataset=digits", "--epsilon=0.1", f"--output_dir={folder}") == 0
        results = _results(folder)
        hashes.add(results["classifier_sha256"])
        assert results["worst_case_accuracy"] == expected.worst_case_accuracy
        for attack, other in zip(results["attacks"], expected.attacks, strict=True):
            assert attack["accuracy"] == other.accuracy
    assert len(hashes) == 2


def _refused(capsys, *argv):
    assert _evaluate(*argv) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.fixture
def unchecked(monkeypatch):
    """Leaves out the checks, where a test is about something else."""
    monkeypatch.setattr(checks, "diagnose", lambda *_, **__: Diagnosis())


@pytest.mark.parametrize(
    ("verdict", "fail_on", "code"),
    [
        ("fail", "fail", 3),
        ("fail", "warn", 3),
        ("warn", "warn", 3),
        ("warn", "fail", 0),
        ("pass", "warn", 3),  # Of weak attacks, a figure is an upper bound at best.
        ("pass", "fail", 0),
        ("fail", None, 0),
    ],
)
def test_a_verdict_that_is_refused_ends_with_3(
    run, test_set, monkeypatch, capsys, verdict, fail_on, code
):
    found = Diagnosis((Check("a_check", verdict, "What was seen.", "What to do."),))
    monkeypatch.setattr(checks, "diagnose", lambda *_, **__: found)
    flags = [f"--fail_on={fail_on}"] if fail_on else []
    assert _evaluate(f"--run_dir={run}", *flags) == code
    written = capsys.readouterr()
    assert "\nverdict: " in written.out
    assert "report.html" in written.out
    assert ("error: the verdict is" in written.err) == (code == 3)
    assert (run / "evaluation" / "results.json").is_file()


def test_how_much_is_checked(run, test_set, capsys):
    assert _evaluate(f"--run_dir={run}", "--checks=fast", "--num_examples=4") == 0
    assert "checks: 10 made in" in capsys.readouterr().out
    results = _results(run / "evaluation")
    assert results["checks_mode"] == "fast"
    assert results["checks_seconds"] == sum(check["seconds"] for check in results["checks"]) > 0
    assert _evaluate(f"--run_dir={run}", "--checks=none", "--num_examples=4") == 0
    results = _results(run / "evaluation")
    assert (results["checks_mode"], results["checks"]) == ("none", [])
    assert "No check was made" in (run / "evaluation" / "report.md").read_text()


def test_a_trustworthy_verdict_is_never_refused(run, test_set, monkeypatch):
    monkeypatch.setattr(summary, "SUITES", {"strong": Suite(("fgsm", "cw3"), {})})
    found = Diagnosis((Check("a_check", "pass", "What was seen.", "What to do."),))
    monkeypatch.setattr(checks, "diagnose", lambda *_, **__: found)
    assert _evaluate(f"--run_dir={run}", "--fail_on=warn") == 0


def test_an_entry_for_robustbench(run, test_set, unchecked, capsys):
    assert _evaluate(f"--run_dir={run}", "--format=robustbench") == 0
    file = run / "evaluation" / "robustbench.json"
    assert str(file) in capsys.readouterr().out
    entry, results = json.loads(file.read_text()), _results(file.parent)
    assert entry["clean_acc"] == f"{100 * results['clean_accuracy']:.2f}"
    assert entry["autoattack_acc"] is None


def test_an_earlier_evaluation_of_the_same_folder_is_kept(run, test_set, unchecked, capsys):
    assert _evaluate(f"--run_dir={run}") == 0
    first = (run / "evaluation" / "results.json").read_bytes()
    assert "earlier results" not in capsys.readouterr().out
    assert _evaluate(f"--run_dir={run}", "--seed=1") == 0
    assert (
        f"earlier results are kept in {run / 'evaluation' / 'earlier'}" in capsys.readouterr().out
    )
    (kept,) = (run / "evaluation" / "earlier").glob("*/results.json")
    assert kept.read_bytes() == first


@pytest.mark.parametrize("writer", [report, saved_examples, robustbench])
def test_results_that_cannot_be_written_are_one_line_and_the_command_resumes(
    writer, run, test_set, unchecked, monkeypatch, capsys
):
    argv = [f"--run_dir={run}", "--save_examples", "--format=robustbench"]
    with monkeypatch.context() as full:
        full.setattr(writer, "write_atomically", full_disk)
        assert _evaluate(*argv) == 1
    (state,) = (run / "evaluation" / ".state").iterdir()
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: cannot read or write {run / 'evaluation'} (No space left on device); the same "
        f"command resumes from {state}"
    )
    assert _evaluate(*argv) == 0
    assert f"resuming from {state}" in capsys.readouterr().out
    assert not state.exists()
    assert not (run / "evaluation" / "earlier").exists()


def _outcome(folder):
    """results.json without what may differ between two runs of one evaluation."""
    results = _results(folder)
    del results["command"], results["date"]
    del results["checks_seconds"]
    for timed in (*results["attacks"], *results["checks"]):
        del timed["seconds"]
    return results


def test_saved_examples_are_verified_again(run, test_set, split, tmp_path, unchecked):
    argv = [f"--run_dir={run}", f"--output_dir={tmp_path}"]
    assert _evaluate(*argv, "--save_examples", "--seed=3") == 0
    first = _results(tmp_path)
    assert first["worst_case_accuracy"] < first["clean_accuracy"]
    file = tmp_path / "adversarial_examples.npz"
    with np.load(file, allow_pickle=False) as saved:
        arrays = dict(saved)
    indices = arrays["indices"]
    assert len(indices) == round(20 * (1 - first["worst_case_accuracy"]))
    assert arrays["images"].dtype == np.float32
    assert np.abs(arrays["images"] - split.images[indices] / 255).max() <= 0.1 + 1e-6
    np.testing.assert_array_equal(arrays["labels"], split.labels[indices])
    assert (arrays["predictions"] != arrays["labels"]).all()
    assert set(arrays["attacks"]) <= {"fgsm", "pgd3", "cw3"}
    assert (arrays["epsilon"], arrays["seed"]) == (0.1, 3)
    assert arrays["classifier_sha256"] == "12" * 32
    assert arrays["dataset_sha256"] == first["dataset_sha256"] == split.sha256()

    assert _evaluate(*argv, f"--verify_examples={file}", "--step_size=0.001") == 0
    again = _results(tmp_path)
    assert again["attacks"][0]["name"] == "saved_examples"
    assert again["attacks"][0]["accuracy"] == first["worst_case_accuracy"]
    assert again["attacks"][0]["parameters"]["path"] == str(file)

    # Those outside of a smaller ball count for nothing.
    assert _evaluate(*argv, f"--verify_examples={file}", "--epsilon=0.0001") == 0
    assert _results(tmp_path)["attacks"][0]["accuracy"] == first["clean_accuracy"]


def test_other_files_are_no_saved_examples(run, test_set, split, tmp_path, capsys):
    arrays = {
        "indices": np.array([2, 5]),
        "images": np.zeros((2, 8, 8, 1), np.float32),
        "dataset_sha256": np.array(split.sha256()),
    }

    def refused(*argv, **changes):
        file = tmp_path / "file.npz"
        np.savez(file, **{**arrays, **changes})
        return _refused(capsys, f"--run_dir={run}", f"--verify_examples={file}", *argv)

    assert "other examples" in refused("--num_examples=7")
    assert "other examples" in refused(dataset_sha256=np.array("other"))
    assert "(4, 4, 1)" in refused(images=np.zeros((2, 4, 4, 1), np.float32))
    assert "rising integers" in refused(indices=np.array([5, 2]))
    assert "rising integers" in refused(indices=np.array([2]))
    assert "rising integers" in refused(images=np.zeros((2, 8, 8, 1)))
    assert "no adversarial examples" in refused(images=np.array([None, {}], object))
    for content in (b"", b"PK", b"no archive"):
        (tmp_path / "bytes").write_bytes(content)
        argv = [f"--run_dir={run}", f"--verify_examples={tmp_path / 'bytes'}"]
        assert "no adversarial examples" in _refused(capsys, *argv)
    missing = f"--verify_examples={tmp_path / 'missing.npz'}"
    assert "cannot read" in _refused(capsys, f"--run_dir={run}", missing)
    assert not (run / "evaluation").exists()


def test_arithmetic_that_repeats_itself_on_demand(run, test_set, unchecked, monkeypatch):
    calls = []
    monkeypatch.setattr(devices, "make_deterministic", lambda: calls.append(1))
    assert _evaluate(f"--run_dir={run}", "--deterministic") == 0
    assert calls == [1]
    assert _evaluate(f"--run_dir={run}") == 0
    assert calls == [1]


def test_images_made_against_sources(run, test_set, keras_file, tmp_path, unchecked):
    argv = [f"--run_dir={run}", f"--output_dir={tmp_path / 'out'}", f"--source={run},{keras_file}"]
    argv.append("--attacks=transfer_fgsm,fgsm")
    assert commands.call(evaluate, *argv) == 0
    results = _results(tmp_path / "out")
    transferred = {a["name"]: a for a in results["attacks"] if a["name"] != "fgsm"}
    assert list(transferred) == ["transfer_fgsm@run", "transfer_fgsm@model.keras"]
    of_run, of_file = (attack["parameters"] for attack in transferred.values())
    assert of_run["source"] == str(run)
    assert (of_run["source_method"], of_run["source_seed"]) == ("fs_gan", 0)
    assert of_run["source_sha256"] == "12" * 32
    assert (of_file["source"], of_file["source_method"]) == (keras_file, None)
    # The sources are the classifier itself, so that the images fool as FGSM's own do.
    assert results["attacks"][0]["accuracy"] == results["worst_case_accuracy"]
    assert [source.split(":")[0] for source in results["sources"]] == ["run", "model.keras"]


def test_sources_of_one_name_are_told_apart(run, test_set, keras_file, tmp_path, unchecked):
    copy = tmp_path / "model.keras"
    shutil.copy(keras_file, copy)
    argv = [f"--run_dir={run}", "--attacks=transfer_fgsm", f"--source={keras_file},{copy}"]
    assert commands.call(evaluate, *argv) == 0
    names = [attack["name"] for attack in _results(run / "evaluation")["attacks"]]
    assert names == [f"transfer_fgsm@{keras_file}", f"transfer_fgsm@{copy}"]


def test_sources_that_are_missing_or_do_not_fit(run, test_set, tmp_path, capsys):
    argv = [f"--run_dir={run}", "--suite=paper_black_box"]
    assert commands.call(evaluate, *argv) == 2
    assert "--source=RUN_DIR" in capsys.readouterr().err
    path = tmp_path / "other.keras"
    keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]).save(
        path
    )
    assert "(4, 4, 1)" in _refused(capsys, f"--run_dir={run}", f"--source={path}")
    assert not (run / "evaluation").exists()


def test_two_devices_write_what_one_writes(test_set, saved_model, keras_file, tmp_path, unchecked):
    for strategy in ("one_device", "mirrored"):
        argv = _foreign("saved_model", saved_model, tmp_path / strategy)
        argv += [f"--strategy={strategy}", f"--source={keras_file}"]
        argv.append("--attacks=pgd3,transfer_pgd3")
        argv.append("--batch_size=3")
        assert commands.call(evaluate, *argv) == 0
    assert _outcome(tmp_path / "one_device" / "o") == _outcome(tmp_path / "mirrored" / "o")


def test_an_interrupted_evaluation_goes_on(run, test_set, tmp_path, unchecked, monkeypatch, capsys):
    argv = [f"--run_dir={run}", "--restarts=2", "--save_examples"]
    whole = tmp_path / "whole"
    assert _evaluate(*argv, f"--output_dir={whole}") == 0
    attack_a_batch = engine.Evaluator._outcome
    batches = []

    def until_the_fifth(*args):
        batches.append(args)
        if len(batches) == 5:
            signal.raise_signal(signal.SIGTERM)
        return attack_a_batch(*args)

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(engine.Evaluator, "_outcome", until_the_fifth)
    assert _evaluate(*argv) == 130
    assert signal.getsignal(signal.SIGTERM) is handler
    state = run / "evaluation" / ".state"
    assert f"the same command resumes from {state}" in capsys.readouterr().err
    assert len(list(state.glob("*/*.npz"))) == 4
    assert set((run / "evaluation").iterdir()) == {state, run / "evaluation" / ".lock"}

    assert _evaluate(*argv) == 0
    assert "batches done: 4" in capsys.readouterr().out
    assert not state.exists()
    assert _outcome(run / "evaluation") == _outcome(whole)
    examples = [folder / "adversarial_examples.npz" for folder in (whole, run / "evaluation")]
    assert examples[0].read_bytes() == examples[1].read_bytes()


@pytest.mark.slow
def test_an_evaluation_killed_at_any_moment_goes_on(tmp_path):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
    keras.Sequential(layers).save(tmp_path / "model.keras")
    command = [
        *(sys.executable, "-m", "fsgan_tf.evaluate", f"--keras_model={tmp_path / 'model.keras'}"),
        *("--dataset=digits", "--image_size=8", "--epsilon=0.01", "--batch_size=4"),
        *("--attacks=fgsm,pgd20,cw20", "--restarts=3"),
    ]
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    subprocess.run([*command, f"--output_dir={whole}"], check=True, stdout=subprocess.DEVNULL)
    state = killed / ".state"
    for number in (3, 12, 20):
        process = subprocess.Popen([*command, f"--output_dir={killed}"], stdout=subprocess.DEVNULL)
        while len(list(state.glob("*/*.npz"))) < number:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, f"--output_dir={killed}"], check=True, stdout=subprocess.DEVNULL)
    assert _outcome(killed) == _outcome(whole)
    assert not state.exists()


def test_which_classifier_must_be_said_once(capsys, keras_file, run):
    assert "exactly one of" in _refused(capsys)
    assert "exactly one of" in _refused(capsys, f"--run_dir={run}", f"--keras_model={keras_file}")


def test_foreign_models_need_what_only_a_run_knows(capsys, keras_file, tmp_path):
    argv = [f"--keras_model={keras_file}"]
    assert "--output_dir" in _refused(capsys, *argv)
    argv.append(f"--output_dir={tmp_path / 'out'}")
    assert "give --dataset" in _refused(capsys, *argv)
    assert "give --epsilon" in _refused(capsys, *argv, "--dataset=digits")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epsilon=0"], "epsilon"),
        (["--epsilon=-8/255"], "epsilon"),
        (["--epsilon=1.5", "--norm=linf"], "epsilon"),
        (["--epsilon=eight"], "eight"),
        (["--epsilons=inf,1", "--norm=l2"], "--epsilons=inf,1: must be finite numbers"),
        (["--suite=fast"], "suite"),
        (["--batch_size=0"], "batch_size"),
        (["--num_examples=0"], "num_examples"),
        (["--attack=fgsm"], "attack"),
        (["--num_examples=two"], "must be a whole number"),
        (["--channels=red"], "must be a whole number"),
        (["--expected_clean_accuracy=92"], "a share from 0 to 1, such as 0.92"),
        (["--expected_clean_accuracy=high"], "a share from 0 to 1, such as 0.92"),
        (["--n=5"], "did you mean --num_examples?"),
        (["words"], "words"),
    ],
)
def test_bad_flags(argv, message, capsys):
    assert message in _refused(capsys, "--run_dir=x", *argv)


def test_unknown_attack_or_large_step(capsys, run, test_set):
    assert commands.call(evaluate, f"--run_dir={run}", "--attacks=fgsm,deepfool") == 2
    assert "unknown attack 'deepfool'; there are a3, apgd_ce" in capsys.readouterr().err
    assert "at most epsilon" in _refused(capsys, f"--run_dir={run}", "--step_size=0.2")
    assert test_set == []
    assert not (run / "evaluation").exists()


def test_folders_that_are_no_run(capsys, tmp_path):
    assert "nowhere" in _refused(capsys, f"--run_dir={tmp_path / 'nowhere'}")
    assert not (tmp_path / "nowhere").exists()


def _foreign(flag, path, tmp_path):
    return [f"--{flag}={path}", "--dataset=digits", "--epsilon=0.1", f"--output_dir={tmp_path}/o"]


@pytest.mark.parametrize("flag", ["keras_model", "saved_model"])
def test_files_that_are_no_model(flag, capsys, tmp_path):
    missing = _foreign(flag, tmp_path / "missing", tmp_path)
    assert "missing" in _refused(capsys, *missing)
    damaged = tmp_path / "damaged.keras"
    if flag == "saved_model":
        damaged.mkdir()
        (damaged / "saved_model.pb").write_bytes(b"no graph")
    else:
        damaged.write_bytes(b"no model")
    assert "damaged" in _refused(capsys, *_foreign(flag, damaged, tmp_path))
    assert not (tmp_path / "o").exists()


def test_keras_files_with_code_are_not_run(capsys, tmp_path):
    path = tmp_path / "code.keras"
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Lambda(lambda x: x[:, :3, 0, 0], output_shape=(3,))(inputs)
    keras.Model(inputs, outputs).save(path)
    assert "Lambda holds code" in _refused(capsys, *_foreign("keras_model", path, tmp_path))


def test_models_that_do_not_fit_the_data(capsys, tmp_path, test_set):
    path = tmp_path / "other.keras"
    layers = [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    keras.Sequential(layers).save(path)
    message = _refused(capsys, *_foreign("keras_model", path, tmp_path))
    assert "(4, 4, 1)" in message
    assert "(8, 8, 1)" in message

    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(7)]
    keras.Sequential(layers).save(path)
    message = _refused(capsys, *_foreign("keras_model", path, tmp_path))
    assert "7 classes" in message
    assert "3 classes" in message

    keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]).save(path)
    assert "64 values" in _refused(capsys, *_foreign("keras_model", path, tmp_path))
    assert not (tmp_path / "o").exists()


def test_a_folder_that_another_evaluation_writes_to(capsys, run, test_set):
    folder = run / "evaluation"
    with sole_writer(folder, activity="evaluation", flag="output_dir"):
        message = _refused(capsys, f"--run_dir={run}")
    assert f"another evaluation writes to {folder} (process {os.getpid()} on " in message
    assert "give another --output_dir" in message
    assert [file.name for file in folder.iterdir()] == [".lock"]


def test_output_folder_that_cannot_be_made(capsys, run, test_set, tmp_path):
    (tmp_path / "file").touch()
    message = _refused(capsys, f"--run_dir={run}", f"--output_dir={tmp_path / 'file' / 'out'}")
    assert "cannot make the folder" in message


def test_importing_the_command_imports_no_tensorflow():
    code = "import sys, fsgan_tf.evaluate; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(
    test_set, keras_file, tmp_path, capsys
):
    arguments = [f"--keras_model={keras_file}", "--dataset=digits", "--epsilon=8/255"]
    assert _evaluate(*arguments, "--dry_run") == 0
    printed = capsys.readouterr().out
    assert "images: 20" in printed
    assert "cw3: 3 passes an image" in printed
    assert "time: at most" in printed
    assert list(tmp_path.iterdir()) == []
    assert _evaluate(*arguments) == 2  # Without --output_dir there is nowhere to write to.
