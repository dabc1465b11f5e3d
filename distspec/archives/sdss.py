"""The Sloan Digital Sky Survey: one ``spec-PLATE-MJD-FIBER.fits`` file per spectrum, of releases since DR8.

Format: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html, and the
variant of DR18 and later (columns in upper case, fields and catalog numbers in place of plates and fibers).
Redshift, warning and position are in the file alone, so listings lack them. Wavelengths are in vacuum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from distspec.archives.base import LISTING_SCHEMA, Archive, SpectrumEntry
from distspec.archives.catalogs import read_catalog
from distspec.archives.multifiber import (
    FLUX_UNIT,
    check_unit,
    check_wave,
    list_fits_files,
    mask_pixels,
    read_float_column,
)
from distspec.archives.observations import read_cell, text_column
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.instruments import SDSS_SPECTROGRAPH, Disperser
from distspec.core.lines import GALAXY_LINES
from distspec.core.listing import Listing
from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Spectrum
from distspec.io.fits.hdus import find_hdu
from distspec.io.fits.reading import FitsTable, parse_head, read_fits_table
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import ArchiveFile
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.standard_sets import SDSS_MEASUREMENTS

HEAD_BYTES = 83 * 2880
"""Number of bytes read from the start of a file; they contain a complete file without single exposures."""
BAD_PIXEL_BITS: Mapping[str, int] = {
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
"""Bits of and_mask of pixels without the flux of the object: no fiber, no data, or poor sky subtraction.
Most of them have ivar 0 already; SDSS recommends to mask BRIGHTSKY as well
(https://www.sdss3.org/dr10/algorithms/bitmask_sppixmask.php)."""
NO_TARGET_BITS: Mapping[str, int] = {"SKY": 0, "UNPLUGGED": 7}
"""Bits of ZWARNING of fibers that observed no object (…/dr10/algorithms/bitmask_zwarning.php)."""
RA_COLUMNS = ("plug_ra", "ra", "fiber_ra", "racat")
DEC_COLUMNS = ("plug_dec", "dec", "fiber_dec", "deccat")
"""Columns of the fiber's position, best first: "ra" is 0 in some releases that have "plug_ra"."""
OBSERVATION_COLUMNS = (
    text_column("survey", "Survey as the summary table of SDSS-I and -II names it."),
    text_column("program", "Program of the plate, such as legacy, boss or eboss."),
    text_column("plate", "Number of the plate; null for spectra of fields (SDSS-V)."),
    text_column("mjd", "Modified Julian date of the last observation of the plate [d]."),
    text_column("spectrograph", "Spectrograph, 1 or 2, as the summary table of SDSS-I and -II has it."),
    text_column("fiber", "Number of the fiber."),
    text_column("reduction", "Version of the reduction (RUN2D)."),
)
"""What the summary table says of the observation."""
SUMMARY_COLUMNS: Mapping[str, str] = {
    "survey": "survey",
    "program": "programname",
    "plate": "plate",
    "mjd": "mjd",
    "spectrograph": "spectrographid",
    "fiber": "fiberid",
    "reduction": "run2d",
}
"""Columns of the summary table by the name used here."""
_BAD_PIXEL_BITMASK = sum(1 << bit for bit in BAD_PIXEL_BITS.values())
_NO_TARGET_BITMASK = sum(1 << bit for bit in NO_TARGET_BITS.values())


@dataclass(frozen=True)
class SDSS(Archive):
    """Sloan Digital Sky Survey: spec-*.fits files of any number of plates."""

    url: str = ""
    """Folder or bucket that contains the spec-*.fits files, at any depth."""
    catalog: str = ""
    """Table with a column file (path) and optionally class and version; if empty, url is listed."""
    accept_z_warnings: bool = False
    """Also keep spectra with a redshift warning of the pipeline (ZWARNING)."""

    name: ClassVar[str] = "sdss"
    spectral_features: ClassVar[Mapping[str, float]] = GALAXY_LINES
    spectrum_bytes: ClassVar[int] = HEAD_BYTES
    disperser: ClassVar[Disperser | None] = SDSS_SPECTROGRAPH
    measurements: ClassVar[MeasurementSet] = SDSS_MEASUREMENTS
    observation_columns: ClassVar[Sequence[Column]] = OBSERVATION_COLUMNS

    def read_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> Listing:
        """List all files, without redshifts and positions; see `Archive.read_listing`."""
        files, deselected, rejected = list_fits_files(self.url, self.catalog, "spec-", access)
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
        table = pa.table(columns, schema=LISTING_SCHEMA).sort_by("object_id")
        return Listing(table, deselected, rejected)

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one file; see `Archive.read`."""
        spectrum = await parse_head(file, HEAD_BYTES, _parse_spec_file)
        if spectrum.no_target_detail:
            raise InvalidSpectrumError(QuarantineReason.NOT_A_TARGET, spectrum.no_target_detail)
        flux, ivar = mask_pixels(spectrum.flux, spectrum.ivar, spectrum.bad_pixels)
        if spectrum.zwarning and not self.accept_z_warnings:
            raise InvalidSpectrumError(
                QuarantineReason.FLAGGED, f"ZWARNING {spectrum.zwarning}, z = {spectrum.z:.5f}"
            )
        check_wave(spectrum.wave)
        return Spectrum(
            entry.object_id,
            spectrum.wave,
            flux,
            ivar,
            FLUX_UNIT,
            spectrum.z,
            spectrum.ra,
            spectrum.dec,
            spectrum.observation,
        )

    def read_truth(self) -> pa.Table | None:
        """Return the classes of the pipeline (GALAXY, QSO, STAR) if the catalog has a column class."""
        table = read_catalog(self.catalog) if self.catalog else None
        if table is None or not (table.find_column("file") and table.find_column("class")):
            return None
        files = table.text(table.find_column("file"))
        return pa.table(
            {
                "object_id": [_object_id(file) for file in files],
                "truth_class": table.text(table.find_column("class")),
                "anomaly_type": [""] * len(files),
            }
        )

    @classmethod
    def viewer_url(cls, row: Mapping[str, Any]) -> str:
        """Return the address of the survey's page of a plate, MJD and fiber; see `Archive.viewer_url`.

        Examples
        --------
        >>> SDSS.viewer_url({"object_id": "spec-4055-55359-0596"})
        'https://dr16.sdss.org/optical/spectrum/view/?plateid=4055&mjd=55359&fiberid=596'
        """
        parts = str(row["object_id"]).split("-")
        if len(parts) != 4 or not all(part.isdecimal() for part in parts[1:]):
            return ""
        plate, mjd, fiber = (int(part) for part in parts[1:])
        return f"https://dr16.sdss.org/optical/spectrum/view/?plateid={plate}&mjd={mjd}&fiberid={fiber}"

    def external_archive(self, folder: str, *, has_redshifts: bool) -> Self:
        """Return this archive with options for loose files; see `Archive.external_archive`."""
        return replace(self, url=folder, accept_z_warnings=self.accept_z_warnings or has_redshifts)


@dataclass(frozen=True, slots=True)
class _FiberSpectrum:
    """Content of one file: wave [um], flux and ivar in `FLUX_UNIT`, bad pixels, redshift and warnings."""

    wave: Floats
    flux: Floats
    ivar: Floats
    bad_pixels: Any
    z: float
    zwarning: int
    no_target_detail: str
    ra: float
    dec: float
    observation: Mapping[str, str]


def _object_id(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".gz").removesuffix(".fits")


def _parse_spec_file(content: bytes, file_size: int) -> _FiberSpectrum:
    coadd = read_fits_table(content, "COADD", file_size)
    coadd.check_columns("loglam", "flux", "ivar", "and_mask")
    summary = _read_summary(content, file_size)
    primary = find_hdu(content, 0, file_size).header
    check_unit(coadd.unit("flux") or str(primary.get("BUNIT") or ""))
    if primary.get("VACUUM") is False:
        raise InvalidSpectrumError(QuarantineReason.BAD_WAVE, "VACUUM is F: wavelengths are in air")
    loglam = read_float_column(coadd, "loglam")
    mask = coadd.column("and_mask")
    if mask.dtype.kind not in "iu":
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"and_mask is {mask.dtype}, not integer")
    warning = int(_read_summary_value(summary, "zwarning"))
    purpose = {
        str(summary.column(name)[0]).strip().upper()
        for name in ("objtype", "sourcetype")
        if name in summary.column_names
    }
    no_target = ""
    if warning & _NO_TARGET_BITMASK or not purpose.isdisjoint({"SKY", "NA"}):
        no_target = f"ZWARNING {warning}, {' '.join(sorted(purpose)).strip()}: a sky or unplugged fiber"
    with np.errstate(over="ignore"):
        wave = 10.0 ** (loglam - 4.0)
    return _FiberSpectrum(
        wave,
        read_float_column(coadd, "flux"),
        read_float_column(coadd, "ivar"),
        (mask & _BAD_PIXEL_BITMASK) != 0,
        _read_summary_value(summary, "z"),
        warning,
        no_target,
        _read_summary_value(summary, *RA_COLUMNS),
        _read_summary_value(summary, *DEC_COLUMNS),
        {name: text for name, column in SUMMARY_COLUMNS.items() if (text := read_cell(summary, column))},
    )


def _read_summary(content: bytes, file_size: int) -> FitsTable:
    """Return the one-row summary table: SPALL of BOSS and later, SPECOBJ of SDSS-I and -II."""
    try:
        table = read_fits_table(content, "SPALL", file_size)
    except InvalidSpectrumError as error:
        if error.reason is not QuarantineReason.BAD_TABLE:
            raise
        table = read_fits_table(content, "SPECOBJ", file_size)
    table.check_columns(
        "z", "zwarning", *(_choose_column(table, names) for names in (RA_COLUMNS, DEC_COLUMNS))
    )
    if len(read_float_column(table, "z")) != 1:
        detail = f"the summary table has {len(read_float_column(table, 'z'))} rows instead of one"
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)
    return table


def _read_summary_value(summary: FitsTable, *columns: str) -> float:
    return float(read_float_column(summary, _choose_column(summary, columns))[0])


def _choose_column(table: FitsTable, names: Sequence[str]) -> str:
    """Return the first of some names that a table has, or the first of all."""
    return next((name for name in names if name in table.column_names), names[0])
