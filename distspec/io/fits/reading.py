"""FITS tables and images as NumPy arrays."""

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
    """A binary table, whose columns are read when they are requested.

    Attributes
    ----------
    header : Header
        Values of the header.
    """

    header: Header
    _layout: DataLayout
    _content: bytes
    _start: int

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns in lower case."""
        return tuple(column.name for column in self._layout.columns)

    def unit(self, name: str) -> str:
        """Return the unit of a column as the file states it, "" if it has none.

        Parameters
        ----------
        name : str
            Name of the column, in any case.

        Returns
        -------
        str
            The unit; "" if it has none.
        """
        return self._find(name).unit

    def column(self, name: str) -> Array:
        """Return a column.

        Parameters
        ----------
        name : str
            TTYPE in any case.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_repeats)
            In the machine's byte order; logicals are bool and text is str. Integers become float64 with NaN
            if values are missing (TNULL).

        Raises
        ------
        InvalidSpectrumError
            ``bad_table`` if there is not exactly one such column; ``unreadable``.
        """
        column = self._find(name)
        stored = self._rows[column.field_name]
        values = self._read_with_astropy(column) if column.needs_astropy else _decode_column(stored, column)
        if column.null_value is None:
            return values
        empty = stored.reshape(values.shape) == column.null_value
        # Only if values are missing, because float64 cannot represent every 64-bit identifier.
        return np.where(empty, np.nan, values) if empty.any() else values

    def _find(self, name: str) -> FitsColumn:
        matches = [column for column in self._layout.columns if column.name == name.lower()]
        if len(matches) != 1:
            count = f"{len(matches)} columns" if matches else "no column"
            detail = f"{count} {name} in {self._layout.name}; it has {', '.join(self.column_names) or 'none'}"
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)
        return matches[0]

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
    """Parse the beginning of a file, and read more of it for as long as the parser needs more.

    Parameters
    ----------
    file : ArchiveFile
        File to read.
    n_bytes : int
        Number of bytes to read first.
    parse : callable
        Takes the file's first bytes and its size; raises `IncompleteContentError` if it needs more bytes.

    Returns
    -------
    object
        Result of the parser.
    """
    while True:
        content, file_size = await file.read_head(n_bytes)
        try:
            return parse(content, file_size)
        except IncompleteContentError as error:
            n_bytes = error.n_bytes_needed


def read_fits_table(content: bytes, hdu: str | int, file_size: int | None = None) -> FitsTable:
    """Find a binary table.

    Parameters
    ----------
    content : bytes
        The file, or its beginning. If it is the complete file, all HDUs are checked.
    hdu : str or int
        EXTNAME in any case, or the number of the HDU from 0.
    file_size : int, optional
        Size of the complete file [bytes]; by default that of `content`.

    Returns
    -------
    FitsTable

    Raises
    ------
    IncompleteContentError
        If the table is not complete in `content`.
    InvalidSpectrumError
        ``too_large``, ``unreadable``, ``bad_checksum``, or ``bad_table`` if there is no such table.
    """
    table_hdu = find_hdu(content, hdu, len(content) if file_size is None else file_size)
    if table_hdu.layout.hdu_type != "BINTABLE" or table_hdu.layout.compressed:
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"HDU {hdu} is not a binary table")
    return FitsTable(table_hdu.header, table_hdu.layout, content, table_hdu.data_start)


def read_fits_image(content: bytes, hdu: str | int, file_size: int | None = None) -> tuple[Array, Header]:
    """Read an image.

    Parameters
    ----------
    content : bytes
        The file, or its beginning. If it is the complete file, all HDUs are checked.
    hdu : str or int
        Name or number of the HDU.
    file_size : int or None
        Size of the complete file [bytes]; by default that of `content`.

    Returns
    -------
    image : ndarray
        Its axes are in the order of numpy. An image that is neither scaled nor compressed is a read-only,
        big-endian view of `content`.
    header : Header
        Values of the header.
    """
    image_hdu = find_hdu(content, hdu, len(content) if file_size is None else file_size)
    if not image_hdu.layout.compressed and (
        image_hdu.layout.hdu_type != "IMAGE" or not image_hdu.layout.shape
    ):
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"HDU {hdu} is not an image")
    if not image_hdu.layout.scaled:
        return _view_array(content, image_hdu.data_start, image_hdu.layout), image_hdu.header
    with _open_with_astropy(content, image_hdu.data_start, image_hdu.layout) as opened:
        return np.array(opened.data), image_hdu.header


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
    """Raise an error if an array is outside the heap: astropy would read other bytes."""
    count, offset = stored.astype(np.int64).reshape(-1, 2).T
    heap_size = layout.data_size - layout.heap_offset
    ends = offset + count * (
        np.dtype(TFORM_DTYPES[column.element_code]).itemsize if column.element_code != "X" else 1
    )
    if ((count < 0) | (count > heap_size) | (offset < 0) | (offset > heap_size) | (ends > heap_size)).any():
        raise make_unreadable_error(f"column {column.name} points outside its table's heap")


@contextmanager
def _open_with_astropy(content: bytes, start: int, layout: DataLayout) -> Generator[Any]:
    """Open one HDU with astropy; any error or warning makes the file unreadable."""
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
    except Exception as error:  # astropy raises errors of many types for damaged files
        raise make_unreadable_error(f"{type(error).__name__}: {error}") from error
