"""Finds the source that a data set's name belongs to, by scanning `fsgan_tf.data.sources`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsgan_tf.data import sources
from fsgan_tf.data.settings import ImageSettings
from fsgan_tf.data.source import Source
from fsgan_tf.errors import UserError
from fsgan_tf.settings import Field, fields_of
from fsgan_tf.settings.registry import Registry

_FILES = Registry(sources.__name__)


def source_classes() -> list[type[Source]]:
    """Every source, in the order in which they are asked for a name."""
    found = []
    for file in _FILES.names():
        module = _FILES.module(file)
        found += [
            member
            for member in vars(module).values()
            if isinstance(member, type)
            and issubclass(member, Source)
            and member.__module__ == module.__name__
        ]
    return sorted(found, key=lambda source: (source.precedence, source.__module__))


def groups() -> dict[str, type]:
    """The settings of each source, by what they belong to, such as `data image_folder`."""
    return {
        f"data {source.__module__.rpartition('.')[2]}": source.Settings
        for source in source_classes()
    }


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


def own_fields(source: type[Source]) -> dict[str, Field]:
    """The settings that a source has beside those of every source."""
    return {field.name: field for field in fields_of(source.Settings)}


def all_own_fields() -> dict[str, Field]:
    """The settings that any source has of its own."""
    return {
        name: field for source in source_classes() for name, field in own_fields(source).items()
    }


def open_source(name: str, options: Mapping[str, Any]) -> Source:
    """Opens the data set of this name.

    Args:
      name: of the data set.
      options: settings of every source and of its own, by name; None where one is not given.

    Raises:
      UserError: an option that this source does not read, or data that are missing or unfit.
    """
    source = source_of(name)
    given = {option: value for option, value in options.items() if value is not None}
    own = {option: given.pop(option) for option in own_fields(source) if option in given}
    for option in sorted(given.keys() - {field.name for field in fields_of(ImageSettings)}):
        if Path(name).is_dir() and "/" not in name:
            raise UserError(
                f"{name} is a folder here, so that {option} is not read; give ./{name} for the "
                f"folder, or run the command elsewhere for a data set of that name"
            )
        readers = [other.help for other in source_classes() if option in own_fields(other)]
        raise UserError(
            f"{option} is not read for {name}, only for {' and '.join(readers) or 'no data'}; "
            "leave it out"
        )
    try:
        images, of_its_own = ImageSettings(**given), source.Settings(**own)
    except ValueError as error:
        raise UserError(str(error)) from error
    return source(name, images, of_its_own)
