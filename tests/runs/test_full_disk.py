"""A full disk gives one clear error, keeps what was good and leaves no half file."""

import os
import subprocess

import pytest
import tensorflow as tf

from fsgan_tf.cli import training_flags
from fsgan_tf.errors import RunError
from fsgan_tf.models import saving
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.training.tensorboard_log import TensorBoardLog
from tests.small_training import IMAGE_SHAPE, build

CLASSES = tuple("abcde")
ROW = {
    "epoch": 0,
    "step": 4,
    "images_per_second": 9.0,
    "one_step_accuracy": 0.5,
    "robust_accuracy": 0.5,
}


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MiB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting needs rights: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder, free: int) -> None:
    """Leaves about `free` bytes."""
    status = os.statvfs(folder)
    with (folder / "filler").open("wb") as file:
        file.write(bytes(status.f_bavail * status.f_frsize - free))


def _names(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def method():
    return build("standard")


def test_a_checkpoint_that_does_not_fit(disk, method):
    run = RunDirectory(disk / "run")
    values = training_flags.parse([])
    run.prepare(values)
    run.checkpoints.save(method, Progress(1, 0, CLASSES, IMAGE_SHAPE))
    _fill(disk, 100_000)
    before = _names(disk)
    with pytest.raises(RunError, match="No space left on device.*same command resumes"):
        run.checkpoints.save(method, Progress(2, 0, CLASSES, IMAGE_SHAPE))
    assert _names(disk) == before
    assert run.checkpoints.restore(method).epoch == 1


def test_metrics_that_do_not_fit_lose_no_earlier_row(disk):
    run = RunDirectory(disk)
    run.metrics.append(ROW)
    _fill(disk, 0)
    with pytest.raises(OSError, match="No space left"):
        run.metrics.append({**ROW, "epoch": 1, "more": "x" * 10_000})
    with pytest.raises(OSError, match="No space left"):
        run.metrics.keep_before(1)
    assert [row["epoch"] for row in run.metrics.read()] == [0]
    (disk / "filler").unlink()
    run.metrics.keep_before(1)
    assert run.metrics.read() == [ROW]


def test_events_that_do_not_fit_leave_no_file(disk):
    log = TensorBoardLog(disk)
    log.write("epoch", 1, lambda: tf.summary.scalar("loss", 1.0))
    _fill(disk, 0)
    before = _names(disk)
    with pytest.raises(OSError, match="No space left"):
        log.write("epoch", 2, lambda: tf.summary.image("noise", tf.random.uniform([1, 64, 64, 3])))
    assert _names(disk) == before


def test_an_export_that_does_not_fit_keeps_the_one_before(disk, method):
    folder = disk / "saved_model"
    saving.save_classifier(method.classifier, CLASSES, folder)
    _fill(disk, 100_000)
    before = _names(disk)
    with pytest.raises(RunError, match="could not export"):
        saving.save_classifier(method.classifier, CLASSES, folder)
    assert _names(disk) == before
