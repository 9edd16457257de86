"""Markdown in which text from outside is shown as it is and never read as Markdown."""

import re
from collections.abc import Sequence


def table(
    header: tuple[str, ...], rows: Sequence[tuple[str, ...]], code_column: int | None = None
) -> str:
    """A table; the cells of `code_column`, counted from 0, are code."""
    lines = [header, ("---",) * len(header)]
    lines += [
        tuple(
            code(cell) if column == code_column else escaped(cell)
            for column, cell in enumerate(row)
        )
        for row in rows
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def escaped(text: str) -> str:
    """On one line; without what Markdown or the HTML in it would take for markup."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*|]|\](?=[(\[]))", r"\\\1", plain)


def code(text: str) -> str:
    """A code span that fits in a table, whatever is in it."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    content = " ".join(text.split()).replace("|", "\\|")
    return f"{fence}{space}{content}{space}{fence}"
