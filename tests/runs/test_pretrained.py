"""Classifiers that come with the package: their weights, their cards, and who takes them."""

import dataclasses
import json
import sys

import keras
import numpy as np
import pytest

import fsgan_tf
from fsgan_tf import evaluate, train
from fsgan_tf.cli import training_flags
from fsgan_tf.data import loading
from fsgan_tf.errors import UserError
from fsgan_tf.networks.weights import stable_paths
from fsgan_tf.runs import pretrained
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.runs.restored import restore_classifier
from fsgan_tf.training import loop
from fsgan_tf.training.build import build_method
from tests.commands import ROOT, call

DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDirectory:
    """A run of the digits' network, with weights that float16 does not hold."""
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "standard")
    flags = ["--method=standard", "--precision=float32", "--data_dir=/elsewhere"]
    values = training_flags.parse([*flags, "--epochs=3", f"--run_dir={run.path}"])
    method = build_method(values, 10, (32, 32, 3))
    run.prepare(values)
    run.checkpoints.save(method, Progress(3, 0, DIGITS, (32, 32, 3)))
    return run


@pytest.fixture
def folder(run, tmp_path, monkeypatch):
    """Where `tiny` is packaged."""
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    pretrained.write(restore_classifier(run.path), tmp_path / "tiny.npz")
    return tmp_path


def test_kernels_come_back_as_float16_holds_them_and_all_else_as_it_was(run, folder):
    assert pretrained.names() == ["tiny"]
    model = fsgan_tf.load_pretrained("tiny")
    weights, expected = map(stable_paths, (model, restore_classifier(run.path).model))
    assert set(weights) == set(expected)
    changed = 0
    for name, weight in weights.items():
        original = expected[name].numpy()
        assert weight.dtype == "float32"
        rounded = original.astype(np.float16) if original.ndim > 1 else original
        np.testing.assert_array_equal(weight.numpy(), rounded, err_msg=name)
        changed += int(np.any(rounded != original))
    assert changed
    restored = pretrained.restore("tiny")
    assert restored.class_names == DIGITS
    assert restored.progress == Progress(3, 0, DIGITS, (32, 32, 3))
    assert restored.configuration.training.method == "standard"


def test_the_file_says_nothing_of_the_machine_it_was_made_on(run, folder):
    content = (folder / "tiny.npz").read_bytes()
    settings = pretrained.restore("tiny").configuration
    assert str(run.path) not in settings.to_flags()
    assert b"elsewhere" not in content


@pytest.mark.parametrize(
    ("name", "words"), [("tinny", ["'tinny'", "tiny"]), ("tiny", ["tiny.npz is damaged"])]
)
def test_what_cannot_be_loaded_is_one_line(folder, name, words):
    file = folder / "tiny.npz"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError) as caught:
        fsgan_tf.load_pretrained(name)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize("architecture", ["trap:build", "trap.keras"])
@pytest.mark.parametrize("flag", ["", "--pretrained", "--init_from"])
def test_a_file_that_names_code_is_refused_before_that_runs(
    folder, tmp_path, monkeypatch, capsys, architecture, flag
):
    (tmp_path / "trap.py").write_text("raise SystemExit('the code of the file was run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = folder / "tiny.npz"
    with np.load(file) as archive:
        arrays = dict(archive)
    record = json.loads(arrays[pretrained._RECORD].tobytes())
    record["flags"]["architecture"] = architecture
    arrays[pretrained._RECORD] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    np.savez(file, **arrays)
    if flag == "--pretrained":
        assert call(evaluate, f"{flag}={file}", f"--output_dir={tmp_path / 'out'}") == 2
    elif flag == "--init_from":
        flags = ["--train_examples=64", "--validation_examples=8", f"--run_dir={tmp_path / 'run'}"]
        assert call(train, f"{flag}={file}", *flags) == 2
    else:
        with pytest.raises(UserError) as caught:
            fsgan_tf.load_pretrained(str(file))
        print(caught.value, file=sys.stderr)
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{file} is refused" in message
    assert architecture in message


def test_a_network_too_large_or_of_ones_own_is_refused(run, tmp_path, monkeypatch):
    restored = restore_classifier(run.path)
    monkeypatch.setattr(pretrained, "MAX_BYTES", 100_000)
    with pytest.raises(UserError, match="MB in float16, and a packaged classifier may take"):
        pretrained.write(restored, tmp_path / "a.npz")
    values = training_flags.parse(["--architecture=mine:build"])
    own = type(restored)(**{**vars(restored), "configuration": values})
    with pytest.raises(UserError, match="mine:build"):
        pretrained.write(own, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_a_training_starts_from_it_and_an_evaluation_takes_it(
    folder, tmp_path, monkeypatch, capsys
):
    # The initial weights last as long as no step is taken.
    started = {}
    monkeypatch.setattr(loop, "finish", lambda training: None)
    monkeypatch.setattr(
        keras.Model,
        "fit",
        lambda method, **_: started.update(weights=method.classifier.get_weights()),
    )
    flags = ["--method=trades", "--init_from=tiny", "--eval_examples=0", "--epochs=1"]
    flags += ["--train_examples=64", "--precision=float32", f"--run_dir={tmp_path / 'run'}"]
    assert call(train, *flags) == 0
    expected = fsgan_tf.load_pretrained("tiny").get_weights()
    for ours, theirs in zip(started["weights"], expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)

    output = tmp_path / "results"
    flags = ["--pretrained=tiny", "--attacks=fgsm", "--num_examples=4", f"--output_dir={output}"]
    assert call(evaluate, *flags) == 0
    results = json.loads((output / "results.json").read_text())
    assert results["classifier_sha256"] == pretrained.restore("tiny").weights_sha256
    assert (results["dataset"], results["model"]) == ("digits", "tiny")
    assert call(evaluate, "--pretrained=tinny", f"--output_dir={output}") == 2
    assert "there are tiny" in capsys.readouterr().err


def test_a_classifier_of_another_order_of_classes_is_measured_where_their_file_is_not(
    run, folder, tmp_path
):
    order = tmp_path / "order.txt"
    order.write_text("\n".join(reversed(DIGITS)))
    restored = restore_classifier(run.path)
    given = {**restored.configuration.texts(), "class_names": str(order)}
    configuration = type(restored.configuration).from_texts(given)
    other = dataclasses.replace(restored, class_names=DIGITS[::-1], configuration=configuration)
    pretrained.write(other, folder / "tiny.npz")
    assert pretrained.restore("tiny").configuration.data.class_names is None
    order.unlink()
    output = tmp_path / "results"
    flags = ["--pretrained=tiny", "--attacks=fgsm", "--num_examples=4", "--checks=fast"]
    assert call(evaluate, *flags, f"--output_dir={output}") == 0
    reversed_results = json.loads((output / "results.json").read_text())
    pretrained.write(restored, folder / "tiny.npz")
    assert call(evaluate, *flags, f"--output_dir={tmp_path / 'usual'}") == 0
    usual = json.loads((tmp_path / "usual" / "results.json").read_text())
    assert reversed_results["classifier_sha256"] == usual["classifier_sha256"]
    assert reversed_results["dataset_sha256"] != usual["dataset_sha256"]


@pytest.mark.parametrize("name", pretrained.names())
def test_a_packaged_classifier_is_the_one_of_its_figures_and_of_its_card(name):
    assert (pretrained.FOLDER / f"{name}.npz").stat().st_size <= pretrained.MAX_BYTES
    restored, results = pretrained.restore(name), pretrained.results(name)
    assert results["classifier_sha256"] == restored.weights_sha256
    assert (results["suite"], results["split"]) == ("strong", "test")
    card = (pretrained.FOLDER / f"{name}.md").read_text()
    for share in (results["clean_accuracy"], results["worst_case_accuracy"]):
        assert f"{100 * share:.1f} (" in card
    for known in (restored.weights_sha256, results["verdict"], results["command"], "licence"):
        assert known in card
    assert "/work" not in card + json.dumps(results)
    if results["dataset"] == "digits":
        test, _ = loading.load_split("digits", "test")
        test = test.first(results["num_examples"])
        logits = restored.model.predict(test.images / np.float32(255), verbose=0)
        clean = np.mean(np.argmax(logits, axis=1) == test.labels)
        assert clean == pytest.approx(results["clean_accuracy"])


def test_there_is_one_in_every_copy_of_the_package():
    assert pretrained.names()
    (patterns,) = [
        line for line in (ROOT / "pyproject.toml").read_text().splitlines() if "py.typed" in line
    ]
    assert '"pretrained/*"' in patterns
