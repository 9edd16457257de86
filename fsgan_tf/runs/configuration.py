"""The whole of what a training is asked to do, and its form as a flag file."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fsgan_tf import methods
from fsgan_tf.data import registry
from fsgan_tf.data.settings import DataSettings, ImageSettings
from fsgan_tf.data.sources.image_folder import FolderSource
from fsgan_tf.errors import UserError
from fsgan_tf.methods.parts.settings import MethodSettings
from fsgan_tf.networks import classifiers
from fsgan_tf.runs.settings import TrainingSettings
from fsgan_tf.settings import Field, Settings, fields_of, from_text, readers_of

# What may change when a run is resumed: where things are, how far it goes, what is looked at after.
CHANGEABLE = (
    *("run_dir", "data_dir", "memory_limit"),
    *("dry_run", "epochs", "eval_examples", "on_nan"),
)
# absl's own, which says nothing about a training.
_FLAG_FILES = ("flagfile", "undefok")
_FLAG_LINE = re.compile(r"--?([A-Za-z_]\w*)(?:=(.*))?")


@dataclasses.dataclass(frozen=True)
class TrainingConfiguration:
    """One training.

    Attributes:
      data: which images.
      source: the settings of where they come from.
      training: how long, where, with which method and network.
      classifier: the settings of that network.
      method: the settings of that method.
    """

    data: DataSettings
    source: Settings
    training: TrainingSettings
    classifier: Settings
    method: MethodSettings

    @classmethod
    def from_texts(cls, given: Mapping[str, str]) -> TrainingConfiguration:
        """From flags by name; those that this method and network do not read are left out.

        Where one is not given, the data's recommendation stands before the setting's own default.

        Raises:
          UserError: a value that is none.
        """
        given = {name: _from_anywhere(name, text) for name, text in given.items()}
        if given.get("norm", "linf") != "linf" and "epsilon" not in given:
            raise UserError(
                f"--norm={given['norm']} needs --epsilon in its own unit, such as 0.5 in l2 for "
                "images of CIFAR-10"
            )
        given = _recommended(given) | given
        training = from_text(TrainingSettings, given)
        method = methods.declared(training.method)
        architecture = classifiers.declared(training.architecture)
        data = from_text(DataSettings, given)
        if training.run_dir is None:
            run_dir = f"runs/{Path(data.dataset).name}_{training.method}"
            training = dataclasses.replace(training, run_dir=run_dir)
        return cls(
            data=data,
            source=from_text(registry.source_of(data.dataset).Settings, given),
            training=training,
            classifier=from_text(architecture.settings, given),
            method=from_text(method.settings, given),
        )

    @classmethod
    def from_flag_file(cls, text: str) -> TrainingConfiguration:
        """From what `to_flags` wrote, or an earlier version's flags.txt.

        Raises:
          UserError: a line that is not a training flag.
        """
        return cls.from_texts(dict(_flags_in(text)))

    @property
    def run_dir(self) -> str:
        """Folder of the run, never None."""
        return str(self.training.run_dir)

    def data_options(self) -> dict[str, Any]:
        """What `fsgan_tf.data.loading` reads a data set with, beside its name."""
        common = [field.name for field in fields_of(ImageSettings)]
        return {
            **{name: getattr(self.data, name) for name in (*common, "class_names")},
            **dataclasses.asdict(self.source),
        }

    def values(self) -> dict[str, Any]:
        """Every setting by the name of its flag."""
        return {field.name: getattr(part, field.name) for part, field in self._fields()}

    def texts(self) -> dict[str, str]:
        """Every setting that has a value, as its flag's text."""
        return {
            field.name: field.text(value)
            for part, field in self._fields()
            if (value := getattr(part, field.name)) is not None
        }

    def to_flags(self) -> str:
        """A flag file that gives this configuration again."""
        return "".join(f"--{name}={text}\n" for name, text in self.texts().items())

    def unread(self, names: Iterable[str]) -> list[str]:
        """Those of the flags' names that another method or network reads, and this one does not."""
        return sorted(set(names) & set(readers()) - set(self.values()))

    def departures(self) -> list[str]:
        """What is otherwise than a baseline's authors have it, as by another method's flag file."""
        declared = methods.declared(self.training.method)
        if not declared.constants.get("BASELINE"):
            return []
        own = declared.settings.__dict__.get("__annotations__", {})
        return [
            f"--{field.name}={field.text(value)} (its authors: {field.text(field.default)})"
            for field in fields_of(declared.settings)
            if field.name in own
            and not field.setting.ours
            and (value := getattr(self.method, field.name)) != field.default
        ]

    def departures_from_paper(self) -> list[str]:
        """What is otherwise than in the paper, where the method's file says what that has."""
        declared = methods.declared(self.training.method)
        paper = declared.constants.get("PAPER", {})
        paper = paper | declared.constants.get("PAPER_ON", {}).get(self.data.dataset, {})
        return [
            f"--{field.name}={field.text(value)} ({field.text(paper[field.name])})"
            for field in fields_of(declared.settings)
            if field.name in paper
            and (value := getattr(self.method, field.name)) != paper[field.name]
        ]

    def recommended(self, given: Iterable[str]) -> list[str]:
        """What the data recommend and no flag said, as flags."""
        names = _recommended({"dataset": self.data.dataset}).keys() - set(given)
        texts = self.texts()
        return [f"--{name}={texts[name]}" for name in sorted(names & texts.keys())]

    def _fields(self) -> Iterator[tuple[Settings, Field]]:
        for part in (self.training, self.data, self.source, self.classifier, self.method):
            for field in fields_of(type(part)):
                yield part, field


def _recommended(given: Mapping[str, str]) -> dict[str, str]:
    dataset = given.get("dataset")
    return {} if dataset is None else dict(registry.source_of(dataset).recommended)


def _from_anywhere(name: str, text: str) -> str:
    """A path to images as an absolute one, since evaluations of the run read them too."""
    is_path = (
        name in ("data_dir", "class_names")
        or (name == "architecture" and text.endswith(".keras"))
        or (
            name == "dataset"
            # Unlike Path's, it takes a name that is too long for a folder's.
            and os.path.isdir(os.path.expanduser(text))
            and registry.source_of(text) is FolderSource
        )
    )
    return os.path.abspath(os.path.expanduser(text)) if is_path else text


def groups() -> dict[str, type]:
    """Every class of settings that a training can have, by what it belongs to."""
    return {
        "training": TrainingSettings,
        "data": DataSettings,
        **registry.groups(),
        **{f"network {name}": classifiers.declared(name).settings for name in classifiers.names()},
        **{f"method {name}": methods.declared(name).settings for name in methods.names()},
    }


def readers() -> dict[str, list[str]]:
    """By flag, the groups that read it, such as `["method fs_gan", "method l2l"]`."""
    return readers_of(groups())


def _flags_in(text: str) -> Iterator[tuple[str, str]]:
    known = readers()
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith(("#", "//")):
            continue
        match = _FLAG_LINE.fullmatch(line)
        name, value = match.groups() if match else ("", None)
        if value is None and name not in known and name.removeprefix("no") in known:
            name, value = name.removeprefix("no"), "false"
        if name in _FLAG_FILES:
            continue
        if name not in known:
            raise UserError(f"line {number}, {line!r}, is not a training flag")
        yield name, "true" if value is None else value
