"""DJA's bulk product: every PRISM spectrum of a release in one table, for a first load.

``dja_msaexp_emission_lines_v4.4.prism_spectra.fits``: a row a wavelength pixel (473), ``wave`` [um], and
vectors ``flux`` and ``err`` [uJy] over the spectra, the i-th of which is the i-th PRISM row of that release's
catalogue (doi:10.5281/zenodo.15472354). So a spectrum is scattered over the whole file, and its neighbours
lie beside it: what is read is a block of neighbours, a byte range a pixel and column, and every spectrum of
the block is taken from it.
"""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io import fits

from distspec.archives.catalogs import unit_factor
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import ArchiveFile, open_archive_client, run_coroutine

BLOCK_SIZE = 4096
"""Spectra that are read together: 31 MB of float64, in 946 ranges."""
HEAD_BYTES = 40 * 2880
"""First bytes of the file: more than its headers."""
COLUMN_UNITS: Mapping[str, str] = {"wave": "um", "flux": "uJy", "err": "uJy"}
"""The columns that are read, and their units."""


@dataclass(frozen=True, slots=True, eq=False)
class BulkLayout:
    """Where in the file which number stands.

    Attributes
    ----------
    data_offset, row_bytes : int [bytes]
        Where the first row begins, and the length of each.
    n_pixels, n_spectra : int
    column_layouts : dict of (int, dtype, float)
        Where in a row a column begins, its numbers' type, and the factor to its unit in `COLUMNS`.
    """

    data_offset: int
    row_bytes: int
    n_pixels: int
    n_spectra: int
    column_layouts: Mapping[str, tuple[int, Any, float]]

    def byte_ranges(self, name: str, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the byte ranges of a column's elements start … stop − 1, one a pixel."""
        offset, dtype, _ = self.column_layouts[name]
        begins = (
            self.data_offset + offset + start * dtype.itemsize + self.row_bytes * np.arange(self.n_pixels)
        )
        length = (stop - start) * dtype.itemsize
        return [(begin, begin + length) for begin in begins.tolist()]


def index_prism_rows(grating: pa.ChunkedArray) -> pa.Array:
    """Return each catalogue row's place among those whose grating is PRISM, -1 of the others.

    Examples
    --------
    >>> number_prism(pa.chunked_array([["PRISM", "G395M", "PRISM"]])).to_pylist()
    [0, -1, 1]
    """
    prism = np.array([name == "PRISM" for name in grating.to_pylist()], bool)
    return pa.array(np.where(prism, np.cumsum(prism) - 1, -1), pa.int64())


def check_release(url: str, catalog: str, n_prism_rows: int, access: AccessConfig) -> None:
    """Refuse a bulk file that is not of the catalogue's release.

    Parameters
    ----------
    url, catalog : str
        Of the bulk file; of the catalogue, for the message.
    n_prism_rows : int
        The catalogue's PRISM rows.
    access : AccessConfig

    Raises
    ------
    ValueError
    """

    async def read() -> BulkLayout:
        async with open_archive_client(url.rpartition("/")[0], access) as files:
            return await read_bulk_layout(files.get_file(url))

    try:
        layout = run_coroutine(read())
    except InvalidSpectrumError as error:
        raise ValueError(f"--archive.bulk {url}: {error}") from error
    if layout.n_spectra != n_prism_rows:
        raise ValueError(
            f"--archive.bulk {url} holds {layout.n_spectra} spectra, {catalog} lists {n_prism_rows} of PRISM: "
            "they must be of one release"
        )


async def read_bulk_layout(file: ArchiveFile) -> BulkLayout:
    """Return where what stands in a bulk file.

    Raises
    ------
    BadSpectrumError
    """
    content, total = await file.read_head(HEAD_BYTES)
    return _parse_layout(content[:HEAD_BYTES], total)


async def read_bulk_spectrum(file: ArchiveFile, index: int) -> tuple[Floats, Floats, Floats]:
    """Return one spectrum; the block it stands in is read once for all of its spectra.

    Parameters
    ----------
    file : File
    index : int
        Its place, from 0.

    Returns
    -------
    wave : (n,) [um]
    flux, err : (n,) [uJy]

    Raises
    ------
    BadSpectrumError
    """
    layout = await read_bulk_layout(file)
    if not 0 <= index < layout.n_spectra:
        raise InvalidSpectrumError(
            QuarantineReason.NOT_FOUND, f"no spectrum {index} among {layout.n_spectra} in {file.url}"
        )
    first = index - index % BLOCK_SIZE
    wave, block = await asyncio.gather(
        file.read_ranges(_column_byte_ranges(layout, ("wave",), 0, 1)),
        file.read_ranges(
            _column_byte_ranges(layout, ("flux", "err"), first, min(first + BLOCK_SIZE, layout.n_spectra))
        ),
    )
    flux, err = block[: layout.n_pixels], block[layout.n_pixels :]
    return (
        _extract_column(layout, "wave", wave, 0),
        _extract_column(layout, "flux", flux, index - first),
        _extract_column(layout, "err", err, index - first),
    )


@lru_cache(maxsize=8)
def _column_byte_ranges(
    layout: BulkLayout, names: tuple[str, ...], start: int, stop: int
) -> tuple[tuple[int, int], ...]:
    return tuple(span for name in names for span in layout.byte_ranges(name, start, stop))


def _extract_column(layout: BulkLayout, name: str, ranges: list[bytes], index: int) -> Floats:
    _, dtype, factor = layout.column_layouts[name]
    begin, end = index * dtype.itemsize, (index + 1) * dtype.itemsize
    return np.frombuffer(b"".join(part[begin:end] for part in ranges), dtype).astype(np.float64) * factor


@lru_cache(maxsize=8)
def _parse_layout(content: bytes, file_size: int) -> BulkLayout:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the data are not in these first bytes
            with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=True) as hdus:
                table: Any = hdus[1]
                columns: Any = table.columns
                header = {name: int(table.header[name]) for name in ("NAXIS1", "NAXIS2")}
                data = int(table.fileinfo()["datLoc"])
                fields = {name.lower(): columns.dtype.fields[name] for name in columns.names}
                given = {column.name.lower(): column.unit for column in columns}
    except Exception as error:  # astropy raises nearly anything on a damaged header
        raise InvalidSpectrumError(QuarantineReason.UNREADABLE, f"{type(error).__name__}: {error}") from error
    found: dict[str, tuple[int, Any, float]] = {}
    for name, unit in COLUMN_UNITS.items():
        if name not in fields:
            seen = f"no column {name}; there are {', '.join(fields)}"
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, seen)
        numbers, offset = fields[name][:2]
        if numbers.base.kind != "f":
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"column {name} is {numbers}")
        found[name] = (int(offset), numbers.base.newbyteorder(">"), unit_factor(given[name] or unit, unit))
    lengths = {name: int(np.prod(fields[name][0].shape, dtype=np.int64)) for name in COLUMN_UNITS}
    n_pixels, n_spectra = header["NAXIS2"], lengths["flux"]
    if lengths != {"wave": 1, "flux": n_spectra, "err": n_spectra}:
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"numbers a row: {lengths}")
    if data + header["NAXIS1"] * n_pixels > file_size:
        seen = f"cut short: {file_size} bytes of {data + header['NAXIS1'] * n_pixels}"
        raise InvalidSpectrumError(QuarantineReason.UNREADABLE, seen)
    return BulkLayout(data, header["NAXIS1"], n_pixels, n_spectra, found)
