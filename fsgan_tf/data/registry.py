"""Finds the source that a data set's name belongs to, by scanning `fsgan_tf.data.sources`."""

import dataclasses
import importlib
import pkgutil
from typing import Any

from fsgan_tf.data import sources
from fsgan_tf.data.settings import SourceSettings
from fsgan_tf.data.source import Source
from fsgan_tf.errors import UserError


def source_classes() -> list[type[Source]]:
    """Every source, in the order in which they are asked for a name."""
    found = []
    for module in pkgutil.iter_modules(sources.__path__):
        members = vars(importlib.import_module(f"{sources.__name__}.{module.name}")).values()
        found += [
            member
            for member in members
            if isinstance(member, type)
            and issubclass(member, Source)
            and member.__module__ == f"{sources.__name__}.{module.name}"
        ]
    return sorted(found, key=lambda source: (source.precedence, source.__module__))


def source_of(name: str) -> type[Source]:
    """The source of the data set of this name.

    Raises:
      UserError: no source knows it.
    """
    for source in source_classes():
        if source.owns(name):
            return source
    raise UserError(f"unknown data set {name!r}; --dataset takes {names_help()}")


def names_help() -> str:
    """What `--dataset` takes, as a phrase."""
    *phrases, last = [source.help for source in source_classes()]
    return f"{', '.join(phrases)} or {last}"


def settings_for(source: type[Source], options: dict[str, Any]) -> SourceSettings:
    """The settings of a source from options, of which others may be None.

    Raises:
      UserError: an option is given that this source does not read.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in sorted(given.keys() - options_of(source)):
        readers = [other.help for other in source_classes() if name in options_of(other)]
        raise UserError(
            f"--{name} is read for {' and '.join(readers)} only; leave it out for this --dataset"
            if readers
            else f"no data set reads --{name}"
        )
    return source.Settings(**given)


def options_of(source: type[Source]) -> frozenset[str]:
    """What a source reads beside the data set's name."""
    return frozenset(field.name for field in dataclasses.fields(source.Settings))
