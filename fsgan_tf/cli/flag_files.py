"""Flag values that read flag files strictly: what no value can mean is refused by file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from absl import flags

_FLAG = re.compile(r"(--?[A-Za-z_]\w*)=(.*)")
_COMMENT = re.compile(r"\s(#|//)")
_QUOTES = ("'", '"')


class FlagValues(flags.FlagValues):
    """absl's, but for flag files: it would take quotes and comments after a value as part of it."""

    def _get_flag_file_lines(
        self, filename: str, parsed_file_stack: list[str] | None = None
    ) -> list[str]:
        """The flags of a file, those of the files that it names included; called by absl.

        Raises:
          flags.Error: a file that cannot be read or names itself, or a value that no flag can mean.
        """
        above = parsed_file_stack or []
        if filename in above:
            raise flags.Error(f"the flag file {filename} names itself")
        found: list[str] = []
        for line in _lines(filename):
            if re.match("--?flagfile=", line):
                inner = str(Path(line.partition("=")[2].strip()).expanduser())
                found += self._get_flag_file_lines(inner, [*above, filename])
            else:
                found.append(line)
        return found


def _lines(filename: str) -> Iterator[str]:
    """The lines of a file that are neither empty nor comments; a byte-order mark is skipped."""
    try:
        text = Path(filename).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise flags.Error(f"the flag file {filename} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise flags.Error(f"cannot read the flag file {filename}: {error.strerror}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line and not line.startswith(("#", "//")):
            if fault := _fault(line):
                raise flags.Error(f"{filename}, line {number}: {fault}")
            yield line


def _fault(line: str) -> str | None:
    """What is wrong with the value of a flag's line; None if nothing is."""
    match = _FLAG.fullmatch(line)
    name, value = match.groups() if match else (line, "")
    comment = _COMMENT.search(value) or (None if match else _COMMENT.search(line))
    if comment:
        return f"{name.split()[0]} has a comment after its value; give it a line of its own"
    if value.startswith(_QUOTES) or value.endswith(_QUOTES):
        return f"{name} has quotes around its value, which no shell removes here; leave them out"
    return None
