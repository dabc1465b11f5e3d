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
from distspec.core.errors import BadSpectrumError, Reason
from distspec.core.spectrum import Floats
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import File, open_files, run

BLOCK = 4096
"""Spectra that are read together: 31 MB of float64, in 946 ranges."""
HEAD = 40 * 2880
"""First bytes of the file: more than its headers."""
COLUMNS: Mapping[str, str] = {"wave": "um", "flux": "uJy", "err": "uJy"}
"""The columns that are read, and their units."""


@dataclass(frozen=True, slots=True, eq=False)
class BulkLayout:
    """Where in the file which number stands.

    Attributes
    ----------
    data, stride : int [bytes]
        Where the first row begins, and the length of each.
    n_pixels, n_spectra : int
    columns : dict of (int, dtype, float)
        Where in a row a column begins, its numbers' type, and the factor to its unit in `COLUMNS`.
    """

    data: int
    stride: int
    n_pixels: int
    n_spectra: int
    columns: Mapping[str, tuple[int, Any, float]]

    def spans(self, name: str, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the byte ranges of a column's elements start … stop − 1, one a pixel."""
        offset, dtype, _ = self.columns[name]
        begins = self.data + offset + start * dtype.itemsize + self.stride * np.arange(self.n_pixels)
        length = (stop - start) * dtype.itemsize
        return [(begin, begin + length) for begin in begins.tolist()]


def number_prism(grating: pa.ChunkedArray) -> pa.Array:
    """Return each catalogue row's place among those whose grating is PRISM, -1 of the others.

    Examples
    --------
    >>> number_prism(pa.chunked_array([["PRISM", "G395M", "PRISM"]])).to_pylist()
    [0, -1, 1]
    """
    prism = np.array([name == "PRISM" for name in grating.to_pylist()], bool)
    return pa.array(np.where(prism, np.cumsum(prism) - 1, -1), pa.int64())


def check_size(url: str, catalog: str, n_rows: int, access: AccessConfig) -> None:
    """Refuse a bulk file that is not of the catalogue's release.

    Parameters
    ----------
    url, catalog : str
        Of the bulk file; of the catalogue, for the message.
    n_rows : int
        The catalogue's PRISM rows.
    access : AccessConfig

    Raises
    ------
    ValueError
    """

    async def read() -> BulkLayout:
        async with open_files(url.rpartition("/")[0], access) as files:
            return await read_layout(files.file(url))

    try:
        layout = run(read())
    except BadSpectrumError as error:
        raise ValueError(f"--archive.bulk {url}: {error}") from error
    if layout.n_spectra != n_rows:
        raise ValueError(
            f"--archive.bulk {url} holds {layout.n_spectra} spectra, {catalog} lists {n_rows} of PRISM: "
            "they must be of one release"
        )


async def read_layout(file: File) -> BulkLayout:
    """Return where what stands in a bulk file.

    Raises
    ------
    BadSpectrumError
    """
    content, total = await file.head(HEAD)
    return _layout(content[:HEAD], total)


async def read_spectrum(file: File, index: int) -> tuple[Floats, Floats, Floats]:
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
    layout = await read_layout(file)
    if not 0 <= index < layout.n_spectra:
        raise BadSpectrumError(
            Reason.NOT_FOUND, f"no spectrum {index} among {layout.n_spectra} in {file.url}"
        )
    first = index - index % BLOCK
    wave, block = await asyncio.gather(
        file.ranges(_spans(layout, ("wave",), 0, 1)),
        file.ranges(_spans(layout, ("flux", "err"), first, min(first + BLOCK, layout.n_spectra))),
    )
    flux, err = block[: layout.n_pixels], block[layout.n_pixels :]
    return (
        _taken(layout, "wave", wave, 0),
        _taken(layout, "flux", flux, index - first),
        _taken(layout, "err", err, index - first),
    )


@lru_cache(maxsize=8)
def _spans(layout: BulkLayout, names: tuple[str, ...], start: int, stop: int) -> tuple[tuple[int, int], ...]:
    return tuple(span for name in names for span in layout.spans(name, start, stop))


def _taken(layout: BulkLayout, name: str, parts: list[bytes], i: int) -> Floats:
    _, dtype, factor = layout.columns[name]
    begin, end = i * dtype.itemsize, (i + 1) * dtype.itemsize
    return np.frombuffer(b"".join(part[begin:end] for part in parts), dtype).astype(np.float64) * factor


@lru_cache(maxsize=8)
def _layout(content: bytes, total: int) -> BulkLayout:
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
        raise BadSpectrumError(Reason.UNREADABLE, f"{type(error).__name__}: {error}") from error
    found: dict[str, tuple[int, Any, float]] = {}
    for name, unit in COLUMNS.items():
        if name not in fields:
            seen = f"no column {name}; there are {', '.join(fields)}"
            raise BadSpectrumError(Reason.BAD_TABLE, seen)
        numbers, offset = fields[name][:2]
        if numbers.base.kind != "f":
            raise BadSpectrumError(Reason.BAD_TABLE, f"column {name} is {numbers}")
        found[name] = (int(offset), numbers.base.newbyteorder(">"), unit_factor(given[name] or unit, unit))
    lengths = {name: int(np.prod(fields[name][0].shape, dtype=np.int64)) for name in COLUMNS}
    n_pixels, n_spectra = header["NAXIS2"], lengths["flux"]
    if lengths != {"wave": 1, "flux": n_spectra, "err": n_spectra}:
        raise BadSpectrumError(Reason.BAD_TABLE, f"numbers a row: {lengths}")
    if data + header["NAXIS1"] * n_pixels > total:
        seen = f"cut short: {total} bytes of {data + header['NAXIS1'] * n_pixels}"
        raise BadSpectrumError(Reason.UNREADABLE, seen)
    return BulkLayout(data, header["NAXIS1"], n_pixels, n_spectra, found)
