"""The main command, as a user runs it, on the embedded digits scaled down by flags."""

import errno
import json
import os
import re
import shutil
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fsgan_tf import evaluate, export, predict, train
from fsgan_tf.data import loading
from fsgan_tf.data.sources.digits import DigitsSource
from fsgan_tf.errors import UserError
from fsgan_tf.methods.standard import Standard
from fsgan_tf.models import saving
from fsgan_tf.reporting import manifest
from fsgan_tf.runs.checkpoints import Checkpoints
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.runs.metrics import Metrics
from fsgan_tf.runs.restored import restore_classifier
from fsgan_tf.runs.settings import MAX_ROLLBACKS
from fsgan_tf.training.callbacks import Checkpointing, RobustAccuracy, StepLearningRates
from fsgan_tf.training.finish import is_evaluated
from tests.commands import ROOT, call, python, training
from tests.images import png, random_pixels
from tests.small_training import SMALL

TINY = ["--train_examples=64", "--batch_size=16", "--eval_examples=8", "--precision=float32"]
STANDARD = [*TINY, "--method=standard", f"--architecture={SMALL}"]
FS_GAN = [*TINY, "--epochs=2", "--generator_width=4", "--attack_iterations=1"]
PICTURES = "pictures/clean_adversarial_perturbation"


def _train(*arguments: str) -> int:
    return call(train, *arguments)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDirectory:
    """Two epochs of FS-GAN."""
    path = tmp_path_factory.mktemp("runs") / "fs_gan"
    assert _train(*FS_GAN, f"--run_dir={path}") == 0
    return RunDirectory(path)


@pytest.mark.parametrize("flag", ["run_dir", "dataset", "init_from"])
def test_a_name_too_long_for_a_file_is_told_in_one_line(flag, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call(train, f"--{flag}={'9' * 300}") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("error: ")


def test_the_run_directory_is_complete(run):
    assert run.flags_file.is_file()
    assert len(list(run.checkpoints.folder.glob("*.npz"))) == 2
    assert (run.saved_model / "saved_model.pb").is_file()
    assert (run.evaluation / "report.md").is_file()
    assert (run.evaluation / "report.html").is_file()
    results = json.loads((run.evaluation / "results.json").read_text())
    assert results["num_examples"] == 8
    assert [attack["name"] for attack in results["attacks"]] == ["fgsm", "pgd20", "cw20"]
    assert results["classifier_sha256"] == restore_classifier(run.path).weights_sha256


def test_a_run_says_what_each_start_was_made_with(run):
    (start,) = map(json.loads, run.starts_file.read_text().splitlines())
    assert (start["epoch"], start["step_in_epoch"], start["replicas"]) == (0, 0, 1)
    assert start["command"].startswith("python -m fsgan_tf.train")
    assert start["versions"] == manifest.versions()
    assert start["machine"] == manifest.machine()


def test_metrics_hold_an_object_an_epoch(run):
    rows = run.metrics.read()
    assert [row["epoch"] for row in rows] == [0, 1]
    assert [row["step"] for row in rows] == [4, 8]
    expected = {
        "loss", "cross_entropy", "classifier_ot", "generator_ot", "diversity",
        "perturbation_size", "clean_accuracy", "one_step_accuracy", "robust_accuracy",
        "validation_generator_ot", "validation_replaced_sign_ot", "generator_displacement",
        "diversity_share", "validation_latent_share", "images_per_second",
        "learning_rate_classifier", "learning_rate_generator",
    }  # fmt: skip
    for row in rows:
        assert expected <= set(row)
        assert np.isfinite([row[name] for name in expected]).all()


def test_tensorboard_has_scalars_pictures_flags_and_hparams(run):
    events = EventAccumulator(str(run.tensorboard), size_guidance={"images": 0}).Reload()
    tags = events.Tags()["tensors"]
    for tag in (
        "train/loss", "train/generator_ot", "train/diversity", "validation/clean_accuracy",
        "validation/robust_accuracy", "validation/replaced_sign_ot", "learning_rate/generator",
        "train/generator_displacement", "validation/diversity_share", "validation/latent_share",
        "images_per_second", PICTURES, "flags", "test/worst_case_accuracy",
    ):  # fmt: skip
        assert tag in tags, tags
    assert [event.step for event in events.Tensors("train/loss")] == [4, 8]
    text = tf.make_ndarray(events.Tensors("flags")[0].tensor_proto).item().decode()
    assert "--epsilon=0.05" in text
    assert any("hparams" in tag for tag in events.summary_metadata)
    assert "magnified" in events.summary_metadata[PICTURES].summary_description
    assert min(events.summary_metadata) < PICTURES  # TensorBoard shows tags in their order.
    picture = tf.make_ndarray(events.Tensors(PICTURES)[0].tensor_proto)
    assert tf.io.decode_png(picture.flatten()[2]).shape == (3 * 96, 8 * 96, 3)


def test_finished_runs_do_nothing_again(run, capsys):
    before = sorted(path.stat().st_mtime_ns for path in run.checkpoints.folder.iterdir())
    assert _train(*FS_GAN, f"--run_dir={run.path}") == 0
    told = capsys.readouterr().out
    assert "already exported: " in told
    assert "already evaluated: " in told
    assert before == sorted(path.stat().st_mtime_ns for path in run.checkpoints.folder.iterdir())
    assert len(run.metrics.read()) == 2


def test_what_is_of_another_classifier_or_of_weaker_attacks_is_made_again(run, tmp_path, capsys):
    """The export is one epoch behind, as after a kill, and FGSM alone was evaluated since."""
    copied = RunDirectory(tmp_path / "run")
    shutil.copytree(run.path, copied.path)
    restored = restore_classifier(copied.path)
    earlier = restored.model
    earlier.set_weights([weight + 0.1 for weight in earlier.get_weights()])
    saving.save_classifier(earlier, restored.class_names, copied.saved_model)
    results = copied.evaluation / "results.json"
    content = json.loads(results.read_text())
    weaker = [attack for attack in content["attacks"] if attack["name"] == "fgsm"]
    results.write_text(json.dumps({**content, "attacks": weaker}))
    capsys.readouterr()
    assert _train(*FS_GAN, f"--run_dir={copied.path}") == 0
    told = capsys.readouterr().out
    assert "already" not in told
    assert saving.is_export_of(
        restore_classifier(copied.path).model, restored.class_names, copied.saved_model
    )
    assert len(json.loads(results.read_text())["attacks"]) == 3


def test_an_evaluation_of_other_images_is_none_of_these(run):
    restored = restore_classifier(run.path)
    images, _ = loading.load_split("digits", "test")
    test = images.first(8)
    assert is_evaluated(run, restored, test)
    assert not is_evaluated(run, restored, test.relabelled((test.labels + 1) % 10))
    assert not is_evaluated(run, restored, images.first(9))


def test_epochs_are_not_taken_back(run, capsys):
    before = run.flags_file.read_text()
    assert _train(*FS_GAN, "--epochs=1", f"--run_dir={run.path}") == 2
    assert (
        "has trained for 2 epochs, which --epochs=1 does not take back" in capsys.readouterr().err
    )
    assert run.flags_file.read_text() == before


def test_other_flags_in_the_same_run_directory_are_refused(run, capsys):
    assert _train(*TINY, "--epochs=2", f"--run_dir={run.path}") == 2
    assert "--generator_width was 4 and is now 16" in capsys.readouterr().err
    assert _train("--batch_size=2000", f"--run_dir={run.path}") == 2
    told = capsys.readouterr().err
    assert "--batch_size was 16 and is now 2000" in told
    assert "give --run_dir alone or the same flags" in told


def test_a_longer_training_says_that_rows_are_gone_and_figures_are_an_earlier_classifiers(
    tmp_path, capsys
):
    run = RunDirectory(tmp_path / "run")
    assert _train(*STANDARD, "--epochs=1", f"--run_dir={run.path}") == 0
    printed = capsys.readouterr()
    assert "earlier classifier" not in printed.out
    assert "is missing" not in printed.err
    run.metrics.file.unlink()
    assert _train(*STANDARD, "--epochs=2", "--eval_examples=0", f"--run_dir={run.path}") == 0
    printed = capsys.readouterr()
    assert f"{run.evaluation} holds the figures of an earlier classifier" in printed.out
    assert f"note: {run.metrics.file} is missing" in printed.err


def test_other_commands_take_the_run(run, tmp_path, capsys):
    arguments = [f"--run_dir={run.path}", "--attacks=fgsm", "--checks=none", "--num_examples=4"]
    arguments.append(f"--output_dir={tmp_path / 'results'}")
    assert call(evaluate, *arguments) == 0
    assert json.loads((tmp_path / "results" / "results.json").read_text())["num_examples"] == 4
    arguments = [f"--run_dir={run.path}", f"--export_dir={tmp_path / 'export'}"]
    assert call(export, *arguments) == 0
    picture = tmp_path / "digit.png"
    picture.write_bytes(tf.io.encode_png(tf.zeros([9, 7, 3], tf.uint8)).numpy())
    assert call(predict, f"--saved_model={tmp_path / 'export'}", picture) == 0
    assert "digit.png" in capsys.readouterr().out


@pytest.fixture
def read_splits(monkeypatch) -> list[str]:
    """The splits of the digits that are read, in order."""
    splits, read = [], DigitsSource.read

    def noted(self, split):
        splits.append(split)
        return read(self, split)

    monkeypatch.setattr(DigitsSource, "read", noted)
    return splits


def test_evaluation_on_the_validation_slice_never_reads_the_test_set(run, tmp_path, read_splits):
    arguments = [f"--run_dir={run.path}", "--attacks=fgsm", "--split=validation"]
    arguments += ["--checks=none", f"--output_dir={tmp_path}"]
    assert call(evaluate, *arguments) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["split"], results["num_examples"]) == ("validation", 143)
    assert read_splits == ["train"]


def test_training_reads_the_test_set_once_its_last_epoch_is_saved(
    tmp_path, read_splits, monkeypatch
):
    save = Checkpoints.save

    def noted(self, method, progress, *others):
        save(self, method, progress, *others)
        read_splits.append(f"epoch {progress.epoch}")

    monkeypatch.setattr(Checkpoints, "save", noted)
    flags = [*STANDARD, "--epochs=1", f"--run_dir={tmp_path / 'run'}"]
    assert _train(*flags, "--eval_examples=0") == 0
    assert read_splits == ["train", "epoch 0", "epoch 1"]
    read_splits.clear()
    assert _train(*flags, "--epochs=2") == 0
    assert read_splits == ["train", "epoch 2", "test"]


def test_without_held_out_images_all_are_trained_on_and_the_loss_alone_is_watched(tmp_path, capsys):
    """1,437 digits are in the training set; the second command reads the rows again."""
    run = RunDirectory(tmp_path / "run")
    flags = [
        "--method=standard",
        f"--architecture={SMALL}",
        "--validation_examples=0",
        "--batch_size=479",
    ]
    flags += ["--precision=float32", "--eval_examples=0", f"--run_dir={run.path}"]
    for epochs in (1, 2):
        assert _train(*flags, f"--epochs={epochs}") == 0
    printed = capsys.readouterr().out
    assert "1437 training and 0 validation images" in printed
    rows = run.metrics.read()
    assert [row["step"] for row in rows] == [3, 6]
    for row in rows:
        assert np.isfinite(row["loss"])
        assert not [name for name in row if name.startswith(("clean", "one_step", "robust", "val"))]
    arguments = [f"--run_dir={run.path}", "--split=validation", "--attacks=fgsm"]
    assert call(evaluate, *arguments) == 2
    assert "no images of digits were held out" in capsys.readouterr().err


def test_init_from_starts_with_the_classifier_of_another_run(run, tmp_path):
    frozen = ["--classifier_learning_rate=1e-30", "--weight_decay=0", "--eval_examples=0"]
    again = RunDirectory(tmp_path / "again")
    code = _train(
        *TINY,
        *frozen,
        "--method=standard",
        "--epochs=1",
        f"--init_from={run.path}",
        f"--run_dir={again.path}",
    )
    assert code == 0
    expected, found = (restore_classifier(one.path).model for one in (run, again))
    for theirs, ours in zip(expected.trainable_weights, found.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--init_from=/nowhere"], ["/nowhere", "not a run directory"]),
        (["--init_from=RUN", "--classifier_depth=16"], ["wide_resnet_10_1", "16", "depth=10"]),
        (["--init_from=RUN", "--image_size=16"], ["(32, 32, 3)", "(16, 16, 3)"]),
    ],
)
def test_init_from_what_does_not_fit_is_refused(run, arguments, words, tmp_path, capsys):
    given = [argument.replace("RUN", str(run.path)) for argument in arguments]
    for dry in ([], ["--dry_run"]):
        assert _train(*TINY, *given, *dry, f"--run_dir={tmp_path / 'new'}") == 2
        message = capsys.readouterr().err.strip()
        assert len(message.splitlines()) == 1
        assert all(word in message for word in words), message
        assert not (tmp_path / "new").exists()


def test_dry_run_prints_and_writes_nothing(tmp_path, capsys):
    flags = [f"--flagfile={ROOT / 'configs' / 'svhn.flags'}", f"--run_dir={tmp_path / 'run'}"]
    assert _train(*flags, "--dry_run", "--data_dir=/nowhere", "--precision=float32") == 0
    printed = capsys.readouterr().out
    assert "36,479,194 trainable parameters" in printed
    assert "steps an epoch: 1204" in printed  # (73257 - 1000) // 60
    assert "--epsilon=8/255" in printed
    assert "an NVIDIA H100, mixed_bfloat16 (steps alone): 69 min" in printed
    assert "never drops" not in printed
    assert not (tmp_path / "run").exists()


def test_dry_run_says_that_the_learning_rate_never_drops_and_what_is_kept_of_images(capsys):
    flags = ["--method=fgsm_pgi", "--train_examples=1000", "--epochs=2", "--precision=float32"]
    assert _train(*flags, "--dry_run") == 0
    printed = capsys.readouterr().out
    assert "the learning rate never drops: --lr_decay_epochs=10,13" in printed
    # A perturbation and a momentum of 32x32x3 numbers of 4 bytes.
    assert "kept of the training images: 0.02 GB" in printed


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("fs_gan", ["note: departs from the paper in --generator_", "configs/paper"]),
        ("pgd_at", ["note: pgd_at", "--attack_iterations=2", "configs/baselines"]),
    ],
)
def test_a_flag_file_of_another_method_is_noted(method, words, capsys):
    config = ROOT / "configs" / "cifar10.flags"
    small = ["--classifier_depth=10", "--classifier_width=1"]
    assert _train(f"--flagfile={config}", f"--method={method}", *small, "--dry_run") == 0
    error = capsys.readouterr().err
    assert all(word in error for word in words), error


def test_the_note_comes_with_a_training_and_not_with_an_error(tmp_path, capsys):
    given = [*TINY, f"--architecture={SMALL}", "--method=pgd_at", "--attack_iterations=1"]
    given.append(f"--run_dir={tmp_path / 'run'}")
    assert _train(*given, "--batch_size=2000") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert _train(*given, "--epochs=1", "--eval_examples=0") == 0
    assert "note: pgd_at is trained with --attack_iterations=1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch_size=2000"], ["1294", "--batch_size"]),
        (["--train_examples=5000"], ["1294", "--train_examples"]),
        (["--dataset=no_such_set"], ["no_such_set", "digits"]),
        (["--dataset=svhn_cropped", "--data_dir=/proc/nowhere"], ["svhn_cropped", "/proc/nowhere"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_run_directory(arguments, words, tmp_path, capsys):
    assert _train(*arguments, f"--run_dir={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    for word in words:
        assert word in error
    assert not (tmp_path / "run").exists()


def test_precision_the_hardware_lacks_leaves_no_run_directory(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fsgan_tf.devices.has_bfloat16", lambda: False)
    path = tmp_path / "run"
    assert _train("--precision=mixed_bfloat16", f"--run_dir={path}") == 2
    assert "bfloat16" in capsys.readouterr().err
    assert not path.exists()


def test_an_unwritable_run_directory_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert _train(*TINY, f"--run_dir={tmp_path / 'file' / 'run'}") == 2
    assert "--run_dir" in capsys.readouterr().err


def test_a_failure_in_tensorflow_is_one_line_and_exit_code_1(tmp_path, capsys, monkeypatch):
    def out_of_memory(self, data):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nmore")

    monkeypatch.setattr("fsgan_tf.methods.standard.Standard.train_step", out_of_memory)
    assert _train(*STANDARD, f"--run_dir={tmp_path / 'run'}") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "OOM when allocating" in error
    assert "the same command resumes" in error


def test_a_full_disk_is_one_line_and_exit_code_1(tmp_path, capsys, monkeypatch):
    def full(self, row):
        raise OSError(errno.ENOSPC, "No space left on device", str(self.file))

    monkeypatch.setattr(Metrics, "append", full)
    run = RunDirectory(tmp_path / "run")
    assert _train(*STANDARD, f"--run_dir={run.path}") == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{run.metrics.file} (No space left on device); the same command resumes" in line


def test_deterministic_asks_tensorflow_before_it_loads_anything(tmp_path, monkeypatch):
    def asked():
        raise UserError("asked")

    monkeypatch.setattr("fsgan_tf.devices.make_deterministic", asked)
    assert _train("--deterministic", f"--run_dir={tmp_path / 'run'}") == 2
    assert not (tmp_path / "run").exists()


def _report_nan(monkeypatch, seeds: tuple[int, ...]) -> None:
    """The sixth step's loss is NaN where the draws are of these seeds."""
    step = Standard.train_step

    def train_step(self, data):
        reports = step(self, data)
        breaks = (self.classifier_optimizer.iterations == 6) & (self.seed in seeds)
        return {**reports, "loss": tf.where(breaks, np.nan, reports["loss"])}

    monkeypatch.setattr(Standard, "train_step", train_step)


def test_nan_stops_with_step_parts_and_checkpoint_and_rolls_back_if_asked(
    tmp_path, capsys, monkeypatch
):
    run = RunDirectory(tmp_path / "run")
    flags = [*STANDARD, "--epochs=3", "--eval_examples=0"]
    flags.append(f"--run_dir={run.path}")
    _report_nan(monkeypatch, seeds=(0,))
    assert _train(*flags) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    checkpoint = run.checkpoints.folder / "epoch_0001_step_000000.npz"
    for words in ("step 6 ", "loss nan", "accuracy 0.", f"last good checkpoint is {checkpoint}"):
        assert words in line
    assert [row["epoch"] for row in run.metrics.read()] == [0]
    assert _train(*flags, "--on_nan=rollback") == 0
    assert "resuming from it with other random draws" in capsys.readouterr().err
    assert [row["step"] for row in run.metrics.read()] == [4, 8, 12]
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [event.step for event in events.Tensors("train/loss")] == [4, 8, 12]
    assert restore_classifier(run.path).progress.rollbacks == 1


def test_rollbacks_to_one_checkpoint_are_bounded(tmp_path, capsys, monkeypatch):
    class Every:
        def __contains__(self, seed):
            return True

    _report_nan(monkeypatch, seeds=Every())
    flags = [*STANDARD, "--epochs=2", "--on_nan=rollback"]
    assert _train(*flags, f"--run_dir={tmp_path / 'run'}") == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 + MAX_ROLLBACKS
    assert "gave up after 3 rollbacks" in errors[-1]


def test_a_signal_in_validation_and_in_the_export_stops_cleanly_and_the_run_goes_on(
    tmp_path, capsys, monkeypatch
):
    run = RunDirectory(tmp_path / "run")
    flags = [*STANDARD, "--epochs=2", f"--run_dir={run.path}"]
    validate, save = RobustAccuracy.measure, saving._require_same_answers

    def interrupted(function, number):
        def call(*arguments):
            os.kill(os.getpid(), number)
            return function(*arguments)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(RobustAccuracy, "measure", interrupted(validate, signal.SIGTERM))
        assert _train(*flags) == 130
        assert "the same command resumes" in capsys.readouterr().err
        assert [row["epoch"] for row in run.metrics.read()] == [0]
        assert run.checkpoints.newest_file().name == "epoch_0001_step_000000.npz"
    with monkeypatch.context() as patch:
        patch.setattr(saving, "_require_same_answers", interrupted(save, signal.SIGTERM))
        assert _train(*flags) == 130
        assert not list(run.path.glob("*saved_model*"))
    assert _train(*flags) == 0
    assert [row["epoch"] for row in run.metrics.read()] == [0, 1]
    assert (run.saved_model / "saved_model.pb").is_file()
    assert (run.evaluation / "results.json").is_file()


def test_a_second_training_in_the_run_directory_is_refused(run, capsys):
    before = sorted(run.path.rglob("*"))
    with run.lock():
        code = _train(*FS_GAN, f"--run_dir={run.path}")
    assert code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"another training writes to {run.path} (process " in line
    assert sorted(run.path.rglob("*")) == before


def test_two_replicas_train_watch_and_finish(tmp_path):
    run = RunDirectory(tmp_path / "run")
    flags = [*STANDARD, "--strategy=mirrored", "--epochs=1", "--eval_examples=0"]
    assert _train(*flags, f"--run_dir={run.path}") == 0
    (row,) = run.metrics.read()
    assert row["step"] == 2  # 64 images, 16 on each of 2 replicas
    assert np.isfinite(row["loss"])
    assert (run.saved_model / "saved_model.pb").is_file()


@pytest.mark.slow
def test_sigterm_in_the_middle_saves_and_the_same_command_ends_as_if_never_stopped(tmp_path):
    """Stops a training after its first epoch, goes on, and compares with one that never stopped.

    Bit for bit, so that graphs are optimised here as they are in the other processes.
    """
    flags = [*STANDARD, "--epochs=6", "--train_examples=960", "--eval_examples=0"]
    whole, stopped = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "stopped")
    assert _train(*flags, f"--run_dir={whole.path}") == 0
    with training(*flags, f"--run_dir={stopped.path}") as first:
        first.wait_until(stopped.metrics.read)
        first.process.send_signal(signal.SIGTERM)
        code, output = first.finish()
    assert code == 130, output
    assert "the same command resumes" in output
    assert "Traceback" not in output
    with training(*flags, f"--run_dir={stopped.path}") as second:
        code, output = second.finish()
    assert code == 0, output
    assert (
        restore_classifier(stopped.path).weights_sha256
        == restore_classifier(whole.path).weights_sha256
    )
    for ours, theirs in zip(stopped.metrics.read(), whole.metrics.read(), strict=True):
        # A subprocess has one logical CPU and this process two: the rates are all that may differ.
        ours.pop("images_per_second"), theirs.pop("images_per_second")
        assert ours == theirs


@pytest.mark.slow
def test_an_averaged_training_that_was_killed_ends_as_one_that_was_not(
    tmp_path, capsys, monkeypatch
):
    """The average is watched, exported and evaluated, and is part of the checkpoint."""
    flags = [*STANDARD, "--epochs=2", "--ema_decay=0.9"]
    whole, stopped = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "stopped")
    assert _train(*flags, "--eval_examples=0", f"--run_dir={whole.path}") == 0
    assert "--ema_decay=0.9 averages over about 10 steps, and this" in capsys.readouterr().err
    measure = RobustAccuracy.measure

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return measure(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RobustAccuracy, "measure", interrupted)
        assert _train(*flags, f"--run_dir={stopped.path}") == 130
    assert _train(*flags, f"--run_dir={stopped.path}") == 0
    (ours, _), (theirs, _) = (
        run.checkpoints.read_newest(with_optimizers=True) for run in (stopped, whole)
    )
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
    assert theirs["classifier_average/updates"] == 8
    restored = restore_classifier(stopped.path)
    name = "stem/kernel"
    np.testing.assert_array_equal(
        restored.model.get_layer("stem").kernel, theirs[f"classifier_average/{name}"]
    )
    assert np.any(theirs[f"classifier_average/{name}"] != theirs[f"classifier/{name}"])
    results = json.loads((stopped.evaluation / "results.json").read_text())
    assert results["classifier_sha256"] == restored.weights_sha256


def test_the_best_epoch_is_kept_exported_and_evaluated_whatever_interrupts(
    tmp_path, capsys, monkeypatch
):
    """Accuracies are made up: the first of four epochs is the best; a kill follows the third."""
    run, accuracies = RunDirectory(tmp_path / "run"), [0.5, 0.3, 0.2, 0.5]
    flags = [*STANDARD, "--epochs=4", "--keep=best", f"--run_dir={run.path}"]

    def measure(callback):
        epoch = int(callback.model.optimizer.iterations) // 4 - 1
        if epoch == 2 and not interrupted:
            interrupted.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        accuracy = accuracies[epoch]
        return {"clean_accuracy": 0.9, "one_step_accuracy": 0.5, "robust_accuracy": accuracy}

    interrupted: list[bool] = []
    monkeypatch.setattr(RobustAccuracy, "measure", measure)
    assert _train(*flags) == 130
    assert _train(*flags) == 0
    assert "kept: the classifier of epoch 1," in capsys.readouterr().out
    assert [row["best_epoch"] for row in run.metrics.read()] == [0, 0, 0, 0]
    names = sorted(file.name for file in run.checkpoints.folder.glob("*.npz"))
    assert names == [f"epoch_000{number}_step_000000.npz" for number in (1, 3, 4)]
    restored = restore_classifier(run.path)
    assert restored.progress.epoch == 1
    with np.load(run.checkpoints.folder / names[0]) as best:
        np.testing.assert_array_equal(
            restored.model.get_layer("stem").kernel, best["classifier/stem/kernel"]
        )
    results = json.loads((run.evaluation / "results.json").read_text())
    assert results["classifier_sha256"] == restored.weights_sha256


@pytest.mark.parametrize("dry_run", [[], ["--dry_run"]])
def test_the_best_of_no_held_out_images_is_refused_in_one_line(tmp_path, capsys, dry_run):
    flags = ["--keep=best", "--validation_examples=0", f"--run_dir={tmp_path / 'run'}"]
    assert _train(*TINY, *flags, *dry_run) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--keep=best chooses by held-out images" in line
    assert not (tmp_path / "run").exists()


def test_a_schedule_by_step_goes_on_within_an_epoch_as_if_never_stopped(tmp_path, monkeypatch):
    flags = [*STANDARD, "--epochs=2", "--schedule=one_cycle", "--eval_examples=0"]
    # Four steps an epoch, the last of 8 images.
    flags += ["--weight_decay_on=kernels", "--train_examples=56", "--last_batch=keep"]
    whole, stopped = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "stopped")
    assert _train(*flags, f"--run_dir={whole.path}") == 0
    end = StepLearningRates.on_train_batch_begin

    def interrupted(callback, batch, logs=None):
        end(callback, batch, logs)
        if callback._step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(StepLearningRates, "on_train_batch_begin", interrupted)
        assert _train(*flags, f"--run_dir={stopped.path}") == 130
    assert stopped.checkpoints.newest_file().name == "epoch_0001_step_000002.npz"
    assert _train(*flags, f"--run_dir={stopped.path}") == 0
    ours, theirs = (restore_classifier(run.path).weights_sha256 for run in (stopped, whole))
    assert ours == theirs
    rates = [row["learning_rate_classifier"] for row in whole.metrics.read()]
    assert rates == pytest.approx([0.1 * 3 / 4, 0.1 / 4])


def test_a_stop_in_an_epochs_last_step_ends_the_epoch_and_the_training_goes_on(
    tmp_path, monkeypatch
):
    run = RunDirectory(tmp_path / "run")
    # Three steps an epoch.
    flags = [*STANDARD, "--epochs=2", "--train_examples=48", f"--run_dir={run.path}"]
    begin = Checkpointing.on_train_batch_end

    def interrupted(callback, batch, logs=None):
        if batch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        begin(callback, batch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointing, "on_train_batch_end", interrupted)
        assert _train(*flags) == 130
    assert run.checkpoints.newest_file().name == "epoch_0001_step_000000.npz"
    assert [row["epoch"] for row in run.metrics.read()] == [0]
    assert _train(*flags) == 0
    assert [row["epoch"] for row in run.metrics.read()] == [0, 1]


def _own_network() -> keras.Model:
    """For the digits."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(4, 3, strides=4),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )


def test_a_file_of_ones_own_trains_goes_on_without_the_file_and_is_evaluated_and_starts_others(
    tmp_path, capsys
):
    file, run = tmp_path / "own.keras", RunDirectory(tmp_path / "run")
    network = _own_network()
    network.save(file)
    flags = [*TINY, "--method=standard", f"--architecture={file}", "--ema_decay=0.5"]
    assert _train(*flags, "--epochs=1", f"--run_dir={run.path}", "--eval_examples=0") == 0
    with np.load(run.checkpoints.folder / "epoch_0000_step_000000.npz") as initial:
        np.testing.assert_array_equal(initial["classifier/dense/kernel"], network.layers[-1].kernel)
    file.unlink()
    assert _train(*flags, "--epochs=2", f"--run_dir={run.path}") == 0
    assert [row["epoch"] for row in run.metrics.read()] == [0, 1]
    results = json.loads((run.evaluation / "results.json").read_text())
    assert results["classifier_sha256"] == restore_classifier(run.path).weights_sha256
    assert call(export, f"--run_dir={run.path}", f"--export_dir={tmp_path / 'exported'}") == 0
    again = [f"--architecture={run.architecture_file}", f"--init_from={run.path}"]
    again += ["--epochs=1", "--eval_examples=0", f"--run_dir={tmp_path / 'again'}"]
    assert _train(*TINY, "--method=standard", *again) == 0
    capsys.readouterr()


@pytest.mark.parametrize("last", [{"activation": "softmax"}, {"units": 7}])
def test_a_file_that_cannot_be_trained_is_refused_in_one_line(tmp_path, capsys, last):
    file = tmp_path / "own.keras"
    network = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(**{"units": 10, **last}),
        ]
    )
    network.save(file)
    assert _train(*TINY, f"--architecture={file}", f"--run_dir={tmp_path / 'run'}") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"--architecture={file}" in line
    assert not (tmp_path / "run").exists()


_SLOW_READS = """
import time
from fsgan_tf import train
from fsgan_tf.data import image_files

decode_file = image_files.decode_file


def slowly(*arguments):
    time.sleep(0.3)
    return decode_file(*arguments)


image_files.decode_file = slowly
raise SystemExit(train.run())
"""


@pytest.mark.slow
def test_a_training_ends_while_images_are_still_read(tmp_path):
    """One of those it reads as it needs them is damaged; Python's end would wait for the others."""
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(10):
            encoded = bytearray(png(random_pixels(16, 16, 3, seed=number)))
            if number < 5:
                encoded[60:90] = bytes(30)
            (tmp_path / "images" / label / f"{number}.png").write_bytes(encoded)
    ended = python(
        *("-c", _SLOW_READS, f"--dataset={tmp_path / 'images'}", "--memory_limit=1e-9"),
        *(f"--run_dir={tmp_path / 'run'}", "--method=standard", f"--architecture={SMALL}"),
        *("--batch_size=2", "--validation_examples=0", "--eval_examples=0"),
    )
    assert ended.returncode == 2, ended.stderr
    assert re.search(r"error: .*png is damaged; replace it\n", ended.stderr)
