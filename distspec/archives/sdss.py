"""The Sloan Digital Sky Survey: one file a spectrum, ``spec-PLATE-MJD-FIBER.fits``, of any release since DR8.

Format: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html, and what
DR18 and later write (columns in upper case, fields and catalogue numbers for plates and fibres). Redshift,
warning and position are in the file, so a listing does not know them. Wavelengths are in vacuum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from distspec.archives.base import LISTING, Entry
from distspec.archives.catalogs import read_table
from distspec.archives.multifiber import FLUX_UNIT, check_unit, check_wave, list_files, masked, numbers
from distspec.core.errors import BadSpectrumError, Reason
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Spectrum
from distspec.io.fits.hdus import find_hdu
from distspec.io.fits.reading import FitsTable, read_head
from distspec.io.fits.reading import read_table as read_fits_table
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import File

HEAD = 83 * 2880
"""A file without its single exposures, whole; the first bytes of one with them."""
UNUSABLE: Mapping[str, int] = {
    "NOPLUG": 0,
    "BADTRACE": 1,
    "FULLREJECT": 18,
    "NOSKY": 22,
    "BRIGHTSKY": 23,
    "NODATA": 24,
    "COMBINEREJ": 25,
    "BADSKYCHI": 27,
    "REDMONSTER": 28,
}
"""Bits of and_mask under which a pixel's flux is not the object's: no fibre or data, or sky that did not come
off. Most have ivar 0 already; BRIGHTSKY is the one that SDSS advises to heed besides
(https://www.sdss3.org/dr10/algorithms/bitmask_sppixmask.php)."""
NO_TARGET: Mapping[str, int] = {"SKY": 0, "UNPLUGGED": 7}
"""Bits of ZWARNING that say that no object was observed (…/dr10/algorithms/bitmask_zwarning.php)."""
RA = ("plug_ra", "ra", "fiber_ra", "racat")
DEC = ("plug_dec", "dec", "fiber_dec", "deccat")
"""Where releases keep the fibre's position, the best first: "ra" is 0 in some that have "plug_ra"."""
_UNUSABLE = sum(1 << bit for bit in UNUSABLE.values())
_NO_TARGET = sum(1 << bit for bit in NO_TARGET.values())


@dataclass(frozen=True)
class SDSS:
    """Sloan Digital Sky Survey: spec-*.fits of one or many plates."""

    url: str = ""
    """Folder or bucket below which the spec-*.fits files are."""
    catalog: str = ""
    """Table of the files' paths in a column file, perhaps class and version; empty: url is listed."""
    accept_warnings: bool = False
    """Take spectra of whose redshift the pipeline warns (ZWARNING), too."""

    kind: ClassVar[str] = "sdss"
    lines: ClassVar[Mapping[str, float]] = GALAXY_LINES
    spectrum_bytes: ClassVar[int] = HEAD

    def list(self, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
        """Return every file, sorted by ``object_id`` (a `LISTING` table); z and position are NaN."""
        files = list_files(self.url, self.catalog, "spec-", access)
        names = [_object_id(file.url) for file in files]
        unknown, n = np.full(len(files), np.nan), len(files)
        columns: dict[str, Any] = {
            "object_id": names,
            "source_key": [""] * n,
            "version": [file.etag for file in files],
            "uri": [file.url for file in files],
            "ra": unknown,
            "dec": unknown,
            "z": unknown,
            "root": [name.removeprefix("spec-").rpartition("-")[0] for name in names],
            "srcid": [name.rpartition("-")[2] for name in names],
            "grating": ["SDSS"] * n,
            "filter": [""] * n,
            "grade": np.full(n, -1, np.int8),
        }
        return pa.table(columns, schema=LISTING).sort_by("object_id")

    async def read(self, entry: Entry, file: File) -> Spectrum:
        """Read one file; see `distspec.archives.base.Archive.read`."""
        spectrum = await read_head(file, HEAD, _parse)
        if spectrum.no_target:
            raise BadSpectrumError(Reason.NOT_A_TARGET, spectrum.no_target)
        flux, ivar = masked(spectrum.flux, spectrum.ivar, spectrum.bad)
        if spectrum.warning and not self.accept_warnings:
            raise BadSpectrumError(Reason.FLAGGED, f"ZWARNING {spectrum.warning}, z = {spectrum.z:.5f}")
        check_wave(spectrum.wave)
        return Spectrum(
            entry.object_id, spectrum.wave, flux, ivar, FLUX_UNIT, spectrum.z, spectrum.ra, spectrum.dec
        )

    def truth(self) -> pa.Table | None:
        """Return the pipeline's classes, GALAXY, QSO and STAR, where the catalogue has a column class."""
        table = read_table(self.catalog) if self.catalog else None
        if table is None or not {"file", "class"} <= set(table.column_names):
            return None
        return pa.table(
            {
                "object_id": [_object_id(file or "") for file in table["file"].to_pylist()],
                "truth_class": table["class"].cast(pa.string()),
                "anomaly_type": [""] * len(table),
            }
        )


@dataclass(frozen=True, slots=True)
class _Fibre:
    """What one file says: wave [µm], flux and ivar [`FLUX_UNIT`], bad pixels, the pipeline's verdict."""

    wave: Floats
    flux: Floats
    ivar: Floats
    bad: Any
    z: float
    warning: int
    no_target: str
    ra: float
    dec: float


def _object_id(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".gz").removesuffix(".fits")


def _parse(content: bytes, total: int) -> _Fibre:
    coadd = read_fits_table(content, "COADD", total)
    summary = _summary(content, total)
    primary = find_hdu(content, 0, total).header
    check_unit(coadd.unit("flux") or str(primary.get("BUNIT") or ""))
    if primary.get("VACUUM") is False:
        raise BadSpectrumError(Reason.BAD_WAVE, "VACUUM is F: wavelengths in air")
    loglam = numbers(coadd, "loglam")
    mask = coadd.column("and_mask")
    if mask.dtype.kind not in "iu":
        raise BadSpectrumError(Reason.BAD_TABLE, f"and_mask is {mask.dtype}, not integer")
    warning = int(_number(summary, "zwarning"))
    purpose = {
        str(summary.column(name)[0]).strip().upper()
        for name in ("objtype", "sourcetype")
        if name in summary.names
    }
    no_target = ""
    if warning & _NO_TARGET or not purpose.isdisjoint({"SKY", "NA"}):
        no_target = f"ZWARNING {warning}, {' '.join(sorted(purpose)).strip()}: a sky or unplugged fibre"
    with np.errstate(over="ignore"):
        wave = 10.0 ** (loglam - 4.0)
    return _Fibre(
        wave,
        numbers(coadd, "flux"),
        numbers(coadd, "ivar"),
        (mask & _UNUSABLE) != 0,
        _number(summary, "z"),
        warning,
        no_target,
        _number(summary, *RA),
        _number(summary, *DEC),
    )


def _summary(content: bytes, total: int) -> FitsTable:
    """Return the one row on the spectrum: SPALL of BOSS and later, SPECOBJ of SDSS-I and -II."""
    try:
        table = read_fits_table(content, "SPALL", total)
    except BadSpectrumError as error:
        if error.reason is not Reason.BAD_TABLE:
            raise
        table = read_fits_table(content, "SPECOBJ", total)
    if len(numbers(table, "z")) != 1:
        seen = f"{len(numbers(table, 'z'))} rows where one spectrum is summarised"
        raise BadSpectrumError(Reason.BAD_TABLE, seen)
    return table


def _number(summary: FitsTable, *names: str) -> float:
    name = next((name for name in names if name in summary.names), names[0])
    return float(numbers(summary, name)[0])
