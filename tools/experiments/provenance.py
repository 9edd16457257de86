"""With which commit, command, seed and machine figures were made, for the foot of a table."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_UNKNOWN = "not recorded"


def starts(run_dir: Path) -> list[dict[str, Any]]:
    """What starts.jsonl says of each start of a training; nothing of runs that have none."""
    from fsgan_tf.runs.directory import RunDirectory

    file = RunDirectory(run_dir).starts_file
    found = []
    for line in file.read_text().splitlines() if file.is_file() else ():
        with contextlib.suppress(ValueError):  # A line cut short by a power cut.
            found.append(json.loads(line))
    return found


def lines(name: str, run_dir: Path, evaluations: Iterable[dict[str, Any]]) -> list[str]:
    """Items of a Markdown list: the training, then each evaluation.

    Args:
      name: of the run, for the reader.
      run_dir: the run.
      evaluations: contents of results.json files.
    """
    made = [_made("trained", start) for start in starts(run_dir)] or [f"training {_UNKNOWN}"]
    made += [_made("attacked", results) for results in evaluations]
    return [f"- {name}: {one}" for one in made]


def _made(verb: str, record: dict[str, Any]) -> str:
    versions = record.get("versions", {})
    commit = versions.get("commit") or f"version {versions.get('fsgan_tf', _UNKNOWN)}"
    seed = f", seed {record['seed']}" if "seed" in record else ""
    verdict = f" ({record['verdict']})" if "verdict" in record else ""
    return (
        f"{verb} {record.get('date', '')} at {commit}{seed} on {record.get('machine', _UNKNOWN)}: "
        f"`{record.get('command') or _UNKNOWN}`{verdict}"
    )
