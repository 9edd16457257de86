"""Keeps what an earlier evaluation wrote, before the next one writes to the same folder."""

import datetime
import json
import re
import shutil
from pathlib import Path

FOLDER = "earlier"
_FILES = (
    *("results.json", "report.md", "report.html"),
    *("adversarial_examples.npz", "robustbench.json"),
)


def keep(output_dir: Path) -> Path | None:
    """Copies an earlier evaluation's files to `earlier/DATE_SUITE` in the same folder.

    Args:
      output_dir: an evaluation's folder.

    Returns:
      The folder of the copies, or None where there was no results.json.
    """
    results = output_dir / "results.json"
    if not results.is_file():
        return None
    folder = _free(output_dir / FOLDER / _name(results))
    folder.mkdir(parents=True)
    for name in _FILES:
        if (output_dir / name).is_file():
            shutil.copy2(output_dir / name, folder / name)
    return folder


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
