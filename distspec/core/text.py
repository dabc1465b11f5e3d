"""NEEDS A DOCSTRING."""

from __future__ import annotations

from typing import Any

MAX_TEXT_LENGTH = 1000
"""Characters of what the quarantine says."""


def escape_unprintable(text: str) -> str:
    r"""Return text from a file, a server or a listing as a terminal and a page can show it.

    Examples
    --------
    >>> print(printable("clear\x1b[2J λ"))
    clear\x1b[2J λ
    """
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[: MAX_TEXT_LENGTH + 1])
    return shown if len(shown) <= MAX_TEXT_LENGTH else f"{shown[:MAX_TEXT_LENGTH]}…"


def format_table(table: Any) -> str:
    """Lay out a small Arrow table in columns for a terminal."""
    rows = [[escape_unprintable(str(value)) for value in row.values()] for row in table.to_pylist()]
    columns = list(zip(table.column_names, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return "\n".join(
        "  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
