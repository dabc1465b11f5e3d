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
from distspec.io.fits.columns import FitsColumn, parse_ascii_columns, parse_binary_column

MAX_DATA_SIZE = 1 << 30
"""Maximum size of the data that an HDU may declare, compressed or uncompressed [bytes]."""
MAX_AXES, MAX_COLUMNS = 999, 999
_VALUELESS_KEYWORDS = {"", "COMMENT", "HISTORY", "CONTINUE", "HIERARCH"}
_READABLE_TYPES = {"IMAGE", "BINTABLE", "TABLE"}
_SCALING_DEFAULTS = {"BSCALE": 1, "BZERO": 0, "BLANK": None}
_STRUCTURAL = re.compile(
    rb" *(?:SIMPLE|EXTEND|XTENSION|BITPIX|NAXIS\d*|[PG]COUNT|GROUPS|EXTNAME|BSCALE|BZERO|BLANK"
    rb"|TFIELDS|THEAP|T(?:TYPE|FORM|UNIT|NULL|SCAL|ZERO|DIM|BCOL)\d+"
    rb"|Z(?:IMAGE|TABLE|CMPTYPE|BITPIX|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+|MASKCMP|QUANTIZ|DITHER0|BLANK|SCALE|ZERO"
    rb"|SIMPLE|EXTEND|TENSION|[PG]COUNT)) *(?:[ =]|$)",
    re.IGNORECASE,
)
_BITPIX_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True, slots=True)
class DataLayout:
    """Structure of the data of an HDU.

    Attributes
    ----------
    hdu_type : str
        Type of the HDU: IMAGE, BINTABLE, TABLE (an ASCII table), GROUPS (random groups), or another XTENSION.
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
    compression : str
        ZCMPTYPE, "" if the data are not a compressed image.
    max_tile_size : int
        Maximum size of an uncompressed tile of a compressed image, 0 for other data [bytes].
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
    compression: str
    max_tile_size: int
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
    structural: list[int] = []
    for i, field in enumerate(fields):
        # An equals sign before column 9 and lower case are invalid, but astropy reads such keywords.
        index.setdefault(field.decode().partition("=")[0].strip().upper(), i)
        continued = field == b"CONTINUE" and structural[-1:] == [i - 1]
        if continued or _STRUCTURAL.match(field):
            structural.append(i)
    for key in _VALUELESS_KEYWORDS & index.keys():
        del index[key]
    return index, np.array(structural, dtype=np.intp)


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
    hdu_type = "BINTABLE" if hdu_type == "A3DTABLE" else hdu_type  # its name before it was standardized
    if not hdu_type:
        raise make_unreadable_error(
            f"neither a primary HDU nor an extension: {structural_cards[:CARD_SIZE].decode().rstrip()}"
        )
    if "SIMPLE" in values:
        values = {"PCOUNT": 0, "GCOUNT": 1} | values
    axes = [
        _get_integer(values, f"NAXIS{i + 1}") for i in range(_get_integer(values, "NAXIS", maximum=MAX_AXES))
    ]
    bits, extra = _get_integer(values, "BITPIX", minimum=-64), _get_integer(values, "PCOUNT")
    groups = _get_integer(values, "GCOUNT")
    if "SIMPLE" in values and values.get("GROUPS") is True and axes[:1] == [0]:
        hdu_type, axes = "GROUPS", axes[1:]
    if bits not in _BITPIX_DTYPES or (groups != 1 and hdu_type in _READABLE_TYPES):
        raise make_unreadable_error(f"BITPIX {bits}, GCOUNT {groups}")
    is_table = hdu_type in {"BINTABLE", "TABLE"}
    if is_table and (bits != 8 or len(axes) != 2):
        raise make_unreadable_error(f"a table with BITPIX {bits} and NAXIS {len(axes)}")
    size = abs(bits) // 8 * groups * (extra + math.prod(axes)) if axes else 0
    compressed = hdu_type == "BINTABLE" and values.get("ZIMAGE") is True
    largest = max(size, *axes, _uncompressed_size(values)) if compressed else max(size, *axes, 0)
    if largest > MAX_DATA_SIZE:
        raise InvalidSpectrumError(
            QuarantineReason.TOO_LARGE, f"an HDU declares {largest:,} bytes, over {MAX_DATA_SIZE:,}"
        )
    columns, dtype = (
        _parse_columns(hdu_type, values, text, axes[0]) if is_table else ((), np.dtype(_BITPIX_DTYPES[bits]))
    )
    if bits < 0 or (compressed and _get_integer(values, "ZBITPIX", minimum=-64) < 0):
        # BLANK is for integers only; astropy warns of it in images of floating-point numbers.
        values = {key: value for key, value in values.items() if key != "BLANK"}
        structural_cards = _remove_card(structural_cards, b"BLANK")
    scaled = any(
        values.get(key, default) not in (default, None) for key, default in _SCALING_DEFAULTS.items()
    )
    return DataLayout(
        hdu_type=hdu_type,
        name=text.get("EXTNAME", "").upper(),
        data_size=size,
        shape=(axes[1],) if is_table else tuple(axes[::-1]),
        dtype=dtype,
        scaled=compressed or scaled,
        compressed=compressed,
        columns=columns,
        heap_offset=_get_integer({"THEAP": size - extra} | values, "THEAP"),
        compression=text.get("ZCMPTYPE", "") if compressed else "",
        max_tile_size=_max_tile_size(values) if compressed else 0,
        structural_cards=structural_cards,
    )


def _parse_columns(
    hdu_type: str, values: Mapping[str, HeaderValue], text: Mapping[str, str], row_bytes: int
) -> tuple[tuple[FitsColumn, ...], np.dtype[Any]]:
    n_columns = _get_integer(values, "TFIELDS", maximum=MAX_COLUMNS)
    if hdu_type == "TABLE":
        return parse_ascii_columns(n_columns, values, text, row_bytes)
    columns = tuple(parse_binary_column(number, values, text) for number in range(1, n_columns + 1))
    filled = sum(column.dtype.itemsize for column in columns)
    if filled != row_bytes:
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"columns fill {filled} of a row's {row_bytes} bytes"
        )
    return columns, np.dtype([(column.field_name, column.dtype) for column in columns])


def _remove_card(cards: bytes, keyword: bytes) -> bytes:
    """Remove the cards of a keyword."""
    each = (cards[i : i + CARD_SIZE] for i in range(0, len(cards), CARD_SIZE))
    return b"".join(card for card in each if card[:8].partition(b"=")[0].strip().upper() != keyword)


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


def _max_tile_size(values: Mapping[str, HeaderValue]) -> int:
    """Return the size of a tile of 8 bytes per pixel; by default a tile is a row of the image."""
    n_axes = _get_integer(values, "ZNAXIS", maximum=MAX_AXES)
    tiles = {f"ZTILE{i + 1}": values[f"ZNAXIS{i + 1}"] if i == 0 else 1 for i in range(n_axes)}
    tiles = {key: values.get(key, default) for key, default in tiles.items()}
    size = 8 * math.prod(_get_integer(tiles, key) for key in tiles)
    if size > 8 * MAX_DATA_SIZE:
        raise InvalidSpectrumError(QuarantineReason.TOO_LARGE, f"a tile declares {size:,} bytes")
    return size
