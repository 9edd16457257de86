"""What was evaluated, when and on what, and how to do it again."""

import dataclasses
import datetime
import functools
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import tensorflow as tf

import fsgan_tf
from fsgan_tf.attacks import registry

_PACKAGES = ("tensorflow", "keras", "cleverhans", "numpy")
_COMMAND = ("python", "-m", "fsgan_tf.evaluate")


def now() -> str:
    """Date and time in UTC, to the minute."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What was evaluated, and how to do it again.

    Attributes:
      model: path of the run, the SavedModel or the Keras file.
      dataset: its name.
      split: part of the data set, `test` say.
      dataset_sha256: hash of the images and labels evaluated.
      class_names: K names, in the order of the labels.
      classifier_sha256: hash of the weights.
      command: the command line.
      sources: a line for each classifier that transfer attacks came from.
      suite: name of the suite of attacks; empty where they were named one by one.
      date: of the evaluation's end, in UTC.
    """

    model: str
    dataset: str
    split: str = ""
    dataset_sha256: str = ""
    class_names: tuple[str, ...] = ()
    classifier_sha256: str = ""
    command: str = ""
    sources: tuple[str, ...] = ()
    suite: str = ""
    date: str = dataclasses.field(default_factory=now)

    def __post_init__(self) -> None:
        """Looks the commit up: files may change while the attacks run."""
        commit()

    def command_with_suite(self, suite: str) -> str:
        """The command line that evaluates the same classifier with another suite."""
        if not self.command.startswith(shlex.join(_COMMAND)):
            return shlex.join([*_COMMAND, f"--run_dir={self.model}", f"--suite={suite}"])
        # A suite refuses the options of attacks that it does not have.
        left_out = "|".join(("suite", "attacks", *registry.options()))
        words, kept = iter(shlex.split(self.command)), []
        for word in words:
            flag = re.match(rf"--?({left_out})(=|$)", word)
            if not flag:
                kept.append(word)
            elif not flag[2]:  # Its value is the next word.
                next(words, None)
        return shlex.join([*kept, f"--suite={suite}"])


def class_name(class_names: Sequence[str], label: int) -> str:
    """A class by its number where the classifier knows more classes than have names."""
    return class_names[label] if label < len(class_names) else f"class {label}"


def versions() -> dict[str, str]:
    """Versions of what computed the figures, by name; the commit where it is known."""
    known = commit()
    return {
        **{package: metadata.version(package) for package in _PACKAGES},
        "fsgan_tf": fsgan_tf.__version__,
        **({"commit": known} if known else {}),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


@functools.cache
def commit() -> str | None:
    """The commit that this package runs from, `-dirty` where files differ; None if it is no clone.

    Looked up once a process, when something first asks.
    """
    root = Path(fsgan_tf.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None


def machine() -> str:
    """The processor, its cores and the GPUs, in a few words."""
    gpus = [
        tf.config.experimental.get_device_details(device).get("device_name", "a GPU")
        for device in tf.config.list_physical_devices("GPU")
    ]
    return f"{_processor()}, {os.cpu_count()} cores; {', '.join(gpus) or 'no GPU'}"


def _processor() -> str:
    try:
        described = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        described = None
    return described[1].strip() if described else platform.machine()
