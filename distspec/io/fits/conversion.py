"""Values that astropy converts: scaled, reshaped and complex columns, bits, arrays, ASCII tables, images.

astropy gets one column, or one HDU with its structural cards only, after what it would allocate was
checked.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from astropy.io import fits

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits.cards import BLOCK_SIZE, CARD_SIZE, make_unreadable_error
from distspec.io.fits.columns import TFORM_DTYPES, FitsColumn
from distspec.io.fits.layout import MAX_DATA_SIZE, DataLayout

Array = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")
_EMPTY_PRIMARY = fits.PrimaryHDU().header.tostring().encode()
_HCOMPRESS_MAGIC = b"\xdd\x99"


def convert_column(stored: Array, column: FitsColumn, heap: bytes) -> Array:
    """Convert a column of a binary table.

    Parameters
    ----------
    stored : ndarray of shape (n_rows, ...)
        Values as stored.
    column : FitsColumn
        Its declaration.
    heap : bytes
        Heap of the table, with the elements of variable-length arrays.

    Returns
    -------
    ndarray
        In the machine's byte order.

    Raises
    ------
    InvalidSpectrumError
        ``unreadable`` if an array is outside of the heap, or if astropy cannot read the column;
        ``too_large`` if arrays overlap.
    """
    arrays = column.tform_code in "PQ"
    if arrays:
        check_heap(stored, column, len(heap))
    data = np.ascontiguousarray(stored).tobytes() + (heap if arrays else b"")
    cards = [
        ("XTENSION", "BINTABLE"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", stored.nbytes // max(1, len(stored))),
        ("NAXIS2", len(stored)),
        ("PCOUNT", len(heap) if arrays else 0),
        ("GCOUNT", 1),
        ("TFIELDS", 1),
        ("TTYPE1", "values"),
        *column.conversion_cards,
    ]
    content = fits.Header(cards).tostring().encode() + data
    values = _read(content, False, lambda hdu: np.array(hdu.data.field(0)))
    return values.astype(values.dtype.newbyteorder("="))


def convert_ascii_column(content: bytes, start: int, layout: DataLayout, column: FitsColumn) -> Array:
    """Convert a column of an ASCII table.

    Parameters
    ----------
    content : bytes
        The file, or its beginning.
    start : int
        Offset of the table's data [bytes].
    layout : DataLayout
        Structure of the table.
    column : FitsColumn
        The column.

    Returns
    -------
    ndarray of shape (n_rows,)
        Text, integers or float64.

    Raises
    ------
    InvalidSpectrumError
        ``unreadable`` if astropy cannot read the table.
    """
    index = int(column.field_name) - 1
    values = _read_hdu(content, start, layout, lambda hdu: np.array(hdu.data.field(index)))
    if values.dtype.kind in "SU":
        return np.char.rstrip(values)
    return values.astype(values.dtype.newbyteorder("="))


def convert_image(content: bytes, start: int, layout: DataLayout) -> Array:
    """Return a scaled or compressed image.

    Parameters
    ----------
    content : bytes
        The file, or its beginning.
    start : int
        Offset of the data [bytes].
    layout : DataLayout
        Structure of the HDU.

    Returns
    -------
    ndarray
        The image; its axes are in the order of numpy.

    Raises
    ------
    InvalidSpectrumError
        ``unreadable`` if astropy cannot read the image; ``too_large`` if a tile is larger than declared.
    """
    if layout.compressed:
        _check_tiles(content, start, layout)
    return _read_hdu(content, start, layout, lambda hdu: np.array(hdu.data))


def check_heap(stored: Array, column: FitsColumn, heap_size: int) -> None:
    """Check that variable-length arrays lie in the heap: astropy would read other bytes.

    Parameters
    ----------
    stored : ndarray of shape (n_rows, 2)
        Number of elements and offset of each array.
    column : FitsColumn
        The column.
    heap_size : int
        Size of the heap [bytes].

    Raises
    ------
    InvalidSpectrumError
        ``unreadable`` if one is outside of the heap; ``too_large`` if they overlap and are too large.
    """
    count, offset = stored.astype(np.int64).reshape(-1, 2).T
    bits = column.element_code == "X"
    itemsize = np.dtype(TFORM_DTYPES[column.element_code]).itemsize
    # Compared first, because the product of a damaged number could overflow.
    inside = (count >= 0) & (count <= heap_size * (8 if bits else 1)) & (offset >= 0) & (offset <= heap_size)
    sizes = -(-count // 8) if bits else count * itemsize
    if not (inside & (offset + sizes <= heap_size)).all():
        raise make_unreadable_error(f"column {column.name} points outside its table's heap")
    if sizes.sum() > MAX_DATA_SIZE:
        raise InvalidSpectrumError(
            QuarantineReason.TOO_LARGE, f"arrays of column {column.name} overlap: {sizes.sum():,} bytes"
        )


def _check_tiles(content: bytes, start: int, layout: DataLayout) -> None:
    """Raise an error if a tile decompresses to more than declared: astropy has no limit."""
    rows: Array = np.ndarray(layout.shape, layout.dtype, content, start)
    heap = content[start + layout.heap_offset : start + layout.data_size]
    algorithm = layout.compression.upper()
    for column in layout.columns:
        if column.tform_code not in "PQ":
            continue
        stored = rows[column.field_name]
        check_heap(stored, column, len(heap))
        itemsize = np.dtype(TFORM_DTYPES[column.element_code]).itemsize
        is_gzip = column.name == "gzip_compressed_data" or algorithm.startswith("GZIP")
        for count, offset in stored.astype(np.int64).reshape(-1, 2).tolist():
            tile = heap[offset : offset + count * itemsize]
            if column.name in {"compressed_data", "gzip_compressed_data"} and tile:
                size = _tile_size(tile, is_gzip, algorithm == "HCOMPRESS_1", layout.max_tile_size)
                if size > layout.max_tile_size:
                    raise InvalidSpectrumError(
                        QuarantineReason.TOO_LARGE,
                        f"a compressed tile has more than the declared {layout.max_tile_size:,} bytes",
                    )


def _tile_size(tile: bytes, is_gzip: bool, is_hcompress: bool, limit: int) -> int:
    """Return the uncompressed size of a tile if its content determines it; at most 1 more than the limit."""
    if is_gzip:
        try:
            return len(zlib.decompressobj(wbits=31).decompress(tile, limit + 1))
        except zlib.error as error:
            raise make_unreadable_error(f"a damaged compressed tile: {error}") from error
    if is_hcompress and tile.startswith(_HCOMPRESS_MAGIC) and len(tile) >= 10:
        n_x, n_y = struct.unpack_from(">ii", tile, 2)
        return 8 * n_x * n_y if n_x > 0 and n_y > 0 else limit + 1
    return 0


def _read_hdu(content: bytes, start: int, layout: DataLayout, read: Callable[[Any], T]) -> T:
    """Return what `read` takes from the HDU that astropy opens."""
    header = layout.structural_cards + b"END".ljust(CARD_SIZE)
    header += b" " * (-len(header) % BLOCK_SIZE)
    return _read(
        header + content[start : start + layout.data_size],
        layout.structural_cards.startswith(b"SIMPLE"),
        read,
    )


def _read(hdu: bytes, is_primary: bool, read: Callable[[Any], T]) -> T:
    """Read the bytes of an HDU; any error or warning of astropy makes the file unreadable."""
    hdu += b"\0" * (-len(hdu) % BLOCK_SIZE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with fits.open(io.BytesIO(hdu if is_primary else _EMPTY_PRIMARY + hdu), memmap=False) as hdus:
                return read(hdus[0 if is_primary else 1])
    except Exception as error:  # astropy raises errors of many types for damaged files
        raise make_unreadable_error(f"{type(error).__name__}: {error}") from error
