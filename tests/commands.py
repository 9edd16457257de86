"""Commands as tests run them: in this process, or as processes of their own with a deadline."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from fsgan_tf.cli import evaluation_flags, runner, training_flags
from fsgan_tf.export import export_flags
from fsgan_tf.predict import predict_flags

ROOT = Path(__file__).parents[1]
# Seconds; a start of TensorFlow on a busy machine takes up to half a minute.
DEADLINE = 240
# Of each command of the package, a function that makes its flags.
FLAGS = {
    "fsgan_tf.train": training_flags.training_flags,
    "fsgan_tf.evaluate": evaluation_flags.evaluation_flags,
    "fsgan_tf.export": export_flags,
    "fsgan_tf.predict": predict_flags,
}

_TAKE_WORDS = (
    *("fsgan_tf.evaluate", "fsgan_tf.predict", "tools.benchmark", "tools.benchmark_exported"),
    "tools.train_exported",
    "tools.package_pretrained",
)


def call(command: ModuleType, *arguments: object, main: runner.Main | None = None) -> int:
    """Runs a command of the package or a tool in this process; returns its exit code.

    `main` replaces the command's own, for a test of the flags alone.
    """
    make_flags = FLAGS.get(command.__name__) or command._flags
    return runner.run(
        main or command.main,
        make_flags(),
        description="",
        takes_words=command.__name__ in _TAKE_WORDS,
        argv=[str(argument) for argument in arguments],
    )


def python(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs Python to its end, in the repository's folder, and returns what it printed.

    `options` are those of `subprocess.run`; `env` is added to the environment.
    """
    options = {"cwd": ROOT, "timeout": DEADLINE, "capture_output": True, **options}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        text=True,
        env=environment,
        check=False,
        **options,
    )


class Process:
    """A process that a test watches and stops; a context that leaves nothing of it behind.

    What it prints goes to a file: a pipe that nobody reads would fill, and it would wait for ever.
    It has a session of its own, so that its children end with it.
    """

    def __init__(self, *command: object, env: dict[str, str] | None = None):
        """Starts the command in the repository's folder; `env` is added to the environment."""
        self._file = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdout=self._file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        """All it has printed so far, to both streams."""
        return os.pread(self._file.fileno(), os.fstat(self._file.fileno()).st_size, 0).decode()

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Waits until the condition is true; fails when the process ends or the time is over."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, f"not in {DEADLINE} seconds:\n{self.output}"
            time.sleep(0.02)

    def finish(self) -> tuple[int, str]:
        """Waits for its end; returns the exit code and all it printed."""
        return self.process.wait(DEADLINE), self.output

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *error: object) -> None:
        # A shell's jobs have process groups of their own; the session holds them all.
        command = ["pkill", "-KILL", "-s", str(self.process.pid)]
        subprocess.run(command, capture_output=True, check=False)
        self.process.wait()
        self._file.close()


def training(*arguments: object, **options: Any) -> Process:
    """Starts `python -m fsgan_tf.train` with these flags."""
    return Process(sys.executable, "-m", "fsgan_tf.train", *arguments, **options)
