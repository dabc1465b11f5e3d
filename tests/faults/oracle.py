"""Reading with the archives' own code, but with astropy in place of the FITS reader of distspec."""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from astropy.io import fits

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.remote.config import FileContent

PLACES = {
    "read_table": ("distspec.archives.msaexp.read_fits_table", "distspec.archives.sdss.read_fits_table",
                   "distspec.archives.desi_files.read_fits_table"),
    "read_image": ("distspec.archives.spex.read_fits_image", "distspec.archives.jades.read_fits_image",
                   "distspec.archives.desi_cameras.read_fits_image"),
}  # fmt: skip
"""Names that are replaced, by the function that replaces them."""


def opened(content: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fits.open(io.BytesIO(content), memmap=False, ignore_missing_simple=False)


class Table:
    """A table read by astropy, with the interface of `distspec.io.fits.FitsTable`."""

    def __init__(self, hdu: Any) -> None:
        self.header = hdu.header
        self._data = hdu.data
        self._units = {column.name.lower(): column.unit or "" for column in hdu.columns}
        self._nulls = {column.name.lower(): column.null for column in hdu.columns}

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(self._units)

    def unit(self, name: str) -> str:
        return self._units[name.lower()]

    def check_columns(self, *names: str) -> None:
        if missing := {name.lower() for name in names} - set(self._units):
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"no column {missing}")

    def column(self, name: str) -> Any:
        if name.lower() not in self._units:
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"no column {name}")
        values = np.array(self._data[name])
        values = values.astype(values.dtype.newbyteorder("="))
        null = self._nulls[name.lower()]
        return np.where(values == null, np.nan, values) if isinstance(null, int) else values


def read_table(content: bytes, name: str | int, total: int | None = None) -> Table:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Table(opened(content)[name])
        except KeyError as error:
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"no HDU {name}") from error


def read_image(content: bytes, name: str | int, total: int | None = None) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            hdu = opened(content)[name]
            return np.array(hdu.data), hdu.header
        except KeyError as error:
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"no HDU {name}") from error


class InMemory:
    """An archive file in memory."""

    def __init__(self, content: bytes) -> None:
        self.url = "memory"
        self._content = content

    async def read_head(self, n: int) -> FileContent:
        return FileContent(self._content, len(self._content))

    async def read_all(self) -> FileContent:
        return await self.read_head(0)


@contextmanager
def by_astropy() -> Iterator[None]:
    """Let archives read with astropy within the block."""

    # astropy has no function that only finds a header.
    def header(content: bytes, name: int, total: int) -> Any:
        return type("Hdu", (), {"header": opened(content)[name].header})

    with ExitStack() as stack:
        for place in PLACES["read_table"]:
            stack.enter_context(patch(place, read_table))
        for place in PLACES["read_image"]:
            stack.enter_context(patch(place, read_image))
        stack.enter_context(patch("distspec.archives.sdss.find_hdu", header))
        yield


def read(archive: Any, entry: Any, content: bytes) -> Any:
    """Return the spectrum that astropy finds in a file's bytes, unpacked, through the archive's own code."""
    with by_astropy():
        return asyncio.run(archive.read(entry, InMemory(content)))
