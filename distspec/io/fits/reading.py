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

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits.cards import BLOCK_SIZE, CARD_SIZE, Header, make_unreadable_error
from distspec.io.fits.hdus import IncompleteContentError, find_hdu
from distspec.io.fits.layout import TFORM_DTYPES, DataLayout, FitsColumn
from distspec.io.remote.files import ArchiveFile

Array = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")
_EMPTY_PRIMARY = fits.PrimaryHDU().header.tostring().encode()


@dataclass(frozen=True)
class FitsTable:
    """A binary table; `column` reads from it."""

    header: Header
    _layout: DataLayout
    _content: bytes
    _start: int

    @property
    def column_names(self) -> tuple[str, ...]:
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
        stored = self._rows[column.field_name]
        values = self._read_with_astropy(column) if column.needs_astropy else _decode_column(stored, column)
        if column.null_value is None:
            return values
        empty = stored.reshape(values.shape) == column.null_value
        # Only where one is: a float64 cannot hold every 64-bit name of an object.
        return np.where(empty, np.nan, values) if empty.any() else values

    def _find(self, name: str) -> FitsColumn:
        found = [column for column in self._layout.columns if column.name == name.lower()]
        if len(found) != 1:
            count = f"{len(found)} columns" if found else "no column"
            seen = f"{count} {name} in {self._layout.name}; it has {', '.join(self.column_names) or 'none'}"
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, seen)
        return found[0]

    @cached_property
    def _rows(self) -> Array:
        return _view_array(self._content, self._start, self._layout)

    def _read_with_astropy(self, column: FitsColumn) -> Array:
        if column.tform_code in "PQ":
            _check_heap(self._rows[column.field_name], column, self._layout)
        with _open_with_astropy(self._content, self._start, self._layout) as hdu:
            values = np.array(hdu.data.field(int(column.field_name) - 1))
        return values.astype(values.dtype.newbyteorder("="))


async def parse_head(file: ArchiveFile, n_bytes: int, parse: Callable[[bytes, int], T]) -> T:
    """Parse a file's first `n_bytes` bytes, or as many as `parse` turns out to need."""
    while True:
        content, total = await file.read_head(n_bytes)
        try:
            return parse(content, total)
        except IncompleteContentError as more:
            n_bytes = more.n_bytes_needed


def read_fits_table(content: bytes, hdu: str | int, file_size: int | None = None) -> FitsTable:
    """Find one binary table.

    Parameters
    ----------
    content : bytes
        The file, or its beginning. When it is the whole file, every HDU is checked to the file's end.
    hdu : str or int
        EXTNAME in any case, or the HDU's number from 0.
    file_size : int, optional [bytes]
        Size of the whole file; that of `content` by default.

    Raises
    ------
    Incomplete
        When the table is not, or not wholly, within `content`.
    BadSpectrumError
        ``too_large``, ``unreadable``, ``bad_checksum``, or ``bad_table`` where there is no such table.
    """
    found = find_hdu(content, hdu, len(content) if file_size is None else file_size)
    if found.layout.hdu_type != "BINTABLE" or found.layout.compressed:
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"HDU {hdu} is no binary table")
    return FitsTable(found.header, found.layout, content, found.data_start)


def read_fits_image(content: bytes, hdu: str | int, file_size: int | None = None) -> tuple[Array, Header]:
    """Read one image, its axes in numpy's order; see `read_table`.

    A plain image is a view of `content`, read-only and big-endian: convert what is taken of it.
    """
    found = find_hdu(content, hdu, len(content) if file_size is None else file_size)
    if not found.layout.compressed and (found.layout.hdu_type != "IMAGE" or not found.layout.shape):
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"HDU {hdu} is no image")
    if not found.layout.scaled:
        return _view_array(content, found.data_start, found.layout), found.header
    with _open_with_astropy(content, found.data_start, found.layout) as opened:
        return np.array(opened.data), found.header


def _view_array(content: bytes, start: int, layout: DataLayout) -> Array:
    return np.ndarray(layout.shape, layout.dtype, content, start)


def _decode_column(stored: Array, column: FitsColumn) -> Array:
    if column.tform_code == "L":
        return stored == ord("T")
    if column.tform_code == "A":
        try:
            return np.char.rstrip(np.char.decode(stored, "ascii"))
        except UnicodeDecodeError as error:
            raise InvalidSpectrumError(
                QuarantineReason.BAD_TABLE, f"column {column.name}: {error}"
            ) from error
    return stored.astype(stored.dtype.newbyteorder("="))


def _check_heap(stored: Array, column: FitsColumn, layout: DataLayout) -> None:
    """Refuse arrays outside the heap: astropy would read whatever lies there."""
    count, offset = stored.astype(np.int64).reshape(-1, 2).T
    room = layout.data_size - layout.heap_offset
    ends = offset + count * (
        np.dtype(TFORM_DTYPES[column.element_code]).itemsize if column.element_code != "X" else 1
    )
    if ((count < 0) | (count > room) | (offset < 0) | (offset > room) | (ends > room)).any():
        raise make_unreadable_error(f"column {column.name} points outside its table's heap")


@contextmanager
def _open_with_astropy(content: bytes, start: int, layout: DataLayout) -> Generator[Any]:
    """Open one HDU with astropy; whatever it raises or warns of makes the file unreadable."""
    header = layout.structural_cards + b"END".ljust(CARD_SIZE)
    header += b" " * (-len(header) % BLOCK_SIZE)
    data = content[start : start + layout.data_size]
    alone = header + data + b"\0" * (-len(data) % BLOCK_SIZE)
    primary = layout.structural_cards.startswith(b"SIMPLE")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with fits.open(io.BytesIO(alone if primary else _EMPTY_PRIMARY + alone), memmap=False) as hdus:
                yield hdus[0 if primary else 1]
    except Exception as error:  # astropy raises nearly anything on a damaged file
        raise make_unreadable_error(f"{type(error).__name__}: {error}") from error
