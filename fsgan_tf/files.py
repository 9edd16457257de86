"""Files that are there whole or not at all, folders with one writer, and hashes of files."""

import contextlib
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from fsgan_tf.errors import RunError, UserError

LOCK_FILE = ".lock"
_HASHED_AT_ONCE = 2**20


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


def require_outside(folder: str | Path, data: str, flag: str) -> None:
    """Refuses to write among images, where the next reader would take what is written for a class.

    Args:
      folder: to be written to.
      data: a data set's name, which may be a folder of images.
      flag: that named the folder to write to.

    Raises:
      UserError: the folder is that of the images, or lies in it.
    """
    inner, outer = Path(folder).resolve(), Path(data).expanduser().resolve()
    if Path(data).expanduser().is_dir() and outer in (inner, *inner.parents):
        raise UserError(
            f"--{flag}={folder} lies in the folder of images {data}, where it would be taken for a "
            "class; give one outside"
        )


def printable(path: str | os.PathLike[str]) -> str:
    r"""A path for people to read, in one line and without what would steer their terminal.

    Bytes that are not text are replaced, and unprintable characters escaped: `\n` for a new line.
    """
    text = os.fsencode(path).decode(errors="replace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


@contextlib.contextmanager
def sole_writer(folder: Path, *, activity: str, flag: str) -> Iterator[None]:
    """Makes a folder and keeps other processes of the same activity out of it until the block ends.

    The lock is the operating system's: it goes with the process, however that ends. The file
    `.lock` that carries it stays, since removing it could let two processes hold it.

    Args:
      folder: the folder to write to.
      activity: `training` or `evaluation`, for the message.
      flag: the one that named the folder.

    Raises:
      UserError: where the folder cannot be made or written, or another process holds it.
    """
    make_folder(folder, flag)
    try:
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(
            f"cannot write to the folder {folder} ({error.strerror}); choose another with --{flag}"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 1000).decode(errors="replace").strip()
            raise UserError(
                f"another {activity} writes to {folder} ({holder}); wait until it ends, or give "
                f"another --{flag}"
            ) from error
        # The note only serves the message above; on a full disk the lock holds without it.
        with contextlib.suppress(OSError):
            os.ftruncate(lock, 0)
            os.write(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def told_in_one_line(path: Path, advice: str) -> Iterator[None]:
    """Turns what the operating system raises within into `RunError`.

    Args:
      path: what is read or written, where the operating system does not name the file.
      advice: what to do, the end of the line.

    Raises:
      RunError: something could not be read or written.
    """
    try:
        yield
    except BrokenPipeError:  # Whoever read the output has left.
        raise
    except OSError as error:
        raise RunError(
            f"cannot read or write {error.filename or path} ({error.strerror or error}); {advice}"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or as it was before."""
    with atomic_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
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


def files_sha256(paths: Iterable[Path]) -> str:
    """SHA-256 of the files' contents, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            _add(digest, file)
    return digest.hexdigest()


def written_sha256(file: IO[bytes]) -> str:
    """SHA-256 of all that was written to an open file, which stays at its end."""
    digest = hashlib.sha256()
    file.seek(0)
    _add(digest, file)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", file: IO[bytes]) -> None:
    while block := file.read(_HASHED_AT_ONCE):
        digest.update(block)


def _sync_folder(path: Path) -> None:
    """Makes a rename last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
