"""Flags made from classes of settings: their definition, their texts and their help.

A class belongs to a group such as "training" or "method fs_gan"; groups of one kind ("method") may
share a flag. Imports no TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from absl import flags

from fsgan_tf.cli import flag_files
from fsgan_tf.settings import Field, fields_of, from_text
from fsgan_tf.settings.fields import S

Groups = Mapping[str, type]


class SettingsFlags(flag_files.FlagValues):
    """Fresh flags, one for every setting of the groups, None where it is not given."""

    def __init__(self, groups: Groups):
        super().__init__()
        # Past FlagValues' own attributes, which are flags.
        self.__dict__["groups"] = groups
        for group, cls in groups.items():
            for field in fields_of(cls):
                if field.name not in self:
                    define = flags.DEFINE_boolean if field.type is bool else flags.DEFINE_string
                    define(field.name, None, f"{field.setting.help} ({group})", flag_values=self)

    def get_help(self, prefix: str = "", include_special_flags: bool = True) -> str:
        """Every flag by what it belongs to, without absl's own; `--help` prints it."""
        del prefix, include_special_flags
        return help_text(self.__dict__["groups"])


def read(cls: type[S], values: flags.FlagValues) -> S:
    """The typed settings of one class from parsed flags.

    Raises:
      UserError: a value that is none.
    """
    return from_text(cls, given_texts(values, [field.name for field in fields_of(cls)]))


def given_texts(values: flags.FlagValues, names: Iterable[str]) -> dict[str, str]:
    """Those of the flags that were given, on the command line or in a file, as texts.

    A leading `~` becomes the home directory: shells leave it as it is after `--name=`.
    """
    given = {name: values[name].value for name in names if values[name].present}
    return {
        name: str(value).lower() if isinstance(value, bool) else os.path.expanduser(value)
        for name, value in given.items()
        if value is not None
    }


def help_text(groups: Groups, more: Callable[[Field], str] = lambda field: "") -> str:
    """Every flag with its help and default, under what it belongs to.

    Args:
      groups: classes of settings.
      more: what is said after a flag's default.
    """
    shared: dict[str, list[tuple[str, Field]]] = {}
    for group, cls in groups.items():
        for field in fields_of(cls):
            shared.setdefault(field.name, []).append((group, field))
    sections: dict[str, list[str]] = {}
    for described in shared.values():
        title = _title([group for group, _ in described], groups)
        sections.setdefault(title, []).append(_described(described, more))
    titles = [title for title in _titles(groups) if title in sections]
    return "\n\n".join(f"{title}:\n" + "\n".join(sections[title]) for title in titles)


def _title(readers_of: list[str], groups: Groups) -> str:
    """Where the help has a flag that these groups read."""
    if len(readers_of) == 1:
        return readers_of[0]
    kind = _kind(readers_of[0])
    of_the_kind = [group for group in groups if _kind(group) == kind]
    return f"every {kind}" if readers_of == of_the_kind else f"several {kind}s"


def _titles(groups: Groups) -> list[str]:
    """Every title there can be, in order: what groups share before what is theirs alone."""
    found: list[str] = []
    for group in groups:
        kind = _kind(group)
        found += [f"every {kind}", f"several {kind}s"] if kind else []
        found.append(group)
    return list(dict.fromkeys(found))


def _kind(group: str) -> str:
    """`method` of `method fs_gan`; nothing for a group that stands alone."""
    return group.rpartition(" ")[0]


def _described(described: list[tuple[str, Field]], more: Callable[[Field], str]) -> str:
    _, field = described[0]
    name = f"--[no]{field.name}" if field.type is bool else f"--{field.name}"
    defaults: dict[str, list[str]] = {}
    for group, one in described:
        if text := "" if one.default is None else one.text(one.default):
            defaults.setdefault(text, []).append(group.partition(" ")[2])
    if len(defaults) == 1 and len(described) in (1, len(next(iter(defaults.values())))):
        (default,) = defaults
    else:
        default = "; ".join(f"{text} for {', '.join(names)}" for text, names in defaults.items())
    only = ""
    if len(described) > 1 and len(defaults) == 1:
        only = "; " + ", ".join(group.partition(" ")[2] for group, _ in described)
    allowed = f"; {', '.join(field.setting.allowed())}" if field.setting.allowed() else ""
    default += more(field)
    told = f"default: {default}" if default else "no default"
    return f"  {name}: {field.setting.help}\n      ({told}{allowed}{only})"
