"""Runs made anywhere, grouped into the rows of a table: one a method and its settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import experiments
from experiments import provenance
from fsgan_tf.errors import UserError
from fsgan_tf.runs import pretrained
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.settings import fields_of

# What runs that are compared have alike, beside the settings of their network.
_SCALE = (
    *("dataset", "class_names", "image_size", "channels", "augmentation"),
    *("train_examples", "validation_examples", "epochs", "norm", "epsilon", "architecture"),
)
# What does not change what is trained, or differs from seed to seed of one method.
_INCIDENTAL = (
    *("seed", "run_dir", "data_dir", "memory_limit", "dry_run", "eval_examples"),
    *("on_nan", "deterministic", "init_from", "strategy", "precision"),
)


class Run(NamedTuple):
    """A finished training, its recorded settings and what --precision and --strategy came to."""

    path: Path
    configuration: TrainingConfiguration
    start: Mapping[str, Any] = MappingProxyType({})

    @property
    def method(self) -> str:
        """By name."""
        return self.configuration.training.method

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.configuration.training.seed

    @property
    def scale(self) -> dict[str, str]:
        """What runs that are compared have alike, as flags."""
        names = (*_SCALE, *(field.name for field in fields_of(type(self.configuration.classifier))))
        texts = self.configuration.texts()
        return {name: texts[name] for name in names if name in texts}

    @property
    def settings(self) -> dict[str, str]:
        """What makes it a row of its own, as flags."""
        texts = self.configuration.texts()
        own = {n: text for n, text in texts.items() if n not in {*_INCIDENTAL, *self.scale}}
        # What "auto" came to depends on the machine.
        own["precision"] = self.start.get("precision", texts["precision"])
        own["replicas"] = str(self.start.get("replicas", "not recorded"))
        if source := texts.get("init_from"):
            # Of another training, every seed has its own.
            own["init_from"] = source if pretrained.is_named(source) else "..."
        return own


def read(path: Path) -> Run:
    """A run that has ended.

    Raises:
      UserError: it is none, or its training has not ended.
    """
    from fsgan_tf.runs.directory import RunDirectory

    configuration = RunDirectory(path).read_configuration()
    if not experiments.is_finished(path):
        raise UserError(
            f"the training in {path} has not ended; python -m fsgan_tf.train --run_dir={path} "
            "finishes it"
        )
    return Run(path, configuration, next(iter(provenance.starts(path)), {}))


def require_one_scale(runs: Iterable[Run]) -> None:
    """Refuses to compare runs whose data, length, network or epsilon differ.

    Raises:
      UserError: they differ, or two are the same training.
    """
    first, *others = runs
    for other in others:
        if differing := _differing(first.scale, other.scale):
            raise UserError(
                f"{first.path} was trained with {_as_flags(first.scale, differing)}, {other.path} "
                f"with {_as_flags(other.scale, differing)}; compare runs of one scale"
            )
    seen: dict[tuple[str, ...], Path] = {}
    for run in (first, *others):
        training = (str(run.seed), *map(str, run.settings.items()))
        if training in seen:
            raise UserError(
                f"{seen[training]} and {run.path} are the same training, of seed {run.seed}; give "
                "one of them"
            )
        seen[training] = run.path


def labelled(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of each row by its name: the method, and its flags where it has several rows."""
    rows: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        rows.setdefault(tuple(map(str, run.settings.items())), []).append(run)
    names: dict[str, list[Run]] = {}
    for row in rows.values():
        method, settings = row[0].method, row[0].settings
        others = [other[0].settings for other in rows.values() if other[0].method == method]
        differing = {name for other in others for name in _differing(settings, other)}
        names[f"{method} {_as_flags(settings, differing)}".strip()] = row
    return names


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}


def _as_flags(texts: Mapping[str, str], names: Iterable[str]) -> str:
    def words(name: str) -> str:
        if name == "replicas":
            return f"(replicas: {texts[name]})"
        return f"--{name}={texts[name]}" if name in texts else f"no --{name}"

    return " ".join(map(words, sorted(names)))
