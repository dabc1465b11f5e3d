"""Tables and images as arrays."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from astropy.io import fits

from distspec.core.errors import BadSpectrumError, Reason
from distspec.io.fits.cards import BLOCK, CARD, Header, unreadable
from distspec.io.fits.hdus import Incomplete, find_hdu
from distspec.io.fits.layout import TYPES, Column, Layout
from distspec.io.remote.files import File

Array = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")
_EMPTY_PRIMARY = fits.PrimaryHDU().header.tostring().encode()


@dataclass(frozen=True)
class FitsTable:
    """A binary table; `column` reads from it."""

    header: Header
    _layout: Layout
    _content: bytes
    _start: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in lower case."""
        return tuple(column.name for column in self._layout.columns)

    def unit(self, name: str) -> str:
        """Return a column's unit as the file writes it, "" where it has none; raises as `column`."""
        return self._find(name).unit

    def column(self, name: str) -> Array:
        """Return a column, (rows,) or (rows, repeat), native-endian; logicals as bool, text as str.

        A column of integers of which one stands for no value (TNULL) becomes float64 with NaN.

        Raises
        ------
        BadSpectrumError
            ``bad_table`` where there is not just one of that name, in whatever case; ``unreadable``.
        """
        column = self._find(name)
        stored = self._rows[column.key]
        values = self._by_astropy(column) if column.odd else _decoded(stored, column)
        if column.null is None:
            return values
        empty = stored.reshape(values.shape) == column.null
        # Only where one is: a float64 cannot hold every 64-bit name of an object.
        return np.where(empty, np.nan, values) if empty.any() else values

    def _find(self, name: str) -> Column:
        found = [column for column in self._layout.columns if column.name == name.lower()]
        if len(found) != 1:
            count = f"{len(found)} columns" if found else "no column"
            seen = f"{count} {name} in {self._layout.name}; it has {', '.join(self.names) or 'none'}"
            raise BadSpectrumError(Reason.BAD_TABLE, seen)
        return found[0]

    @cached_property
    def _rows(self) -> Array:
        return _view(self._content, self._start, self._layout)

    def _by_astropy(self, column: Column) -> Array:
        if column.letter in "PQ":
            _check_heap(self._rows[column.key], column, self._layout)
        with _opened_by_astropy(self._content, self._start, self._layout) as hdu:
            values = np.array(hdu.data.field(int(column.key) - 1))
        return values.astype(values.dtype.newbyteorder("="))


async def read_head(file: File, n: int, parse: Callable[[bytes, int], T]) -> T:
    """Parse a file's first `n` bytes, or as many as `parse` turns out to need."""
    while True:
        content, total = await file.head(n)
        try:
            return parse(content, total)
        except Incomplete as more:
            n = more.needed


def read_table(content: bytes, name: str | int, total: int | None = None) -> FitsTable:
    """Find one binary table.

    Parameters
    ----------
    content : bytes
        The file, or its beginning. When it is the whole file, every HDU is checked to the file's end.
    name : str or int
        EXTNAME in any case, or the HDU's number from 0.
    total : int, optional [bytes]
        Size of the whole file; that of `content` by default.

    Raises
    ------
    Incomplete
        When the table is not, or not wholly, within `content`.
    BadSpectrumError
        ``too_large``, ``unreadable``, ``bad_checksum``, or ``bad_table`` where there is no such table.
    """
    hdu = find_hdu(content, name, len(content) if total is None else total)
    if hdu.layout.kind != "BINTABLE" or hdu.layout.compressed:
        raise BadSpectrumError(Reason.BAD_TABLE, f"HDU {name} is no binary table")
    return FitsTable(hdu.header, hdu.layout, content, hdu.data)


def read_image(content: bytes, name: str | int, total: int | None = None) -> tuple[Array, Header]:
    """Read one image, its axes in numpy's order; see `read_table`.

    A plain image is a view of `content`, read-only and big-endian: convert what is taken of it.
    """
    hdu = find_hdu(content, name, len(content) if total is None else total)
    if not hdu.layout.compressed and (hdu.layout.kind != "IMAGE" or not hdu.layout.shape):
        raise BadSpectrumError(Reason.BAD_TABLE, f"HDU {name} is no image")
    if not hdu.layout.scaled:
        return _view(content, hdu.data, hdu.layout), hdu.header
    with _opened_by_astropy(content, hdu.data, hdu.layout) as opened:
        return np.array(opened.data), hdu.header


def _view(content: bytes, start: int, declared: Layout) -> Array:
    return np.ndarray(declared.shape, declared.dtype, content, start)


def _decoded(stored: Array, column: Column) -> Array:
    if column.letter == "L":
        return stored == ord("T")
    if column.letter == "A":
        try:
            return np.char.rstrip(np.char.decode(stored, "ascii"))
        except UnicodeDecodeError as error:
            raise BadSpectrumError(Reason.BAD_TABLE, f"column {column.name}: {error}") from error
    return stored.astype(stored.dtype.newbyteorder("="))


def _check_heap(stored: Array, column: Column, declared: Layout) -> None:
    """Refuse arrays outside the heap: astropy would read whatever lies there."""
    count, offset = stored.astype(np.int64).reshape(-1, 2).T
    room = declared.size - declared.heap
    ends = offset + count * (np.dtype(TYPES[column.element]).itemsize if column.element != "X" else 1)
    if ((count < 0) | (count > room) | (offset < 0) | (offset > room) | (ends > room)).any():
        raise unreadable(f"column {column.name} points outside its table's heap")


@contextmanager
def _opened_by_astropy(content: bytes, start: int, declared: Layout) -> Generator[Any]:
    """Open one HDU with astropy; whatever it raises or warns of makes the file unreadable."""
    header = declared.cards + b"END".ljust(CARD)
    header += b" " * (-len(header) % BLOCK)
    data = content[start : start + declared.size]
    alone = header + data + b"\0" * (-len(data) % BLOCK)
    primary = declared.cards.startswith(b"SIMPLE")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with fits.open(io.BytesIO(alone if primary else _EMPTY_PRIMARY + alone), memmap=False) as hdus:
                yield hdus[0 if primary else 1]
    except Exception as error:  # astropy raises nearly anything on a damaged file
        raise unreadable(f"{type(error).__name__}: {error}") from error
