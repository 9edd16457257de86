"""TensorBoard's event files of a run: a few an epoch, each there whole or not at all.

A file's name starts with the step of what it holds, so that TensorBoard reads them in order and a
resumed run can tell which belong to epochs that are run again. TensorBoard has no other way
to take points back that every version of its reader honours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from fsgan_tf.files import write_atomically

_NAME = re.compile(r"events\.out\.tfevents\.(\d{10})\.(flags|epoch|pictures|test)")
# Event files are put together in memory, where no full disk can cut them short.
_MEMORY = "ram://fsgan_tf_events"


class TensorBoardLog:
    """Writes and takes back the event files of one folder."""

    def __init__(self, folder: Path):
        """Names the folder; the first `write` makes it."""
        self._folder = folder

    def write(self, kind: str, step: int, summaries: Callable[[], None]) -> None:
        """Writes one event file, replacing the one of the same kind and step.

        Args:
          kind: `flags`, `epoch`, `pictures` or `test`.
          step: of everything in it.
          summaries: calls `tf.summary` functions, which take that step.

        Raises:
          OSError: it cannot be written; what was there is there still.
        """
        writer = tf.summary.create_file_writer(_MEMORY)
        try:
            with writer.as_default(step):
                summaries()
            writer.flush()
            (name,) = tf.io.gfile.listdir(_MEMORY)
            with tf.io.gfile.GFile(f"{_MEMORY}/{name}", "rb") as file:
                content = file.read()
        finally:
            writer.close()
            tf.io.gfile.rmtree(_MEMORY)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / f"events.out.tfevents.{step:010d}.{kind}", content)

    def has(self, kind: str, step: int) -> bool:
        """Whether that file is there."""
        return (self._folder / f"events.out.tfevents.{step:010d}.{kind}").exists()

    def keep_until(self, step: int) -> None:
        """Removes the epochs after a step, which are about to be run again, and test figures."""
        for file in self._folder.glob("*"):
            name = _NAME.fullmatch(file.name)
            if name and (int(name[1]) > step or name[2] == "test"):
                file.unlink()


def write_scalars(figures: Mapping[str, float]) -> None:
    """Summaries of an epoch's figures, or of a test's; call it within `TensorBoardLog.write`."""
    for name, value in figures.items():
        tf.summary.scalar(_tag(name), value)


def write_flags(flags: Mapping[str, Any]) -> None:
    """The flags as a text and as hyper-parameters; call it within `TensorBoardLog.write`."""
    tf.summary.text("flags", "\n".join(f"    --{name}={value}" for name, value in flags.items()))
    plain = (bool, int, float, str)
    hparams.hparams({n: v if isinstance(v, plain) else str(v) for n, v in flags.items()})


def _tag(name: str) -> str:
    """TensorBoard groups by what stands before the slash."""
    if name.startswith("learning_rate"):
        return name.replace("learning_rate_", "learning_rate/")
    if name.startswith(("validation", "clean", "one_step", "robust", "diversity_share")):
        return "validation/" + name.removeprefix("validation_")
    return name if name.startswith("test/") or name == "images_per_second" else f"train/{name}"
