"""Files that are there whole or not at all, and folders."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsgan_tf.errors import UserError


def make_folder(path: Path, flag: str) -> None:
    """Makes a folder and those above it; `flag` is the one that named it.

    Raises:
      UserError: where it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {path} ({error.strerror}); choose another with --{flag}"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or as it was before."""
    with atomic_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Any]:
    """A binary file to write, that is there whole or as it was before once the block ends."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    """Makes a rename last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
