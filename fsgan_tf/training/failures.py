"""What can end a training, each told in one line that says how to resume."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import tensorflow as tf

from fsgan_tf import files
from fsgan_tf.errors import RunError, UserError, said_within
from fsgan_tf.runs.directory import RunDirectory


@contextlib.contextmanager
def told_in_one_line(run: RunDirectory) -> Iterator[None]:
    """Turns what TensorFlow and the operating system raise into one line.

    Raises:
      RunError: something failed at run time.
      UserError: an image that is read as it is needed is damaged or gone.
    """
    goes_on = _goes_on(run)
    try:
        with files.told_in_one_line(run.path, goes_on):
            yield
    except tf.errors.OpError as error:
        if said := said_within(error.message):
            raise UserError(said) from error
        raise RunError(
            f"training failed ({type(error).__name__}: {_reason(error)}); {goes_on}"
        ) from error


@contextlib.contextmanager
def stops_with_a_line(run: RunDirectory) -> Iterator[None]:
    """Where Ctrl-C, SIGTERM or a closed output ends what runs within, a line says how to resume."""
    try:
        yield
    except (KeyboardInterrupt, BrokenPipeError):
        print(f"stopped; {_goes_on(run)}", file=sys.stderr)
        raise


def _goes_on(run: RunDirectory) -> str:
    return f"the same command resumes from {run.checkpoints.folder}"


def _reason(error: tf.errors.OpError) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in error.message.splitlines()]
    return next((line for line in lines if line and line != "Graph execution error:"), "")
