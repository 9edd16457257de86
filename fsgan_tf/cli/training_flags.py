"""The flags of training, made from the settings that data, networks and methods declare.

`FlagValues` holds texts; `configuration` makes typed settings of them. Imports no TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

from fsgan_tf.cli import settings_flags
from fsgan_tf.data.registry import source_classes
from fsgan_tf.errors import UserError, one_line
from fsgan_tf.runs.configuration import CHANGEABLE, TrainingConfiguration, groups, readers
from fsgan_tf.settings import Field

_FLAG = re.compile(r"--?([A-Za-z_]\w*)")


class TrainingFlags(settings_flags.SettingsFlags):
    """Flag values that remember what stood on the command line itself, not in a flag file."""

    def read_flags_from_files(self, argv: Sequence[str], force_gnu: bool = True) -> list[str]:
        """Expands flag files; called by absl for the whole command line."""
        # Past FlagValues' own attributes, which are flags.
        self.__dict__["command_line"] = list(argv)
        return super().read_flags_from_files(argv, force_gnu)


def training_flags() -> TrainingFlags:
    """The flags of `python -m fsgan_tf.train`, of every method and network."""
    return TrainingFlags(groups())


def configuration(values: flags.FlagValues) -> TrainingConfiguration:
    """The typed settings of parsed flags.

    Raises:
      UserError: a value that is none, or a flag on the command line that the chosen method or
        network does not read.
    """
    given = given_texts(values)
    configured = TrainingConfiguration.from_texts(_recorded(given) | given)
    named = names_in(getattr(values, "command_line", ()))
    if unread := [name for name in configured.unread(given) if name in named]:
        raise UserError("; ".join(_unread(name, configured) for name in unread))
    return configured


def _recorded(given: Mapping[str, str]) -> dict[str, str]:
    """The flags of the run that a command resumes by naming its folder alone."""
    if "run_dir" not in given or not set(given) <= set(CHANGEABLE):
        return {}
    file = Path(given["run_dir"]) / "flags.txt"
    if not file.is_file():
        return {}
    try:
        return TrainingConfiguration.from_flag_file(file.read_text("utf-8")).texts()
    except (UserError, OSError, ValueError) as error:
        raise UserError(f"cannot read {file}: {error}") from error


def parse(arguments: Sequence[str]) -> TrainingConfiguration:
    """The typed settings of command-line words, of which any method's flags may be given.

    Raises:
      UserError: as the command does.
    """
    values = training_flags()
    try:
        words = values(["train", *arguments])[1:]
    except (flags.Error, ValueError) as error:
        raise UserError(one_line(error)) from error
    if words:
        raise UserError(f"{' '.join(words)} is not a flag")
    return TrainingConfiguration.from_texts(given_texts(values))


def given_texts(values: flags.FlagValues) -> dict[str, str]:
    """The flags that were given, on the command line or in a file, as texts."""
    return settings_flags.given_texts(values, readers())


def names_in(words: Sequence[str]) -> set[str]:
    """Names of the training's flags among the words of a command line."""
    names = {match[1] for word in words if (match := _FLAG.match(word))}
    return {name if name in readers() else name.removeprefix("no") for name in names}


def notes(values: flags.FlagValues, configured: TrainingConfiguration) -> list[str]:
    """What a person should know about a training that is otherwise as asked for."""
    method = configured.training.method
    lines = []
    given = _recorded(given_texts(values)) | given_texts(values)
    if recommended := configured.recommended(given):
        lines.append(f"{' '.join(recommended)}, as natural images are trained with by default")
    if departures := configured.departures():
        lines.append(
            f"{method} is trained with {', '.join(departures)}; configs/baselines has their "
            "settings"
        )
    if departures := configured.departures_from_paper():
        lines.append(
            f"departs from the paper in {', '.join(departures)}; configs/paper follows it word for "
            "word"
        )
    if unread := configured.unread(given_texts(values)):
        names = ", ".join(f"--{name}" for name in unread)
        lines.append(f"{method} does not read {names} of the flag file")
    return lines


def help_text(argv: Sequence[str]) -> str:
    """The flags by what they belong to; with --method or --architecture, what applies to them.

    Args:
      argv: the command line.
    """
    found = groups()
    chosen = {
        word.partition("=")[0].lstrip("-"): word.partition("=")[2] for word in argv if "=" in word
    }
    for kind, flag in (("network", "architecture"), ("method", "method")):
        if f"{kind} {chosen.get(flag)}" in found:
            kept = f"{kind} {chosen[flag]}"
            found = {
                g: cls for g, cls in found.items() if not g.startswith(f"{kind} ") or g == kept
            }
    return settings_flags.help_text(found, _recommended)


def _recommended(field: Field) -> str:
    """What data recommend beside a flag's own default."""
    said = {
        source.recommended[field.name]
        for source in source_classes()
        if field.name in source.recommended
    }
    return "".join(f"; {text} for data other than digits" for text in sorted(said))


def _unread(name: str, configured: TrainingConfiguration) -> str:
    reading = readers()[name]
    kind = reading[0].partition(" ")[0]
    chosen = {"network": "architecture", "data": "dataset"}.get(kind, kind)
    ours = configured.values().get(chosen, "")
    theirs = ", ".join(group.partition(" ")[2] for group in reading)
    return f"--{name} is not read by --{chosen}={ours}, only by {theirs}; leave it out"
