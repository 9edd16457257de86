"""metrics.jsonl: one object an epoch, for people and other programs. Imports no TensorFlow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fsgan_tf.errors import UserError
from fsgan_tf.files import write_atomically

# What is read again of a row; accuracies are in those of trainings that hold images out.
_READ_METRICS = ("epoch", "step", "images_per_second")
_READ_ACCURACIES = ("one_step_accuracy", "robust_accuracy")


class Metrics:
    """The rows of one training."""

    def __init__(self, file: Path):
        """Names the file; the first `append` makes it."""
        self.file = file

    def read(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one an epoch.

        Raises:
          UserError: where it holds something else.
        """
        if not self.file.exists():
            return []
        rows = []
        lines = self.file.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(_row(line))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                if number == len(lines):
                    break  # Cut short by a kill: of an epoch that no checkpoint holds yet.
                raise UserError(
                    f"{self.file}, line {number}, is not an epoch's JSON object; remove the line"
                ) from error
        return rows

    def robust_accuracies(self) -> dict[int, float]:
        """Multi-step accuracy on held-out images by epoch, of the epochs that have one."""
        rows = self.read()
        return {row["epoch"]: row["robust_accuracy"] for row in rows if "robust_accuracy" in row}

    def keep_before(self, epoch: int) -> None:
        """Drops rows of epochs that are about to be run again."""
        rows = [row for row in self.read() if row["epoch"] < epoch]
        write_atomically(self.file, "".join(_json_line(row) for row in rows).encode())

    def append(self, row: dict[str, Any]) -> None:
        """Adds the row of an epoch, on the disk before its checkpoint is."""
        with self.file.open("a") as file:
            file.write(_json_line(row))
            file.flush()
            os.fsync(file.fileno())


def _row(line: bytes) -> dict[str, Any]:
    """An epoch's object, with what is read again of it in numbers."""
    row = json.loads(line)
    numbers = [row[name] for name in _READ_METRICS]
    numbers += [row[name] for name in _READ_ACCURACIES if name in row]
    are_numbers = all(isinstance(n, (int, float)) and 0 <= n < 2**63 for n in numbers)
    are_whole = isinstance(row["epoch"], int) and isinstance(row["step"], int)
    if not (are_numbers and are_whole and row["images_per_second"]):
        raise ValueError("these are not an epoch's")
    return row


def _json_line(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=False) + "\n"
