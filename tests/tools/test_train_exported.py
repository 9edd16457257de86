"""Exported trainings: epochs as the command has them, and the way back into run directories."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from exported import epoch, run_directory, training

from fsgan_tf import train
from fsgan_tf.cli import training_flags
from fsgan_tf.data import batches
from fsgan_tf.data.augmentation import crop_flip
from fsgan_tf.errors import UserError
from fsgan_tf.runs.checkpoints import Progress, variables_of
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.training.build import build_method
from fsgan_tf.training.setup import prepare
from fsgan_tf.training.start import start
from fsgan_tf.training.stop_request import StopRequest
from tests.commands import call
from tests.small_training import SMALL
from tools import train_exported

_FLAGS = (
    *("--dataset=digits", f"--architecture={SMALL}", "--batch_size=32"),
    *("--epochs=2", "--train_examples=160", "--validation_examples=64", "--eval_examples=0"),
    *("--precision=float32", "--schedule=cosine", "--ema_decay=0.9"),
)


def _flag_file(folder, name, *flags):
    file = folder / f"{name}.flags"
    file.write_text("\n".join([*_FLAGS, *flags, f"--run_dir={folder / name}"]))
    return file


def _command(*words: object) -> int:
    return call(train_exported, *words)


@pytest.fixture
def exported(tmp_path):
    """The folder of one exported training, NAME."""
    assert (
        _command("export", tmp_path / "exported", _flag_file(tmp_path, "NAME", "--method=standard"))
        == 0
    )
    return tmp_path / "exported"


def _trained_in_tensorflow(run: RunDirectory, epochs: int):
    """The method after so many epochs of the exported function, and their means."""
    made = prepare(run.read_configuration(), StopRequest(), ())
    start(made, None)
    method, split = made.method, made.dataset.train
    method.set_total_steps(made.settings.epochs * made.steps_per_epoch)
    augmentation = made.configuration.data.augmentation.replace("auto", "none")
    function = epoch.epoch_function(
        method, examples=len(split), batch_size=32, augmentation=augmentation
    )
    rates = run_directory._rates(made, run.checkpoints.read_progress())
    means = [
        function(
            tf.constant(split.images),
            tf.constant(split.labels),
            tf.constant(made.settings.seed, tf.int64),
            tf.constant(index, tf.int64),
            tf.constant(rates[index], tf.float32),
        ).numpy()
        for index in range(epochs)
    ]
    return method, means


@pytest.mark.slow
def test_ten_exported_steps_are_ten_of_the_training(tmp_path):
    flags = ("--seed=3", "--method=standard", "--augmentation=crop_flip")
    trained, other = (_flag_file(tmp_path, name, *flags) for name in ("trained", "other"))
    assert call(train, f"--flagfile={trained}") == 0
    assert _command("export", tmp_path / "exported", other) == 0
    ours, means = _trained_in_tensorflow(RunDirectory(tmp_path / "other"), 2)
    arrays, progress = RunDirectory(tmp_path / "trained").checkpoints.read_newest(True)
    rows = RunDirectory(tmp_path / "trained").metrics.read()
    assert progress.epoch == 2
    loss = ours.reports.index("loss")
    for row, values in zip(rows, means, strict=True):
        assert row["loss"] == pytest.approx(float(values[loss]), rel=1e-3)
    variables = variables_of(ours)
    assert variables["classifier_optimizer/0_iteration"].numpy() == 10
    assert arrays.keys() - {"__progress__"} == variables.keys()
    first = _first_values(RunDirectory(tmp_path / "other"))
    for part in ("classifier/", "classifier_average/"):
        names = [name for name in variables if name.startswith(part)]
        apart = sum(np.sum((arrays[name] - variables[name].numpy()) ** 2.0) for name in names)
        moved = sum(np.sum((arrays[name] - first[name]) ** 2.0) for name in names)
        # XLA rounds otherwise, and a training amplifies that.
        assert apart < 0.01 * moved, part


def _first_values(run: RunDirectory):
    return run.checkpoints.read_newest(with_optimizers=True)[0]


def test_the_order_and_the_augmentation_are_those_of_the_data(tmp_path):
    images = np.random.default_rng(0).random((64, 16, 12, 3), np.float32)
    seed = batches.stream_seed(7, tf.constant(2), 5)
    ours = tf.function(epoch.crop_flip, jit_compile=True)(tf.constant(images), seed)
    theirs = crop_flip(16, 12)(tf.constant(images), seed)
    np.testing.assert_array_equal(ours, theirs)
    order = tf.function(batches.permutation, jit_compile=True)(500, batches.stream_seed(7, 2, 0))
    np.testing.assert_array_equal(order, batches.permutation(500, batches.stream_seed(7, 2, 0)))


@pytest.mark.slow
def test_a_method_that_counts_epochs_is_told_of_them(tmp_path):
    flags = ("--method=fgsm_pgi", "--prior_epochs=1")
    assert _command("export", tmp_path / "exported", _flag_file(tmp_path, "NAME", *flags)) == 0
    method, _ = _trained_in_tensorflow(RunDirectory(tmp_path / "NAME"), 2)
    assert int(method.round) == 1


@pytest.mark.slow
def test_an_exported_step_draws_what_the_training_draws(tmp_path):
    flags = ("--seed=3", "--method=n_fgsm", "--train_examples=32", "--epochs=1")
    trained, other = (_flag_file(tmp_path, name, *flags) for name in ("trained", "other"))
    assert call(train, f"--flagfile={trained}") == 0
    assert _command("export", tmp_path / "exported", other) == 0
    method, ((loss, *_),) = _trained_in_tensorflow(RunDirectory(tmp_path / "other"), 1)
    assert method.reports[0] == "loss"
    (row,) = RunDirectory(tmp_path / "trained").metrics.read()
    assert row["loss"] == pytest.approx(float(loss), rel=1e-5)


def _result(file, run, *, precise):
    """What `train` writes, made by TensorFlow; the arrays that the method has after an epoch."""
    method, means = _trained_in_tensorflow(run, 1)
    arrays = {name: np.asarray(variable) for name, variable in variables_of(method).items()}
    if not precise:
        kept = [name for name in arrays if name.startswith(("classifier/", "classifier_average/"))]
        arrays = {
            name: arrays[name].astype(np.float16)
            if arrays[name].dtype.kind == "f"
            else arrays[name]
            for name in kept
        }
    row = {"epoch": 0, "step": 5, "loss": float(means[0][0]), "images_per_second": 9.0}
    record = json.dumps(
        {
            "rows": [row],
            "device": "an accelerator",
            "precise": precise,
            "export_sha256": training.sha256_of_export(file.parents[1] / "exported" / "NAME"),
        }
    )
    file.parent.mkdir()
    np.savez(file, **arrays, __record__=np.frombuffer(record.encode(), np.uint8))
    return arrays


@pytest.mark.slow
def test_a_precise_result_comes_back_and_the_training_goes_on(exported, tmp_path, capsys):
    run = RunDirectory(tmp_path / "NAME")
    arrays = _result(tmp_path / "results" / "NAME.npz", run, precise=True)
    assert _command("restore", exported, tmp_path / "results") == 0
    found, progress = run.checkpoints.read_newest(with_optimizers=True)
    assert (progress.epoch, progress.step_in_epoch) == (1, 0)
    assert arrays.keys() == found.keys() - {"__progress__"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    (row,) = run.metrics.read()
    assert {"loss", "clean_accuracy", "robust_accuracy"} <= row.keys()
    (start_line,) = run.starts_file.read_text().splitlines()
    assert json.loads(start_line)["machine"] == "an accelerator"
    before = run.starts_file.read_text(), run.metrics.file.read_text()
    assert _command("restore", exported, tmp_path / "results") == 0
    assert f"already restored: {run.path}" in capsys.readouterr().out
    assert (run.starts_file.read_text(), run.metrics.file.read_text()) == before
    assert call(train, f"--run_dir={run.path}") == 0
    assert _command("restore", exported, tmp_path / "results") == 2
    assert "is not at the checkpoint" in capsys.readouterr().err
    assert [row["epoch"] for row in run.metrics.read()] == [0, 1]


@pytest.mark.slow
def test_a_result_that_lacks_a_variable_is_refused_and_changes_nothing(exported, tmp_path, capsys):
    run, file = RunDirectory(tmp_path / "NAME"), tmp_path / "results" / "NAME.npz"
    _result(file, run, precise=True)
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files if "logits" not in name}
    np.savez(file, **arrays)
    assert _command("restore", exported, tmp_path / "results") == 2
    assert "is missing" in capsys.readouterr().err
    assert run.checkpoints.read_progress().epoch == 0
    assert run.metrics.read() == []


@pytest.mark.slow
def test_a_result_of_another_export_of_the_same_name_is_refused(exported, tmp_path, capsys):
    run = RunDirectory(tmp_path / "NAME")
    _result(tmp_path / "results" / "NAME.npz", run, precise=True)
    description = exported / "NAME" / "training.json"
    description.write_text(description.read_text().replace('"seed": 0', '"seed": 1'))
    assert _command("restore", exported, tmp_path / "results") == 2
    assert "was trained from another export" in capsys.readouterr().err
    assert run.checkpoints.read_progress().epoch == 0


@pytest.mark.slow
def test_an_imprecise_result_holds_the_networks_alone(exported, tmp_path, capsys):
    run = RunDirectory(tmp_path / "NAME")
    arrays = _result(tmp_path / "results" / "NAME.npz", run, precise=False)
    assert _command("restore", exported, tmp_path / "results") == 0
    found, _ = run.checkpoints.read_newest(with_optimizers=True)
    assert found.keys() == {"__progress__", *arrays}
    assert all(found[name].dtype == np.float32 for name in arrays if arrays[name].dtype.kind == "f")
    assert call(train, f"--run_dir={run.path}") == 2
    assert "does not fit" in capsys.readouterr().err


@pytest.mark.slow
def test_an_exported_training_is_one_program_and_its_first_values(exported):
    described = training.read_description(exported / "NAME")
    assert (exported / "NAME" / "epoch.stablehlo").read_bytes().startswith(b"ML\xefR")
    assert np.shape(described.rates) == (2, 5, 1)
    assert (described.seed, described.first_epoch, described.batch_size) == (0, 0, 32)
    with np.load(exported / "images.npz") as images:
        assert images["images"].shape == (160, 32, 32, 3)
        assert training.sha256_of(images["images"], images["labels"]) == described.images_sha256
    for name, digest in described.variables.items():
        with np.load(exported / "arrays" / f"{digest}.npz") as array:
            assert np.isfinite(array["array"]).all(), name


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--last_batch=keep --batch_size=33", "--last_batch=keep"),
        ("--keep=best", "--keep=best"),
        ("--batch_size=161", "fewer than one batch"),
    ],
)
def test_what_cannot_be_exported_is_one_line(flag, words, tmp_path, capsys):
    file = _flag_file(tmp_path, "NAME", "--method=standard", *flag.split())
    assert _command("export", tmp_path / "exported", file) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "NAME").exists()


@pytest.mark.slow
def test_trainings_of_one_folder_share_their_images(exported, tmp_path, capsys):
    other = _flag_file(tmp_path, "other", "--method=standard", "--train_examples=128")
    assert _command("export", exported, other) == 2
    assert "holds other training images" in capsys.readouterr().err


@pytest.fixture
def described(tmp_path):
    """An exported training of two epochs, NAME, without a program: its folder and description."""
    folder = tmp_path / "exported"
    kernel = training.write_array(folder, np.float32([1, 2, 3]))
    description = training.Description(
        run_dir=str(tmp_path / "run"),
        images_sha256="images",
        seed=0,
        first_epoch=0,
        batch_size=8,
        networks=["classifier"],
        rates=[[[0.1]], [[0.1]]],
        reports=["loss"],
        variables={"classifier/kernel": kernel},
    )
    training.write(folder / "NAME", b"no program", description)
    return folder, description


def _earlier(folder, results, epochs, **changed):
    """A result of so many epochs."""
    rows = [
        {"epoch": index, "step": 5, "loss": 1.5, "images_per_second": 9.0} for index in range(2)
    ]
    record = {
        "rows": rows[:epochs],
        "device": "an accelerator",
        "precise": True,
        "export_sha256": training.sha256_of_export(folder / "NAME"),
        **changed,
    }
    results.mkdir(exist_ok=True)
    content = np.frombuffer(json.dumps(record).encode(), np.uint8)
    np.savez(
        results / "NAME.npz", __record__=content, **{"classifier/kernel": np.float32([4, 5, 6])}
    )
    return rows[:epochs]


def test_a_complete_result_is_not_trained_again(described, tmp_path, capsys):
    folder, _ = described
    _earlier(folder, tmp_path / "results", 2)
    before = (tmp_path / "results" / "NAME.npz").read_bytes()
    assert _command("train", folder, tmp_path / "results") == 0
    assert "NAME: all epochs are in" in capsys.readouterr().out
    assert (tmp_path / "results" / "NAME.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"precise": False}, "holds 1 of 2 epochs and the networks alone"),
        ({"export_sha256": "12" * 32}, "was trained from another export"),
    ],
)
def test_a_result_that_cannot_go_on_is_not_replaced(described, tmp_path, capsys, changed, words):
    folder, _ = described
    _earlier(folder, tmp_path / "results", 1, **changed)
    before = (tmp_path / "results" / "NAME.npz").read_bytes()
    assert _command("train", folder, tmp_path / "results") == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'results' / 'NAME.npz'} {words}" in error
    assert error.count("\n") == 1
    assert (tmp_path / "results" / "NAME.npz").read_bytes() == before


def _begun(folder, result, monkeypatch):
    """An exported training on a device that is NumPy's arrays."""
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(device_put=np.asarray))
    one = training.ExportedTraining(folder / "NAME", SimpleNamespace(read=lambda file: None))
    one.begin(SimpleNamespace(sha256="images"), result)
    return one


def test_training_goes_on_from_a_precise_result(described, tmp_path, monkeypatch):
    folder, _ = described
    file = tmp_path / "results" / "NAME.npz"
    first = _begun(folder, file, monkeypatch)
    assert (first.rows, first.is_done) == ([], False)
    np.testing.assert_array_equal(first._values, [[1, 2, 3]])
    rows = _earlier(folder, file.parent, 1)
    later = _begun(folder, file, monkeypatch)
    assert (later.rows, later.is_done) == (rows, False)
    np.testing.assert_array_equal(later._values, [[4, 5, 6]])


def test_a_first_value_is_there_whole_or_not_at_all(described, tmp_path, monkeypatch):
    folder, _ = described

    def killed(file, **arrays):
        # NumPy takes a name as well.
        (file.write if hasattr(file, "write") else Path(file).write_bytes)(b"PK\3\4 and no more")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", killed)
    with pytest.raises(KeyboardInterrupt):
        training.write_array(folder, np.float32([7]))
    assert len(list((folder / "arrays").iterdir())) == 1


@pytest.mark.parametrize("size", [0, 10, 150])
def test_a_damaged_first_value_is_one_line(described, tmp_path, monkeypatch, size):
    folder, _ = described
    (file,) = (folder / "arrays").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:size] + bytes(100) + content[size + 100 :] if size else b"")
    with pytest.raises(UserError, match=f"cannot read {file}, a first value of NAME"):
        _begun(folder, tmp_path / "none.npz", monkeypatch)


def test_what_is_already_restored_is_left_as_it_is(described, tmp_path, capsys):
    folder, description = described
    (row,) = _earlier(folder, tmp_path / "results", 1)
    run = RunDirectory(description.run_dir)
    configuration = training_flags.parse([*_FLAGS, "--method=standard", f"--run_dir={run.path}"])
    run.prepare(configuration)
    method = build_method(configuration, 10, (32, 32, 3))
    run.checkpoints.save(method, Progress(1, 0, tuple("0123456789"), (32, 32, 3)))
    run.metrics.append({**row, "robust_accuracy": 0.5})
    assert _command("restore", folder, tmp_path / "results") == 0
    assert capsys.readouterr().out == f"already restored: {run.path}\n"
    run.metrics.keep_before(0)
    run.metrics.append({**row, "loss": 2.5})
    assert _command("restore", folder, tmp_path / "results") == 2
    assert "is not at the checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("export", "x"), ("train", "x"), ("restore",), ("fly", "x")])
def test_what_to_do_must_be_said(capsys, words):
    assert _command(*words) == 2
    assert "export FOLDER FLAGFILE" in capsys.readouterr().err


def test_folders_without_what_is_asked_for_are_named(tmp_path, capsys):
    for verb in ("train", "restore"):
        assert _command(verb, tmp_path / "none", tmp_path / "results") == 2
        assert str(tmp_path) in capsys.readouterr().err
    (tmp_path / "results").mkdir(exist_ok=True)
    for content in (b"", b"PK\3\4 and no more", b"an array"):
        (tmp_path / "results" / "NAME.npz").write_bytes(content)
        assert _command("restore", tmp_path / "none", tmp_path / "results") == 2
        assert "not the result of an exported training" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_jax_trains_as_tensorflow_does(exported, tmp_path):
    assert _command("train", exported, tmp_path / "results") == 0
    arrays, record = training.read_result(tmp_path / "results" / "NAME.npz")
    assert len(record.rows) == 2
    method, means = _trained_in_tensorflow(RunDirectory(tmp_path / "NAME"), 2)
    for row, values in zip(record.rows, means, strict=True):
        assert [row[name] for name in method.reports] == pytest.approx(values.tolist(), rel=2e-3)
    assert variables_of(method).keys() == arrays.keys()
