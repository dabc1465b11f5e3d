"""Text for terminals and web pages."""

from __future__ import annotations

import re
from typing import Any

MAX_TEXT_LENGTH = 1000
"""Characters of a text from outside that are shown."""


FORMULA_PATTERN = r"^'*[=+\-@\t\r\n＝＋－＠]"
"""Regular expression of texts that are escaped in CSV: spreadsheets take them for formulas, or they are such
texts already escaped."""


def escape_formula(text: str) -> str:
    """Return a text with a leading apostrophe if a spreadsheet would take it for a formula.

    Parameters
    ----------
    text : str
        Text of a cell of a CSV file.

    Returns
    -------
    str

    Examples
    --------
    >>> print(escape_formula("=1+1"), escape_formula("LRD"), unescape_formula("'=1+1"))
    '=1+1 LRD =1+1
    """
    return f"'{text}" if re.match(FORMULA_PATTERN, text) else text


def unescape_formula(text: str) -> str:
    """Return the text from which `escape_formula` made a text.

    Parameters
    ----------
    text : str
        Text of a cell of a CSV file.

    Returns
    -------
    str
    """
    return text[1:] if text.startswith("'") and re.match(FORMULA_PATTERN, text) else text


def escape_unprintable(text: str) -> str:
    r"""Return a text from outside with unprintable characters escaped, and cut if it is long.

    Parameters
    ----------
    text : str
        Text from a file or a catalog.

    Returns
    -------
    str

    Examples
    --------
    >>> print(escape_unprintable("clear\x1b[2J λ"))
    clear\x1b[2J λ
    """
    escaped = "".join(
        character if character.isprintable() else repr(character)[1:-1]
        for character in text[: MAX_TEXT_LENGTH + 1]
    )
    return escaped if len(escaped) <= MAX_TEXT_LENGTH else f"{escaped[:MAX_TEXT_LENGTH]}…"


def format_table(table: Any) -> str:
    """Return a small Arrow table as text in aligned columns, with a header line.

    Parameters
    ----------
    table : pyarrow.Table
        The table; characters that cannot be printed are escaped.
    """
    rows = [[escape_unprintable(str(value)) for value in row.values()] for row in table.to_pylist()]
    columns = list(zip(table.column_names, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return "\n".join(
        "  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
