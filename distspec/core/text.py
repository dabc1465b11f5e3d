"""Text for terminals and web pages."""

from __future__ import annotations

import re
from typing import Any

MAX_TEXT_LENGTH = 1000
"""Characters of a text from outside that are shown."""
MIN_COLUMN_WIDTH = 12
"""Characters to which texts of a table are cut, at most, before columns are left out."""
COLUMN_GAP = "  "

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


def use_minus_signs(text: str) -> str:
    """Return a text in which negative numbers have a minus sign (U+2212) instead of a hyphen.

    Parameters
    ----------
    text : str
        Text for people; hyphens within and between words and in exponents remain.

    Returns
    -------
    str

    Examples
    --------
    >>> use_minus_signs("residual -9.0 σ, β -2.1 ± 0.1, spec-4055-55359, 1e-17")
    'residual −9.0 σ, β −2.1 ± 0.1, spec-4055-55359, 1e-17'
    """
    return re.sub(r"(?<![^\s(\[+])-(?=\.?\d)", "−", text)


def format_value(value: Any, unit: str = "") -> str:
    """Return a value as a cell of a table.

    Parameters
    ----------
    value : object
        The value; None gives an empty cell, a float is rounded to five significant digits.
    unit : str
        Unit of a float; angles in "deg" have five decimals, 0.04 arcsec.

    Returns
    -------
    str

    Examples
    --------
    >>> format_value(5.2695997), format_value(1234567.8), format_value(214.912345, "deg"), format_value(None)
    ('5.2696', '1234568', '214.91234', '')
    """
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if unit == "deg":
        return f"{value:.5f}"
    return f"{value:.0f}" if 1e5 <= abs(value) < 1e15 else f"{value:.5g}"


def format_table(table: Any, width: int | None = None) -> str:
    """Return a small Arrow table as text in aligned columns, with a header line.

    Parameters
    ----------
    table : pyarrow.Table
        The table; characters that cannot be printed are escaped.
    width : int, optional
        Longest line. The longest texts are cut first; columns that still do not fit are left out, and
        counted below the table.

    Returns
    -------
    str
    """
    units = [(field.metadata or {}).get(b"unit", b"").decode() for field in table.schema]
    rows = [
        [
            escape_unprintable(format_value(value, unit))
            for value, unit in zip(row.values(), units, strict=True)
        ]
        for row in table.to_pylist()
    ]
    columns = list(zip(table.column_names, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if width is not None:
        widths = _fit_widths(widths, width)
    is_number = [str(field.type).startswith(("int", "uint", "float", "double")) for field in table.schema]
    lines = [
        "".join(
            COLUMN_GAP + (cell.rjust(size) if number else cell.ljust(size))
            for cell, size, number in zip(map(_cut, line, widths), widths, is_number, strict=False)
        ).rstrip()
        for line in zip(*columns, strict=True)
    ]
    if n_hidden := len(columns) - len(widths):
        lines.append(f"{COLUMN_GAP}… and {n_hidden} more columns, for which the terminal is too narrow")
    return "\n".join(lines)


def _fit_widths(widths: list[int], total: int) -> list[int]:
    """Return the widths of the first columns, those that fit, with the largest ones reduced."""

    def limit(largest: int) -> list[int]:
        return [min(size, largest) for size in widths]

    def needed(sizes: list[int]) -> int:
        return sum(sizes) + len(COLUMN_GAP) * len(sizes)

    for largest in range(max(widths, default=0), MIN_COLUMN_WIDTH, -1):
        if needed(limit(largest)) <= total:
            return limit(largest)
    smallest = limit(MIN_COLUMN_WIDTH)
    n_fitting = next((n for n in range(len(smallest), 1, -1) if needed(smallest[:n]) <= total), 1)
    return smallest[:n_fitting]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
