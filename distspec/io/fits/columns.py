"""The columns that a table's header declares (FITS standard 4.0, sections 7.2 and 7.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits.cards import HeaderValue

MAX_COLUMN_SIZE = 1 << 30
"""Maximum size of one row of a column [bytes]."""
_TFORM = re.compile(r"(\d{0,12})(?:([LXBIJKAEDCM])|([PQ])([LXBIJKAEDCM]))([!-~]*)")
"""Characters after the type are permitted (``8A4`` in the substring convention) and have no meaning here."""
_ASCII_TFORM = re.compile(r"[AIFED](\d{1,9})(?:\.\d{1,9})?")
TFORM_DTYPES: Mapping[str, str] = {
    **{"L": "u1", "X": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "A": "S1"},
    **{"E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16", "P": ">i4", "Q": ">i8"},
}
"""Stored type by TFORM code; P and Q hold the length and the offset of an array."""
_CONVERSION_DEFAULTS: Mapping[str, HeaderValue] = {"TSCAL": 1, "TZERO": 0, "TDIM": None}


@dataclass(frozen=True, slots=True)
class FitsColumn:
    """One column of a table.

    Attributes
    ----------
    field_name : str
        Name of its field in the type of a row: its number from 1.
    name : str
        TTYPE in lower case.
    tform_code : str
        TFORM code: L X B I J K A E D C M; P or Q for variable-length arrays; "" in an ASCII table.
    element_code : str
        TFORM code of the elements of a variable-length array.
    dtype : dtype
        Type as stored.
    unit : str
        TUNIT, "" if there is none.
    null_value : int, str or None
        TNULL: the integer, or the text in an ASCII table, that marks missing values.
    conversion_cards : tuple of (str, value)
        TFORM, TNULL, TSCAL, TZERO and TDIM for astropy; empty if the values are simply the stored ones:
        neither scaled, reshaped, complex, bits nor arrays.
    """

    field_name: str
    name: str
    tform_code: str
    element_code: str
    dtype: np.dtype[Any]
    unit: str
    null_value: HeaderValue
    conversion_cards: tuple[tuple[str, HeaderValue], ...]


def parse_binary_column(
    number: int, values: Mapping[str, HeaderValue], text: Mapping[str, str]
) -> FitsColumn:
    """Parse the declaration of a column of a binary table.

    Parameters
    ----------
    number : int
        Number of the column, from 1.
    values : mapping of str to value
        Values of the structural cards.
    text : mapping of str to str
        Those that are text, without blanks at their end.

    Raises
    ------
    InvalidSpectrumError
        ``bad_table`` if its TFORM is invalid, or if it has no name.
    """
    tform = text.get(f"TFORM{number}", "missing")
    match = _TFORM.fullmatch(tform.strip().upper())
    if not match:
        raise _bad_table(f"TFORM{number} is {tform}")
    count, element = match[1], match[4] or ""
    letter = match[2] or match[3]
    if letter == "A" and not count and match[5].isdecimal():
        count = match[5]  # A8, the form of ASCII tables, which astropy reads as 8A
    repeat = int(count or 1)
    if repeat > MAX_COLUMN_SIZE or (letter in "PQ" and repeat > 1):
        raise _bad_table(f"TFORM{number} is {tform}")
    shape = {"X": (-(-repeat // 8),), "P": (2 * repeat,), "Q": (2 * repeat,)}.get(letter, (repeat,))
    dtype = np.dtype(f"S{repeat}" if letter == "A" and repeat else (TFORM_DTYPES[letter], shape))
    if shape == (1,) and letter != "X":
        dtype = np.dtype(TFORM_DTYPES[letter])
    null = values.get(f"TNULL{number}") if letter in "BIJK" else None
    conversion = {
        key: value
        for key, default in _CONVERSION_DEFAULTS.items()
        if (value := values.get(f"{key}{number}")) not in (default, None, "")
    }
    cards: list[tuple[str, HeaderValue]] = []
    if repeat and (letter in "XCMPQ" or conversion):
        declared = {"TFORM": f"{repeat}{letter}{element}", "TNULL": null} | conversion
        cards = [(f"{key}1", value) for key, value in declared.items() if value is not None]
    return FitsColumn(
        field_name=str(number),
        name=_get_name(number, text),
        tform_code=letter,
        element_code=element,
        dtype=dtype,
        unit=text.get(f"TUNIT{number}", ""),
        null_value=null,
        conversion_cards=tuple(cards),
    )


def parse_ascii_columns(
    n_columns: int, values: Mapping[str, HeaderValue], text: Mapping[str, str], row_bytes: int
) -> tuple[tuple[FitsColumn, ...], np.dtype[Any]]:
    """Parse the declarations of the columns of an ASCII table.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    values, text : mapping
        Values of the structural cards, and those of them that are text.
    row_bytes : int
        Size of a row [bytes].

    Returns
    -------
    columns : tuple of FitsColumn
    dtype : dtype
        Type of a row, with one field of text per column.

    Raises
    ------
    InvalidSpectrumError
        ``bad_table`` if a TFORM is invalid, or if a column has no name or is outside of the row.
    """
    columns: list[FitsColumn] = []
    offsets: list[int] = []
    for number in range(1, n_columns + 1):
        tform, start = text.get(f"TFORM{number}", "missing"), values.get(f"TBCOL{number}")
        match = _ASCII_TFORM.fullmatch(tform.strip().upper())
        if not match or type(start) is not int or not 1 <= start <= row_bytes - int(match[1]) + 1:
            raise _bad_table(f"TFORM{number} is {tform}, TBCOL{number} is {start}, of {row_bytes} bytes")
        offsets.append(start - 1)
        columns.append(
            FitsColumn(
                field_name=str(number),
                name=_get_name(number, text),
                tform_code="",
                element_code="",
                dtype=np.dtype(f"S{match[1]}"),
                unit=text.get(f"TUNIT{number}", ""),
                null_value=text.get(f"TNULL{number}"),
                conversion_cards=(("TFORM", tform),),
            )
        )
    fields: Any = {
        "names": [column.field_name for column in columns],
        "formats": [column.dtype for column in columns],
        "offsets": offsets,
        "itemsize": row_bytes,
    }
    return tuple(columns), np.dtype(fields)


def _get_name(number: int, text: Mapping[str, str]) -> str:
    name = text.get(f"TTYPE{number}")
    if not name:
        raise _bad_table(f"column {number} has no name")  # astropy cannot read such tables
    return name.lower()


def _bad_table(detail: str) -> InvalidSpectrumError:
    return InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)
