"""The folder of an export: what it holds, and how it is put in its place whole or not at all."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from fsgan_tf.errors import RunError, UserError
from fsgan_tf.files import sole_writer

CLASS_NAMES_FILE = "assets/class_names.txt"
SAVED_MODEL_ENTRIES = (CLASS_NAMES_FILE, "fingerprint.pb", "saved_model.pb", "variables")
LITERT_MODEL_FILE = "classifier.tflite"
LITERT_NAMES_FILE = "class_names.txt"
LITERT_ENTRIES = (LITERT_MODEL_FILE, LITERT_NAMES_FILE)


def read_class_names(file: Path, num_classes: int | None) -> tuple[str, ...] | None:
    """The names that an export has in a file, one a line; None unless there are as many classes."""
    if not file.is_file():
        return None
    names = tuple(file.read_text(encoding="utf-8", errors="replace").splitlines())
    return names if len(names) == num_classes else None


@contextlib.contextmanager
def replacing(export_dir: Path, entries: Sequence[str]) -> Iterator[Path]:
    """Gives an empty folder, which becomes `export_dir` when the block ends without an error.

    It lies in a hidden folder beside `export_dir` that one process holds at a time and whose name
    stays the same, so that what killed exports leave is removed by the next and never piles up.

    Args:
      export_dir: the place; an export that is there is replaced.
      entries: paths that every such export holds, so that nothing else is ever deleted.

    Yields:
      A folder on the same file system.

    Raises:
      UserError: `export_dir` holds something else than an export, or cannot be written, or another
        process exports to it.
      RunError: writing failed; `export_dir` is as it was.
    """
    export_dir = export_dir.resolve()
    held = export_dir.with_name(f".{export_dir.name}.tmp")
    try:
        _require_replaceable(export_dir, entries)
    except OSError as error:
        raise UserError(f"cannot write to {export_dir}: {error.strerror}") from error
    with sole_writer(held, activity="export", flag="export_dir"):
        try:
            folder = held / export_dir.name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            yield folder
            _move(folder, export_dir)
        except (OSError, tf.errors.OpError) as error:
            raise RunError(f"could not export to {export_dir}: {error}") from error
        finally:
            shutil.rmtree(held, ignore_errors=True)


def _require_replaceable(export_dir: Path, entries: Sequence[str]) -> None:
    """Raises `UserError` unless `export_dir` is missing, empty or an export and nothing else."""
    if not export_dir.exists():
        return
    if not export_dir.is_dir():
        raise UserError(f"{export_dir} is a file; name another folder with --export_dir")
    names = {entry.name for entry in export_dir.iterdir()}
    is_export = names <= {Path(entry).parts[0] for entry in entries} and all(
        (export_dir / entry).exists() for entry in entries
    )
    if names and not is_export:
        raise UserError(
            f"{export_dir} is not empty and holds something else than an earlier export, which is "
            "not deleted; name another folder with --export_dir"
        )


def _move(folder: Path, export_dir: Path) -> None:
    """Renames `folder` to `export_dir`, replacing what is there."""
    # A folder that is not empty cannot be renamed over; the old export steps aside whole.
    old = export_dir.with_name(f".{export_dir.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if export_dir.exists():
        export_dir.rename(old)
    folder.rename(export_dir)
    shutil.rmtree(old, ignore_errors=True)
