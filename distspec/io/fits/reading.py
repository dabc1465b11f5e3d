"""FITS tables and images as NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits.cards import Header, make_unreadable_error
from distspec.io.fits.columns import FitsColumn
from distspec.io.fits.conversion import convert_ascii_column, convert_column, convert_image
from distspec.io.fits.hdus import IncompleteContentError, find_hdu
from distspec.io.fits.layout import DataLayout
from distspec.io.remote.files import ArchiveFile

Array = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class FitsTable:
    """A table, whose columns are read when they are requested.

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
        values = self._convert(stored, column) if column.conversion_cards else _decode_column(stored, column)
        if column.null_value is None or values.dtype.kind not in "iuf":
            return values
        null: Any = column.null_value
        if isinstance(null, str):
            empty = np.char.strip(stored) == null.strip().encode()
        else:
            # TDIM may leave out elements at the end of a row.
            empty = stored.reshape(len(stored), -1)[:, : values[:1].size].reshape(values.shape) == null
        # Only if values are missing, because float64 cannot represent every 64-bit identifier.
        return np.where(empty, np.nan, values) if empty.any() else values

    def check_columns(self, *names: str) -> None:
        """Check that the table has columns.

        Parameters
        ----------
        *names : str
            TTYPE in any case.

        Raises
        ------
        InvalidSpectrumError
            ``bad_table``; the message names all that are missing or occur more than once.
        """
        counts = {name: self.column_names.count(name.lower()) for name in names}
        wrong = [f"{f'{n} columns' if n else 'no column'} {name}" for name, n in counts.items() if n != 1]
        if wrong:
            known = ", ".join(self.column_names) or "none"
            detail = f"{' and '.join(wrong)} in {self._layout.name}; it has {known}"
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)

    def _find(self, name: str) -> FitsColumn:
        self.check_columns(name)
        return self._layout.columns[self.column_names.index(name.lower())]

    @cached_property
    def _rows(self) -> Array:
        return _view_array(self._content, self._start, self._layout)

    def _convert(self, stored: Array, column: FitsColumn) -> Array:
        layout = self._layout
        if layout.hdu_type == "TABLE":
            return convert_ascii_column(self._content, self._start, layout, column)
        heap = self._content[self._start + layout.heap_offset : self._start + layout.data_size]
        return convert_column(stored, column, heap if column.tform_code in "PQ" else b"")


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
    """Find a binary or an ASCII table.

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
    if table_hdu.layout.hdu_type == "IMAGE" or table_hdu.layout.compressed:
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"HDU {hdu} is not a table")
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
    return convert_image(content, image_hdu.data_start, image_hdu.layout), image_hdu.header


def _view_array(content: bytes, start: int, layout: DataLayout) -> Array:
    try:
        return np.ndarray(layout.shape, layout.dtype, content, start)
    except ValueError as error:
        raise make_unreadable_error(f"HDU {layout.name}: {error}") from error


def _decode_column(stored: Array, column: FitsColumn) -> Array:
    if column.tform_code == "L":
        return stored == ord("T")
    if column.tform_code == "A":
        if not column.dtype.itemsize:
            return np.full(len(stored), "")
        try:
            return np.char.rstrip(np.char.decode(_cut_at_null(stored), "ascii"))
        except UnicodeDecodeError as error:
            raise InvalidSpectrumError(
                QuarantineReason.BAD_TABLE, f"column {column.name}: {error}"
            ) from error
    return stored.astype(stored.dtype.newbyteorder("="))


def _cut_at_null(stored: Array) -> Array:
    """Remove what follows the first NUL of each text, which is undefined (standard, section 7.3.3.1)."""
    characters = np.ascontiguousarray(stored).view(np.uint8).reshape(len(stored), -1)
    ended = np.logical_or.accumulate(characters == 0, axis=1)
    return np.where(ended, 0, characters).astype(np.uint8).view(stored.dtype).reshape(stored.shape)
