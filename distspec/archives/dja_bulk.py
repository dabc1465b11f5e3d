"""DJA's bulk product, which contains all PRISM spectra of a release in one table.

``dja_msaexp_emission_lines_v4.5.prism_spectra.fits`` has one row per wavelength pixel (473), with the
columns ``wave`` [um] and the vectors ``flux``, ``err`` and ``full_err`` [uJy] and ``valid``, whose element i
belongs to the i-th PRISM row of the release's catalog (v4.4: doi:10.5281/zenodo.15472354). The values of a
spectrum are therefore scattered over the file, next to those of neighboring spectra. The reader fetches a
block of spectra with one byte range per pixel and column, and reads all spectra of the block from it.

msaexp has set flux and errors to 0 where ``valid`` is false. ``full_err`` is ``err`` and 2 % of the flux in
quadrature, which ``--archive.sys-err 0.02`` gives for bulk and single files alike, and is not read.
"""

from __future__ import annotations

import asyncio
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from distspec.archives.catalogs import unit_factor
from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import ArchiveFile, open_archive_client, run_coroutine

BLOCK_SIZE = 4096
"""Number of spectra that are read together: 33 MB of float64 and mask in 1,419 byte ranges."""
HEAD_BYTES = 40 * 2880
"""Number of bytes read from the start of the file; they contain its headers."""
COLUMN_UNITS: Mapping[str, str] = {"wave": "um", "flux": "uJy", "err": "uJy"}
"""Units of the required columns."""
MASK_COLUMN = "valid"
"""Column of msaexp's own mask, which files need not have."""
CATALOG_SUFFIX = re.compile(r"\.(csv|ecsv|fits|parquet)(\.gz)?$")


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """Position and type of a column.

    Attributes
    ----------
    offset : int
        Position within a row [bytes].
    dtype : dtype
        Type of a value in the file.
    unit_factor : float
        Factor to the unit in `COLUMN_UNITS`; 1 for the mask.
    """

    offset: int
    dtype: Any
    unit_factor: float


@dataclass(frozen=True, slots=True, eq=False)
class BulkLayout:
    """Positions of the values in a bulk file.

    Attributes
    ----------
    data_offset : int
        Position of the first row [bytes].
    row_bytes : int
        Length of a row [bytes].
    n_pixels : int
        Number of wavelength pixels, the rows of the table.
    n_spectra : int
        Number of spectra.
    column_layouts : mapping of str to ColumnLayout
        Positions of the columns within a row.
    """

    data_offset: int
    row_bytes: int
    n_pixels: int
    n_spectra: int
    column_layouts: Mapping[str, ColumnLayout]

    def byte_ranges(self, name: str, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the byte ranges of elements ``start:stop`` of a column, one range per pixel.

        Parameters
        ----------
        name : str
            Name of the column.
        start, stop : int
            First spectrum, and the spectrum after the last.

        Returns
        -------
        list of (int, int), length n_pixels
            Position of the first byte, and of the byte after the last.
        """
        column = self.column_layouts[name]
        first = self.data_offset + column.offset + start * column.dtype.itemsize
        begins = first + self.row_bytes * np.arange(self.n_pixels)
        length = (stop - start) * column.dtype.itemsize
        return [(begin, begin + length) for begin in begins.tolist()]


def index_prism_rows(grating: Sequence[str]) -> NDArray[np.int64]:
    """Return the position of each catalog row among the PRISM rows; -1 for other gratings.

    Parameters
    ----------
    grating : sequence of str
        Column of the catalog.

    Examples
    --------
    >>> index_prism_rows(["PRISM", "G395M", "PRISM"]).tolist()
    [0, -1, 1]
    """
    prism = np.array([name == "PRISM" for name in grating], bool)
    return np.where(prism, np.cumsum(prism) - 1, -1)


def find_bulk_url(catalog: str) -> str:
    """Return the path or URL of the bulk file that belongs to a catalog, next to it.

    Parameters
    ----------
    catalog : str
        Path or URL of the catalog.

    Examples
    --------
    >>> find_bulk_url("dja_msaexp_emission_lines_v4.5.csv.gz")
    'dja_msaexp_emission_lines_v4.5.prism_spectra.fits'
    """
    return f"{CATALOG_SUFFIX.sub('', catalog)}.prism_spectra.fits"


def check_release(url: str, catalog: str, n_prism_rows: int, access: AccessConfig) -> None:
    """Check that a bulk file belongs to the release of the catalog.

    Parameters
    ----------
    url : str
        Bulk file.
    catalog : str
        Catalog, for the error message.
    n_prism_rows : int
        Number of PRISM rows of the catalog.
    access : AccessConfig
        Credentials, limits and timeouts.

    Raises
    ------
    ArchiveError
        If the file cannot be read or has another number of spectra.
    """

    async def read() -> BulkLayout:
        async with open_archive_client(url.rpartition("/")[0], access) as files:
            return await read_bulk_layout(files.get_file(url))

    try:
        layout = run_coroutine(read())
    except InvalidSpectrumError as error:
        raise ArchiveError(f"--archive.bulk {url}: {error}") from error
    if layout.n_spectra != n_prism_rows:
        raise ArchiveError(
            f"--archive.bulk {url} contains {layout.n_spectra} spectra, but {catalog} lists "
            f"{n_prism_rows} PRISM spectra: use files of the same release"
        )


async def read_bulk_layout(file: ArchiveFile) -> BulkLayout:
    """Read the layout of a bulk file from its headers.

    Parameters
    ----------
    file : ArchiveFile
        Bulk file.

    Raises
    ------
    InvalidSpectrumError
        If the file is damaged or has another format.
    """
    content, total = await file.read_head(HEAD_BYTES)
    return _parse_layout(content[:HEAD_BYTES], total)


async def read_bulk_spectrum(
    file: ArchiveFile, index: int
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Read one spectrum; its block is read once for all spectra in it.

    Parameters
    ----------
    file : ArchiveFile
        Bulk file.
    index : int
        Position of the spectrum, from 0.

    Returns
    -------
    wave : ndarray of shape (n_pixels,)
        Wavelength [um].
    flux, err : ndarray of shape (n_pixels,)
        Flux density and its 1 sigma error [uJy].
    valid : ndarray of bool, shape (n_pixels,)
        False for pixels that the file's own mask excludes; True everywhere if the file has no mask.

    Raises
    ------
    InvalidSpectrumError
        If the file is damaged, has another format or has no such spectrum.
    """
    layout = await read_bulk_layout(file)
    if not 0 <= index < layout.n_spectra:
        raise InvalidSpectrumError(
            QuarantineReason.NOT_FOUND, f"no spectrum {index} among {layout.n_spectra} in {file.url}"
        )
    first = index - index % BLOCK_SIZE
    names = tuple(name for name in ("flux", "err", MASK_COLUMN) if name in layout.column_layouts)
    wave, block = await asyncio.gather(
        file.read_ranges(_column_byte_ranges(layout, ("wave",), 0, 1)),
        file.read_ranges(
            _column_byte_ranges(layout, names, first, min(first + BLOCK_SIZE, layout.n_spectra))
        ),
    )
    n = layout.n_pixels
    flux, err, *mask = (
        _extract_column(layout, name, block[i * n : (i + 1) * n], index - first)
        for i, name in enumerate(names)
    )
    valid = mask[0] == ord("T") if mask else np.ones(n, bool)
    return _extract_column(layout, "wave", wave, 0), flux, err, valid


@lru_cache(maxsize=8)
def _column_byte_ranges(
    layout: BulkLayout, names: tuple[str, ...], start: int, stop: int
) -> tuple[tuple[int, int], ...]:
    return tuple(span for name in names for span in layout.byte_ranges(name, start, stop))


def _extract_column(layout: BulkLayout, name: str, ranges: list[bytes], index: int) -> Floats:
    """Return a spectrum's values of a column from the byte ranges of its block."""
    column = layout.column_layouts[name]
    begin, end = index * column.dtype.itemsize, (index + 1) * column.dtype.itemsize
    values = np.frombuffer(b"".join(part[begin:end] for part in ranges), column.dtype)
    return values.astype(np.float64) * column.unit_factor


@lru_cache(maxsize=8)
def _parse_layout(content: bytes, file_size: int) -> BulkLayout:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy warns that the file is truncated
            with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=True) as hdus:
                table: Any = hdus[1]
                columns: Any = table.columns
                header = {name: int(table.header[name]) for name in ("NAXIS1", "NAXIS2")}
                data = int(table.fileinfo()["datLoc"])
                fields = {name.lower(): columns.dtype.fields[name] for name in columns.names}
                column_units = {column.name.lower(): column.unit for column in columns}
                formats = {column.name.lower(): str(column.format) for column in columns}
    except Exception as error:  # astropy may raise any exception on a damaged header
        raise InvalidSpectrumError(QuarantineReason.UNREADABLE, f"{type(error).__name__}: {error}") from error
    if missing := [f"no column {name}" for name in COLUMN_UNITS if name not in fields]:
        detail = f"{' and '.join(missing)}; there are {', '.join(fields)}"
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)
    column_layouts: dict[str, ColumnLayout] = {}
    for name, unit in COLUMN_UNITS.items():
        values, offset = fields[name][:2]
        if values.base.kind != "f":
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"column {name} has type {values.base}")
        factor = unit_factor(column_units[name] or unit, unit)
        column_layouts[name] = ColumnLayout(int(offset), values.base.newbyteorder(">"), factor)
    if MASK_COLUMN in fields and formats[MASK_COLUMN].endswith("L"):
        values, offset = fields[MASK_COLUMN][:2]
        column_layouts[MASK_COLUMN] = ColumnLayout(int(offset), values.base, 1.0)
    lengths = {name: int(np.prod(fields[name][0].shape, dtype=np.int64)) for name in column_layouts}
    n_pixels, n_spectra = header["NAXIS2"], lengths["flux"]
    if any(length != (1 if name == "wave" else n_spectra) for name, length in lengths.items()):
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"values per row: {lengths}")
    if data + header["NAXIS1"] * n_pixels > file_size:
        detail = f"truncated: {file_size} bytes of {data + header['NAXIS1'] * n_pixels}"
        raise InvalidSpectrumError(QuarantineReason.UNREADABLE, detail)
    return BulkLayout(data, header["NAXIS1"], n_pixels, n_spectra, column_layouts)
