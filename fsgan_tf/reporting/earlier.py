"""Keeps what an earlier evaluation wrote, before the next one writes to the same folder."""

import datetime
import json
import re
import shutil
from collections.abc import Collection
from pathlib import Path

FOLDER = "earlier"
_ALWAYS = ("results.json", "report.md", "report.html")
# Written where they are asked for; of an earlier evaluation they would be taken for the new one's.
_ON_DEMAND = ("adversarial_examples.npz", "robustbench.json")


def keep(output_dir: Path, in_use: Collection[Path] = ()) -> Path | None:
    """Copies an earlier evaluation's files to `earlier/DATE_SUITE` in the same folder.

    Those that the next evaluation may not write again are moved there.

    Args:
      output_dir: an evaluation's folder.
      in_use: files that stay as well, since the next evaluation took them up.

    Returns:
      The folder of the copies, or None where there was no results.json.
    """
    results = output_dir / "results.json"
    if not results.is_file():
        return None
    folder = _free(output_dir / FOLDER / _name(results))
    folder.mkdir(parents=True)
    there = [name for name in (*_ALWAYS, *_ON_DEMAND) if (output_dir / name).is_file()]
    for name in there:
        shutil.copy2(output_dir / name, folder / name)
    for name in there:
        if name in _ON_DEMAND and not _is_any(output_dir / name, in_use):
            (output_dir / name).unlink()
    return folder


def _is_any(file: Path, others: Collection[Path]) -> bool:
    return any(other.exists() and file.samefile(other) for other in others)


def _name(results: Path) -> str:
    """Date and suite of the earlier evaluation, as far as its file says them."""
    try:
        content = json.loads(results.read_bytes())
        date, suite = str(content["date"]), str(content["suite"] or "attacks")
    except (ValueError, TypeError, KeyError):
        written = datetime.datetime.fromtimestamp(results.stat().st_mtime, tz=datetime.timezone.utc)
        date, suite = written.strftime("%Y-%m-%d %H:%M UTC"), "attacks"
    return re.sub(r"[^A-Za-z0-9-]+", "_", f"{date}_{suite}")[:80].strip("_")


def _free(folder: Path) -> Path:
    """The folder, or the first of it with a number that is not there yet."""
    candidates = [folder, *(folder.with_name(f"{folder.name}_{n}") for n in range(2, 1000))]
    return next(candidate for candidate in candidates if not candidate.exists())
