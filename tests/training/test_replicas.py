"""Several workers on one machine: they train as one process with as many replicas."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from fsgan_tf import train
from fsgan_tf.runs.directory import RunDirectory
from tests.commands import Process, call, training
from tests.small_training import SMALL

TINY = [
    "--method=standard", "--train_examples=128", "--batch_size=16", "--eval_examples=0",
    "--epochs=2", "--precision=float32", f"--architecture={SMALL}",
    # At the usual rate, differences of rounding grow tenfold a step.
    "--classifier_learning_rate=0.001",
]  # fmt: skip


def _launch(run: RunDirectory, *arguments: str) -> Process:
    """Two workers."""
    return Process(
        *("tools/launch_local.sh", "2", "--", *TINY, f"--run_dir={run.path}", *arguments),
        env={"PYTHON": sys.executable},
    )


def _workers(launcher: Process) -> list[int]:
    """Process numbers of the launcher's trainings, the chief first."""
    command = ["ps", "-o", "pid=,args=", "--ppid", str(launcher.process.pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return sorted(int(pid) for pid, command in lines if "fsgan_tf.train" in command)


def _compare(ours: RunDirectory, theirs: RunDirectory) -> None:
    (a, progress), (b, expected) = (
        run.checkpoints.read_newest(with_optimizers=True) for run in (ours, theirs)
    )
    assert progress == expected
    assert set(a) == set(b)
    for name, value in b.items():
        # The momentum buffers are the sums of the gradients.
        assert np.linalg.norm(a[name] - value) <= 1e-3 * np.linalg.norm(value), name


@pytest.fixture(scope="module")
def two_replicas(tmp_path_factory) -> RunDirectory:
    """One process with two replicas."""
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "mirrored")
    assert call(train, *TINY, "--strategy=mirrored", f"--run_dir={run.path}") == 0
    return run


@pytest.mark.slow
def test_two_workers_lose_one_go_on_and_end_as_two_replicas_of_one_process(two_replicas, tmp_path):
    """The same global batches, draws and sums; only the chief writes; either may die."""
    run = RunDirectory(tmp_path / "run")
    with _launch(run) as launcher:
        launcher.wait_until(run.metrics.read)
        os.kill(_workers(launcher)[1], signal.SIGKILL)
        code, output = launcher.finish()
    assert code == 128 + signal.SIGKILL
    assert "ending the others" in output
    assert "Traceback" not in output
    with _launch(run) as again:
        code, output = again.finish()
    assert code == 0, output
    assert "epochs 1 to 2" in output or "epochs 0 to 2" in output
    _compare(run, two_replicas)
    rows, expected = run.metrics.read(), two_replicas.metrics.read()
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
    # The flags, and an epoch's figures and pictures.
    assert len(list(run.tensorboard.iterdir())) == 1 + 2 * 2
    assert (run.saved_model / "saved_model.pb").is_file()


@pytest.mark.slow
def test_sigterm_stops_both_workers_after_one_step_and_they_end_as_if_never_stopped(
    two_replicas, tmp_path
):
    run = RunDirectory(tmp_path / "run")
    with _launch(run) as launcher:
        launcher.wait_until(run.metrics.read)
        launcher.process.terminate()
        code, output = launcher.finish()
    assert code == 130, output
    assert output.count("the same command resumes") == 2
    with _launch(run) as again:
        code, output = again.finish()
    assert code == 0, output
    _compare(run, two_replicas)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "words"), [("--seed=1", "training flags"), ("--run_dir=OTHER", "checkpoints")]
)
def test_workers_that_would_train_different_things_are_refused(two_replicas, tmp_path, flag, words):
    """The second worker is given another flag, or a folder that holds another training's end."""
    other = RunDirectory(shutil.copytree(two_replicas.path, tmp_path / "other"))
    trained = other.flags_file.read_text()
    other.flags_file.write_text(trained.replace("--strategy=mirrored", "--strategy=multi_worker"))
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in (one, two)]
    with contextlib.ExitStack() as stack:
        workers = []
        for index, more in enumerate([[], [flag.replace("OTHER", str(other.path))]]):
            config = {
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": index},
            }
            worker = training(
                *(*TINY, "--strategy=multi_worker", f"--run_dir={tmp_path / 'run'}", *more),
                env={"TF_CONFIG": json.dumps(config)},
            )
            workers.append(stack.enter_context(worker))
        ends = [worker.finish() for worker in workers]
    assert [code for code, _ in ends] == [2, 2], ends
    assert all(f"the workers have different {words}" in output for _, output in ends)
