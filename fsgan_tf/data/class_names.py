"""The order of classes, which is what labels mean."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fsgan_tf.data.split import Split
from fsgan_tf.errors import UserError

_SHOWN = 12


def read_class_names(path: str) -> tuple[str, ...]:
    """Reads one class name a line, in the order of the labels.

    Raises:
      UserError: the file cannot be read, has an empty line before the last name, or names a class
        twice, or fewer than 2.
    """
    if not path:
        raise UserError("--class_names= names no file; give one, or leave the flag out")
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class_names: cannot read {path}: {error}") from error
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    if "" in names:
        # A name left out would shift the labels of all that follow.
        raise UserError(
            f"--class_names: line {names.index('') + 1} of {path} is empty; name a class there, or "
            "take the line out"
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(f"--class_names: {path} has {repeated[0]!r} on more than one line")
    if len(names) < 2:
        raise UserError(f"--class_names: {path} names {len(names)} classes; at least 2 are needed")
    return names


def relabel(split: Split, own: tuple[str, ...], wanted: tuple[str, ...]) -> Split:
    """The split with labels that index `wanted`, which has every name of `own`."""
    places = np.array([wanted.index(name) for name in own], np.int32)
    return split.relabelled(places[split.labels])


def require_names(own: tuple[str, ...], wanted: tuple[str, ...], source: str) -> None:
    """Raises `UserError` unless every class of the data is among the wanted names."""
    missing = [name for name in own if name not in wanted]
    if missing:
        raise UserError(
            f"--class_names does not have {_listed(missing)}, which {source} has; name every class "
            f"of the data, one a line, as the data set does: {_listed(own)}"
        )


def warn_of_numeric_order(names: tuple[str, ...], source: str) -> None:
    """Warns where sorting the names as text and by their numbers gives other labels."""
    numeric = sorted(names, key=_by_number)
    if list(names) != numeric:
        print(
            f"warning: the classes of {source} are labelled in the order of their names as text "
            f"({_listed(names)}), not of their numbers ({_listed(numeric)}); if the classifier "
            "counts them otherwise, give the order with --class_names=FILE, one name a line",
            file=sys.stderr,
        )


def _by_number(name: str) -> list[str | int]:
    # Text and numbers alternate, so that each is compared with its like.
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", name))]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
