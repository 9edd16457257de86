"""The run directory: what is written is whole, what is damaged is named, nothing is lost."""

import json
import subprocess
import sys

import numpy as np
import pytest

from fsgan_tf import settings
from fsgan_tf.errors import NonFiniteError, RunError, UserError
from fsgan_tf.runs import directory
from fsgan_tf.runs.directory import Progress, RunDirectory
from tests.small_training import IMAGE_SHAPE, build

CLASSES = tuple("abcde")


@pytest.fixture(scope="module")
def method():
    return build("standard")


def _values(*arguments):
    values = settings.training_flags()
    values(["train", "--method=standard", *arguments])
    settings.complete(values)
    return values


def _run(tmp_path, method, *epochs) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.prepare(_values())
    for epoch in epochs:
        run.save_checkpoint(method, Progress(epoch, 0, CLASSES, IMAGE_SHAPE))
    return run


def test_newest_two_checkpoints_are_kept_and_the_newest_wins(tmp_path, method):
    run = _run(tmp_path, method, 1, 2, 3)
    names = sorted(path.name for path in run.checkpoints.iterdir())
    assert names == ["SHA256SUMS", "epoch_0002_step_000000.npz", "epoch_0003_step_000000.npz"]
    assert run.restore_checkpoint(method) == Progress(3, 0, CLASSES, IMAGE_SHAPE)


def test_a_checkpoint_inside_an_epoch_is_newer_than_its_start(tmp_path, method):
    run = _run(tmp_path, method, 1)
    run.save_checkpoint(method, Progress(1, 7, CLASSES, IMAGE_SHAPE))
    assert run.restore_checkpoint(method).step_in_epoch == 7


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [_truncate, _flip_a_bit, lambda content: b""])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, method, damage, capsys):
    run = _run(tmp_path, method, 1, 2)
    newest = run.checkpoints / "epoch_0002_step_000000.npz"
    newest.write_bytes(damage(newest.read_bytes()))
    assert run.restore_checkpoint(method).epoch == 1
    assert str(newest) in capsys.readouterr().err


def test_any_flipped_bit_and_any_truncation_is_found(tmp_path, method):
    """Single bits at random positions, headers and padding included."""
    run = _run(tmp_path, method, 1, 2)
    newest = run.checkpoints / "epoch_0002_step_000000.npz"
    good, random = newest.read_bytes(), np.random.default_rng(0)
    for bit in random.integers(0, 8 * len(good), 40):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        newest.write_bytes(damaged)
        assert run.restore_checkpoint(method).epoch == 1, bit
    for size in random.integers(0, len(good), 10):
        newest.write_bytes(good[:size])
        assert run.restore_checkpoint(method).epoch == 1, size
    newest.write_bytes(good)
    assert run.restore_checkpoint(method).epoch == 2


def test_a_missing_checkpoint_is_named_and_the_one_before_is_used(tmp_path, method, capsys):
    run = _run(tmp_path, method, 1, 2)
    newest = run.checkpoints / "epoch_0002_step_000000.npz"
    newest.unlink()
    assert run.restore_checkpoint(method).epoch == 1
    assert f"{newest} is missing" in capsys.readouterr().err
    (run.checkpoints / "epoch_0001_step_000000.npz").unlink()
    with pytest.raises(UserError, match="no checkpoint in .* is readable"):
        run.restore_checkpoint(method)


def test_a_checkpoint_from_before_hashes_were_kept_is_read_and_its_arrays_checked(tmp_path, method):
    run = _run(tmp_path, method, 1, 2)
    run.checksums_file.unlink()
    assert run.restore_checkpoint(method).epoch == 2
    newest = run.checkpoints / "epoch_0002_step_000000.npz"
    newest.write_bytes(_flip_a_bit(newest.read_bytes()))
    assert run.restore_checkpoint(method).epoch == 1


def test_a_checkpoint_of_nan_or_infinity_is_never_written(tmp_path):
    method = build("standard")
    run = _run(tmp_path, method, 1)
    before = sorted(path.name for path in run.checkpoints.iterdir())
    variable = method.classifier.trainable_variables[0]
    variable.assign(np.full(variable.shape, np.inf))
    with pytest.raises(NonFiniteError, match=variable.path):
        run.save_checkpoint(method, Progress(2, 0, CLASSES, IMAGE_SHAPE))
    assert sorted(path.name for path in run.checkpoints.iterdir()) == before


_HOLD = """
import sys, time
from fsgan_tf.runs.directory import RunDirectory
with RunDirectory(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_training_is_refused_until_the_first_is_dead(tmp_path):
    run = RunDirectory(tmp_path / "run")
    command = [sys.executable, "-c", _HOLD, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        refusal = pytest.raises(UserError, match=f"process {holder.pid} on .*--run_dir")
        with refusal, run.lock():
            pass
        holder.kill()
    with run.lock():
        pass
    with run.lock():
        pass


def test_no_readable_checkpoint_is_an_error_not_a_new_start(tmp_path, method):
    run = _run(tmp_path, method, 1)
    (run.checkpoints / "epoch_0001_step_000000.npz").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="no checkpoint in .* is readable"):
        run.restore_checkpoint(method)


def test_pickles_in_a_checkpoint_are_refused(tmp_path, method):
    run = _run(tmp_path, method)
    np.savez(run.checkpoints / "epoch_0009_step_000000.npz", __progress__=np.array([{}]))
    with pytest.raises(UserError, match="readable"):
        run.restore_checkpoint(method)


def test_a_failed_write_keeps_the_last_checkpoint_and_leaves_nothing(tmp_path, method, monkeypatch):
    run = _run(tmp_path, method, 1)

    def full_disk(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(RunError, match="No space left on device"):
        run.save_checkpoint(method, Progress(2, 0, CLASSES, IMAGE_SHAPE))
    names = sorted(path.name for path in run.checkpoints.iterdir())
    assert names == ["SHA256SUMS", "epoch_0001_step_000000.npz"]


def test_a_checkpoint_of_another_network_is_refused_and_changes_nothing(tmp_path, method):
    run = _run(tmp_path, method, 1)
    wider = build("standard", classifier_width=2)
    before = [variable.numpy() for variable in wider.classifier.variables]
    with pytest.raises(UserError, match="does not fit"):
        run.restore_checkpoint(wider)
    for variable, value in zip(wider.classifier.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_other_flags_are_refused_by_name(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.prepare(_values("--epochs=3"))
    with pytest.raises(UserError, match="--momentum was 0.9 and is now 0.5"):
        run.prepare(_values("--epochs=3", "--momentum=0.5"))
    run.prepare(_values("--epochs=4"))
    assert run.read_flags().epochs == 4


def test_flags_file_is_itself_a_flagfile(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.prepare(_values("--epsilon=8/255"))
    assert _values(f"--flagfile={run.flags_file}").epsilon == 8 / 255


def test_a_run_directory_that_is_a_file_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder .*--run_dir"):
        RunDirectory(tmp_path / "file" / "run").prepare(_values())


@pytest.mark.parametrize("content", [None, "--no_such_flag=1\n", "--epochs=many\n"])
def test_a_folder_that_is_no_run_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "flags.txt").write_text(content)
    with pytest.raises(UserError, match=str(tmp_path)):
        directory.restore_classifier(tmp_path)


def test_a_run_without_checkpoint_says_so(tmp_path, method):
    with pytest.raises(UserError, match="no checkpoint of a step yet"):
        _run(tmp_path, method).restore_classifier()
    with pytest.raises(UserError, match="no checkpoint of a step yet"):
        _run(tmp_path, method, 0).restore_classifier()


def test_the_restored_classifier_is_the_trained_one_in_float32(tmp_path):
    method = build("standard")
    run = _run(tmp_path, method, 1)
    restored = run.restore_classifier()
    images = np.random.default_rng(0).random((4, *IMAGE_SHAPE), np.float32)
    np.testing.assert_array_equal(
        restored.model(images, training=False),
        method.networks["classifier"](images, training=False),
    )
    assert restored.class_names == CLASSES
    assert restored.sha256 == directory.classifier_sha256(method.classifier)


def row_of(epoch: int) -> dict[str, float]:
    accuracies = {"one_step_accuracy": 0.5, "robust_accuracy": 0.25}
    return {"epoch": epoch, "step": 4 * epoch, "images_per_second": 9.5, **accuracies}


def test_metrics_are_rows_and_survive_a_line_cut_short(tmp_path):
    run = RunDirectory(tmp_path)
    for epoch in range(3):
        run.append_metrics(row_of(epoch))
    with run.metrics_file.open("a") as file:
        file.write('{"epoch": 3, "lo')
    assert [row["epoch"] for row in run.read_metrics()] == [0, 1, 2]
    run.keep_metrics_before(2)
    lines = run.metrics_file.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]


@pytest.mark.parametrize(
    "line",
    ['{"epo', "[0]", "1", "null", '{"epoch": 1}', "[" * 10_000]
    + [
        json.dumps({**row_of(1), name: value})
        for name, value in (
            ("epoch", float("inf")),
            ("epoch", 1.5),
            ("step", 10**400),
            ("step", "4"),
            ("images_per_second", 0),
            ("robust_accuracy", None),
            ("robust_accuracy", float("nan")),
        )
    ],
)
def test_metrics_with_a_damaged_line_name_it(tmp_path, line):
    run = RunDirectory(tmp_path)
    whole = json.dumps(row_of(0))
    run.metrics_file.write_text(f"{whole}\n{line}\n{whole}\n")
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2"):
        run.read_metrics()
