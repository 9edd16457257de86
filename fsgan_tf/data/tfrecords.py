"""Random access to records of TFRecord files, which have no index of their own."""

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_LENGTH = struct.Struct("<Q")
# A record is its length and that one's checksum (8 + 4 bytes), its content, and its checksum (4).
_BEFORE, _AFTER = 12, 4


class TfRecords:
    """Records by their row, over several files.

    Checksums are not looked at: read the files once with `tf.data.TFRecordDataset` before, which
    does.
    """

    def __init__(self, places: Sequence[tuple[Path, int]]):
        """Finds the records.

        Args:
          places: of each row, the file and which of the file's records it is.
        """
        self._files = sorted({path for path, _ in places})
        offsets = [record_offsets(path) for path in self._files]
        number = {path: index for index, path in enumerate(self._files)}
        self._rows = np.array(
            [(number[path], *offsets[number[path]][index]) for path, index in places], np.int64
        ).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, rows: Sequence[int]) -> list[bytes]:
        """The records of these rows."""
        return [self._read(*self._rows[row]) for row in rows]

    def fingerprint(self) -> bytes:
        """Of the files' names and where their records lie."""
        names = [path.name for path in self._files]
        return repr(names).encode() + self._rows.tobytes()

    def _read(self, file: int, offset: int, length: int) -> bytes:
        with self._files[file].open("rb", buffering=0) as opened:
            return os.pread(opened.fileno(), length, offset)


def record_offsets(path: Path) -> list[tuple[int, int]]:
    """Where each record's content starts in a TFRecord file, and its length, both in bytes."""
    found = []
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            (length,) = _LENGTH.unpack(head)
            start = file.tell() - _LENGTH.size + _BEFORE
            found.append((start, length))
            file.seek(start + length + _AFTER)
    return found
