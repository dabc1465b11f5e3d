"""The data structure that a FITS header declares (FITS standard 4.0, sections 4 and 7).

A few dozen of a header's hundreds of cards are structural, and the files of an archive have the same ones.
The structural cards are therefore cached by the header's keywords, and the structure by those cards: another
file of the same kind costs two look-ups.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits.cards import CARD_SIZE, HeaderValue, make_unreadable_error, parse_cards

MAX_DATA_SIZE = 1 << 30
"""Maximum size of the data that an HDU may declare, compressed or uncompressed [bytes]."""
MAX_AXES, MAX_COLUMNS = 8, 999
_VALUELESS_KEYWORDS = {"", "COMMENT", "HISTORY", "CONTINUE", "HIERARCH"}
_SCALING_DEFAULTS = {"BSCALE": 1, "BZERO": 0, "BLANK": None}
_ASTROPY_COLUMN_KEYWORDS = ("TSCAL", "TZERO", "TDIM")
_STRUCTURAL = re.compile(
    rb" *(?:SIMPLE|EXTEND|XTENSION|BITPIX|NAXIS\d*|[PG]COUNT|GROUPS|EXTNAME|BSCALE|BZERO|BLANK"
    rb"|TFIELDS|THEAP|T(?:TYPE|FORM|UNIT|NULL|SCAL|ZERO|DIM)\d+"
    rb"|Z(?:IMAGE|TABLE|CMPTYPE|BITPIX|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+|MASKCMP|QUANTIZ|DITHER0|BLANK|SCALE|ZERO"
    rb"|SIMPLE|EXTEND|TENSION|[PG]COUNT)) *(?:[ =]|$)",
    re.IGNORECASE,
)
_TFORM = re.compile(r"(\d*)(?:([LXBIJKAEDCM])|([PQ])([LXBIJKAEDCM])(?:\(\d*\))?)")
TFORM_DTYPES: Mapping[str, str] = {
    **{"L": "u1", "X": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "A": "S1"},
    **{"E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16", "P": ">i4", "Q": ">i8"},
}
"""Stored type by TFORM code; P and Q hold the length and the offset of an array."""
_BITPIX_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True, slots=True)
class FitsColumn:
    """One column of a binary table.

    Attributes
    ----------
    field_name : str
        Name of its field in the type of a row: its number from 1.
    name : str
        TTYPE in lower case.
    tform_code : str
        TFORM code: L X B I J K A E D C M; P or Q for variable-length arrays.
    element_code : str
        TFORM code of the elements of a variable-length array.
    dtype : dtype
        Type as stored.
    unit : str
        TUNIT, "" if there is none.
    null_value : int or None
        TNULL: the integer that marks missing values.
    needs_astropy : bool
        Whether the values are not simply the stored ones: scaled, reshaped, complex, bits or arrays.
    """

    field_name: str
    name: str
    tform_code: str
    element_code: str
    dtype: np.dtype[Any]
    unit: str
    null_value: HeaderValue
    needs_astropy: bool


@dataclass(frozen=True, slots=True)
class DataLayout:
    """Structure of the data of an HDU.

    Attributes
    ----------
    hdu_type : {"IMAGE", "BINTABLE", "TABLE"}
        Type of the HDU.
    name : str
        EXTNAME in upper case.
    data_size : int
        Size of the data with the heap and without the padding [bytes].
    shape : tuple of int
        Shape in the order of numpy; (n_rows,) for a table.
    dtype : dtype
        Type of a pixel, or of a row with one field per column.
    scaled : bool
        Whether the values of an image are not simply the stored ones.
    compressed : bool
        Whether it is an image compressed in a table.
    columns : tuple of FitsColumn
        Columns of a table.
    heap_offset : int
        Offset in the data of the heap of variable-length arrays [bytes].
    structural_cards : bytes
        Cards that declare the structure.
    """

    hdu_type: str
    name: str
    data_size: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scaled: bool
    compressed: bool
    columns: tuple[FitsColumn, ...]
    heap_offset: int
    structural_cards: bytes


@lru_cache(maxsize=1024)
def index_keywords(keyword_bytes: bytes) -> tuple[Mapping[str, int], np.ndarray[Any, np.dtype[np.intp]]]:
    """Index the cards of a header.

    Parameters
    ----------
    keyword_bytes : bytes
        First 8 bytes of each card.

    Returns
    -------
    index : mapping of str to int
        Number of the first card of each keyword.
    structural : ndarray of int
        Numbers of the structural cards.
    """
    fields = [keyword_bytes[i : i + 8] for i in range(0, len(keyword_bytes), 8)]
    index: dict[str, int] = {}
    for i, field in enumerate(fields):
        index.setdefault(field.decode().rstrip(), i)
    for key in _VALUELESS_KEYWORDS & index.keys():
        del index[key]
    return index, np.array([i for i, field in enumerate(fields) if _STRUCTURAL.match(field)], dtype=np.intp)


@lru_cache(maxsize=1024)
def parse_layout(structural_cards: bytes) -> DataLayout:
    """Return the data structure that structural cards declare.

    Parameters
    ----------
    structural_cards : bytes
        Cards that `index_keywords` found to be structural.

    Raises
    ------
    InvalidSpectrumError
        ``unreadable``, ``too_large``, or ``bad_table`` if the columns do not fill the rows.
    """
    values = parse_cards(structural_cards)
    text = {key: value.rstrip() for key, value in values.items() if isinstance(value, str)}
    hdu_type = "IMAGE" if values.get("SIMPLE") is True else text.get("XTENSION", "")
    if hdu_type not in {"IMAGE", "BINTABLE", "TABLE"} or values.get("GROUPS") is True:
        raise make_unreadable_error(
            f"an HDU that is neither an image nor a table: {structural_cards[:CARD_SIZE].decode().rstrip()}"
        )
    if "SIMPLE" in values:
        values = {"PCOUNT": 0, "GCOUNT": 1} | values
    axes = [
        _get_integer(values, f"NAXIS{i + 1}") for i in range(_get_integer(values, "NAXIS", maximum=MAX_AXES))
    ]
    bits, extra = _get_integer(values, "BITPIX", minimum=-64), _get_integer(values, "PCOUNT")
    groups = _get_integer(values, "GCOUNT")
    if bits not in _BITPIX_DTYPES or groups != 1:
        raise make_unreadable_error(f"BITPIX {bits}, GCOUNT {groups}")
    if hdu_type != "IMAGE" and (bits != 8 or len(axes) != 2):
        raise make_unreadable_error(f"a table with BITPIX {bits} and NAXIS {len(axes)}")
    size = abs(bits) // 8 * (extra + math.prod(axes)) if axes else 0
    is_table = hdu_type == "BINTABLE"
    compressed = is_table and values.get("ZIMAGE") is True
    largest = max(size, *axes, _uncompressed_size(values)) if compressed else max(size, *axes, 0)
    if largest > MAX_DATA_SIZE:
        raise InvalidSpectrumError(
            QuarantineReason.TOO_LARGE, f"an HDU declares {largest:,} bytes, over {MAX_DATA_SIZE:,}"
        )
    columns = _parse_columns(values, text, axes[0]) if is_table else ()
    scaled = any(values.get(key, default) != default for key, default in _SCALING_DEFAULTS.items())
    return DataLayout(
        hdu_type=hdu_type,
        name=text.get("EXTNAME", "").upper(),
        data_size=size,
        shape=(axes[1],) if is_table else tuple(axes[::-1]),
        dtype=np.dtype([(c.field_name, c.dtype) for c in columns])
        if is_table
        else np.dtype(_BITPIX_DTYPES[bits]),
        scaled=compressed or scaled,
        compressed=compressed,
        columns=columns,
        heap_offset=_get_integer({"THEAP": size - extra} | values, "THEAP"),
        structural_cards=structural_cards,
    )


def _parse_columns(
    values: Mapping[str, HeaderValue], text: Mapping[str, str], row_bytes: int
) -> tuple[FitsColumn, ...]:
    columns: list[FitsColumn] = []
    for i in range(1, _get_integer(values, "TFIELDS", maximum=MAX_COLUMNS) + 1):
        tform = text.get(f"TFORM{i}", "missing")
        match = _TFORM.fullmatch(tform)
        if not match or int(match[1] or 1) > MAX_DATA_SIZE:
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"TFORM{i} is {tform}")
        repeat, letter = int(match[1] or 1), match[2] or match[3]
        shape = {"X": (-(-repeat // 8),), "P": (2 * repeat,), "Q": (2 * repeat,)}.get(letter, (repeat,))
        dtype = np.dtype(f"S{repeat}" if letter == "A" and repeat else (TFORM_DTYPES[letter], shape))
        if shape == (1,) and letter != "X":
            dtype = np.dtype(TFORM_DTYPES[letter])
        needs_astropy = (
            letter in "XCMPQ" or not repeat or any(f"{key}{i}" in values for key in _ASTROPY_COLUMN_KEYWORDS)
        )
        null = values.get(f"TNULL{i}") if dtype.base.kind in "iu" and letter != "L" else None
        name = text.get(f"TTYPE{i}")
        if not name:
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"column {i} has no name")
        unit = text.get(f"TUNIT{i}", "")
        columns.append(
            FitsColumn(str(i), name.lower(), letter, match[4] or "", dtype, unit, null, needs_astropy)
        )
    filled = sum(column.dtype.itemsize for column in columns)
    if filled != row_bytes:
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"columns fill {filled} of a row's {row_bytes} bytes"
        )
    return tuple(columns)


def _get_integer(
    values: Mapping[str, HeaderValue], key: str, minimum: int = 0, maximum: float = math.inf
) -> int:
    value = values.get(key)
    if type(value) is not int or not minimum <= value <= maximum:
        raise make_unreadable_error(f"{key} is {value if key in values else 'missing'}")
    return value


def _uncompressed_size(values: Mapping[str, HeaderValue]) -> int:
    axes = [
        _get_integer(values, f"ZNAXIS{i + 1}")
        for i in range(_get_integer(values, "ZNAXIS", maximum=MAX_AXES))
    ]
    return abs(_get_integer(values, "ZBITPIX", minimum=-64)) // 8 * math.prod(axes)
