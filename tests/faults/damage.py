"""Functions that damage FITS files: their bytes directly, tables and images with astropy."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from astropy.io import fits

BLOCK, CARD = 2880, 80


def opened(content: bytes) -> fits.HDUList:
    """Open the bytes of a file with astropy and read all data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdus = fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False)
        for hdu in hdus:
            _ = hdu.data
    return hdus


def written(hdus: Any, checksum: bool = False) -> bytes:
    """Return the bytes of a file that consists of some HDUs."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(list(hdus)).writeto(buffer, checksum=checksum, output_verify="ignore")
    return buffer.getvalue()


def place(content: bytes, hdu: str | int) -> tuple[int, int, int]:
    """Return the offsets of an HDU's header, of its data, and of its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = fits.open(io.BytesIO(content), memmap=False)[hdu].fileinfo()
    return info["hdrLoc"], info["datLoc"], info["datLoc"] + info["datSpan"]


def card(content: bytes, hdu: str | int, keyword: str, new: str) -> bytes:
    """Overwrite one card of an HDU's header with the given text."""
    start, stop, _ = place(content, hdu)
    at = content.index(keyword.ljust(8).encode(), start, stop)
    while (at - start) % CARD:
        at = content.index(keyword.ljust(8).encode(), at + 1, stop)
    return content[:at] + new.ljust(CARD).encode("latin-1") + content[at + CARD :]


def flip(content: bytes, at: int, bit: int = 3) -> bytes:
    """Flip one bit."""
    return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]


def summed(content: bytes) -> bytes:
    """Add CHECKSUM and DATASUM to every HDU."""
    return written(opened(content), checksum=True)


def header(content: bytes, hdu: str | int, **cards: Any) -> bytes:
    """Set header values of one HDU."""
    hdus = opened(content)
    for key, value in cards.items():
        hdus[hdu].header[key] = value
    return written(hdus)


def columns(content: bytes, hdu: str) -> dict[str, Any]:
    """Return a table's columns, native-endian, by their names in lower case."""
    data = opened(content)[hdu].data
    return {
        name.lower(): np.array(data[name]).astype(data[name].dtype.newbyteorder("=")) for name in data.names
    }


def table(
    content: bytes,
    hdu: str,
    change: Callable[[dict[str, Any]], Mapping[str, Any]],
    rows: Any = slice(None),
    units: Mapping[str, str] | None = None,
    rename: Callable[[str], str] = str,
) -> bytes:
    """Rewrite a table with some rows and changed columns; None removes a column."""
    hdus = opened(content)
    old = hdus[hdu]
    known = {column.name.lower(): column for column in old.columns}
    values = {name: np.asarray(old.data[column.name])[rows] for name, column in known.items()}
    plain = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in values.items()}
    columns: list[fits.Column] = []
    for name, array in {**plain, **change(dict(plain))}.items():
        if array is None:
            continue
        if isinstance(array, fits.Column):
            columns.append(array)
            continue
        array = np.asarray(array)
        unit = (units or {}).get(name, known[name].unit if name in known else None)
        title = rename(known[name].name if name in known else name)
        columns.append(fits.Column(title, _format(array), unit=unit, array=array))
    own = ("TTYPE", "TFORM", "TUNIT", "TNULL", "TDISP", "TDIM")
    remaining = fits.Header([item for item in old.header.cards if not item.keyword.startswith(own)])
    new = fits.BinTableHDU.from_columns(columns, header=remaining, name=old.name)
    return written(new if item is old else item for item in hdus)


def cells(content: bytes, hdu: str, **values: Any) -> bytes:
    """Set columns of a table to one value in all rows."""
    hdus = opened(content)
    for name, value in values.items():
        hdus[hdu].data[name][:] = value
    unsum(hdus[hdu])
    return written(hdus)


def unsum(hdu: Any) -> None:
    """Remove the checksums of an HDU that was changed."""
    for key in ("CHECKSUM", "DATASUM"):
        hdu.header.remove(key, ignore_missing=True)


def _format(array: Any) -> str:
    letters = {"f4": "E", "f8": "D", "i2": "I", "i4": "J", "i8": "K", "u1": "B", "b1": "L"}
    if array.dtype.kind in "SU":
        return f"{max(1, np.char.str_len(array).max())}A"
    repeat = "" if array.ndim == 1 else str(array.shape[1])
    return repeat + letters[array.dtype.str[1:]]


def order(content: bytes, *names: str) -> bytes:
    """Reorder HDUs: the primary one, those named, the others."""
    hdus = opened(content)
    first = [hdus[name] for name in names]
    return written([hdus[0], *first, *[h for h in hdus[1:] if not any(h is f for f in first)]])


def without(content: bytes, *names: str) -> bytes:
    """Remove HDUs."""
    return written(h for h in opened(content) if h.name not in names)


def image(content: bytes, change: Callable[[dict[str, Any]], Mapping[str, Any]], **packed: Any) -> bytes:
    """Change images by name; with `packed` options the changed ones are compressed."""
    hdus = opened(content)
    changed = change({hdu.name: hdu.data for hdu in hdus if hdu.data is not None and hdu.name != "PRIMARY"})
    result = []
    for hdu in hdus:
        if hdu.name in changed and packed:
            hdu = fits.CompImageHDU(changed[hdu.name], header=hdu.header, name=hdu.name, **packed)
        elif hdu.name in changed:
            hdu.data = changed[hdu.name]
        if hdu.name in changed:
            unsum(hdu)
        result.append(hdu)
    return written(result)
