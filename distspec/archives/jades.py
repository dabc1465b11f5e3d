"""JADES: NIRSpec PRISM spectra of the GOODS fields, reduced by the survey's pipeline.

Formats: the 1D files (image HDUs WAVELENGTH [m], DATA and ERR [W/m²/m]) and the redshift tables of data
releases 3 and 4 (D'Eugenio et al. 2025, ApJS 277, 4; Scholtz et al. 2025, arXiv 2510.01034;
https://jades.herts.ac.uk/DR4). Redshifts are only in the table. Wavelengths are in vacuum.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from distspec.archives.base import LISTING_SCHEMA, Archive, SpectrumEntry, build_spectrum_from_errors
from distspec.archives.catalogs import make_absolute_url, read_catalog, unit_factor
from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason
from distspec.core.instruments import NIRSPEC_PRISM, Disperser
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Spectrum
from distspec.io.fits.reading import read_fits_image, read_fits_table
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig, ListedFile
from distspec.io.remote.files import ArchiveFile
from distspec.io.remote.listing import list_folder, read_catalog_bytes
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.galaxy_type_rules import GALAXY_TYPE_RULES
from distspec.measurements.galaxy_types import GalaxyTypeRule
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS

WAVE_UNIT, FLUX_UNIT = "m", "W m-3"
WAVE_RANGE = (0.5, 6.0)
"""Range of plausible wavelengths of PRISM spectra [um]."""
FILE_NAME_PATTERN = re.compile(
    r"(?:hlsp_jades_jwst_nirspec_(?P<tier>.+)-)?(?P<id>\d+)_(?:clear-prism|prism_clear)_v[\d.]+_(?:x1d|1D)\.fits"
)
"""``hlsp_jades_jwst_nirspec_{tier}-{id}_clear-prism_v1.0_x1d.fits``, or ``{id}_prism_clear_v5.0_1D.fits``."""
COLUMN_ALIASES: Mapping[str, tuple[str, ...]] = {
    "file": ("file",),
    "id": ("nirspec_id", "id"),
    "tier": ("tier",),
    "z": ("z_spec", "z"),
    "ra": ("ra_targ", "ra"),
    "dec": ("dec_targ", "dec"),
    "flag": ("z_spec_flag",),
}
"""Names of table columns in lower case, of the public tables first, by the name used here."""


@dataclass(frozen=True)
class JADES(Archive):
    """JADES: PRISM spectra of one release and its redshift table."""

    url: str = ""
    """Folder or bucket that contains the 1D files, at any depth."""
    catalog: str = ""
    """Redshift table in FITS (as released), CSV, ECSV or Parquet; with a column file, url is not searched."""
    z_column: str = ""
    """Name of the redshift column; if empty, z_Spec or z."""
    z_flags: tuple[str, ...] = ("A", "B", "C")
    """Redshift qualities to keep if the table has z_Spec_flag (A best, E none)."""
    z_min: float = -1.0
    """Lower limit of the redshift, excluded; above 3, the range of the PRISM includes 1500 Å."""

    name: ClassVar[str] = "jades"
    spectral_features: ClassVar[Mapping[str, float]] = GALAXY_LINES
    spectrum_bytes: ClassVar[int] = 81_000
    disperser: ClassVar[Disperser | None] = NIRSPEC_PRISM
    measurements: ClassVar[MeasurementSet] = NIRSPEC_PRISM_MEASUREMENTS
    galaxy_types: ClassVar[Sequence[GalaxyTypeRule]] = GALAXY_TYPE_RULES

    def list_spectra(self, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
        """List the PRISM files; see `Archive.list_spectra`.

        Files with a redshift of another quality or below the limit are left out. Files that are not in the
        table are listed without a redshift and refused when they are read.
        """
        if not (self.url and self.catalog):
            raise ArchiveError(
                "--archive.url or --archive.catalog is empty: give the folder of the 1D files and the table"
            )
        redshifts = _read_redshifts(self.catalog, self.z_column, access)
        pairs = _match_files(redshifts, make_absolute_url(self.url), access)
        flags = {"", *self.z_flags}
        pairs = [(file, row) for file, row in pairs if row.flag in flags and not row.z <= self.z_min]
        rows = [row for _, row in pairs]
        columns: dict[str, Any] = {
            "object_id": [file.url.rpartition("/")[2] for file, _ in pairs],
            "source_key": [""] * len(rows),
            "version": [f"z={row.z:.5f} {file.etag}".strip() for file, row in pairs],
            "uri": [file.url for file, _ in pairs],
            "ra": [row.ra for row in rows],
            "dec": [row.dec for row in rows],
            "z": [row.z for row in rows],
            "root": [row.tier for row in rows],
            "srcid": [row.id for row in rows],
            "grating": ["PRISM"] * len(rows),
            "filter": ["CLEAR"] * len(rows),
            "grade": np.full(len(rows), -1, np.int8),
        }
        return pa.table(columns, schema=LISTING_SCHEMA).sort_by("object_id")

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one file; see `Archive.read`."""
        if not np.isfinite(entry.z):
            raise InvalidSpectrumError(
                QuarantineReason.NO_REDSHIFT, f"z = {entry.z}: {self.catalog} has no redshift for it"
            )
        wave, flux, err = _parse_1d_file((await file.read_all()).data)
        valid = np.isfinite(flux) & np.isfinite(err) & (err > 0)
        return build_spectrum_from_errors(entry, wave, flux, err, valid, FLUX_UNIT)

    @classmethod
    def viewer_url(cls, row: Mapping[str, Any]) -> str:
        """Return the address of the survey's map at a position; see `Archive.viewer_url`."""
        return f"https://jades.idies.jhu.edu/?ra={row['ra']:.6f}&dec={row['dec']:.6f}&zoom=10"


@dataclass(frozen=True, slots=True)
class _RedshiftRow:
    """One row of the redshift table; "" and NaN for missing values."""

    file: str = ""
    id: str = ""
    tier: str = ""
    z: float = np.nan
    ra: float = np.nan
    dec: float = np.nan
    flag: str = ""


def _read_redshifts(url: str, z_column: str, access: AccessConfig) -> list[_RedshiftRow]:
    names, column = _open_table(url, access)
    aliases = dict(COLUMN_ALIASES) | ({"z": (z_column.lower(),)} if z_column else {})
    found = {
        field: next((name for name in candidates if name in names), "")
        for field, candidates in aliases.items()
    }
    missing = [aliases[field][0] for field in ("z", "ra", "dec") if not found[field]]
    if missing or not (found["file"] or found["id"]):
        raise ArchiveError(
            f"{url} has no column {', '.join(missing) or 'file or NIRSpec_ID'}; "
            f"its columns are {', '.join(names[:12])} …"
        )
    columns = {field: column(name) for field, name in found.items() if name}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [
        _RedshiftRow(**{field: _parse_value(field, value) for field, value in row.items()}) for row in rows
    ]


def _open_table(url: str, access: AccessConfig) -> tuple[Sequence[str], Callable[[str], list[Any]]]:
    """Return the column names of a table in lower case, and a function that returns a column by this name."""
    if not url.lower().removesuffix(".gz").endswith(".fits"):
        table = read_catalog(url, access)
        original = {name.lower(): name for name in table.column_names}
        return [*original], lambda name: table[original[name]].to_pylist()
    content = read_catalog_bytes(make_absolute_url(url), access)
    try:
        try:
            public = read_fits_table(content, "Obs_info")
        except InvalidSpectrumError:
            public = read_fits_table(content, 1)
        return public.column_names, lambda name: public.column(name).tolist()
    except InvalidSpectrumError as error:
        raise ArchiveError(f"{url}: {error}") from error


def _parse_value(column: str, value: Any) -> Any:
    if column in {"z", "ra", "dec"}:
        number = np.nan if value is None else float(value)
        return np.nan if column == "z" and number <= -1.0 else number  # -1 marks a missing redshift
    text = "" if value is None else str(value).strip()
    return text.lstrip("0") if column == "id" else text


def _match_files(
    redshifts: Sequence[_RedshiftRow], base_url: str, access: AccessConfig
) -> list[tuple[ListedFile, _RedshiftRow]]:
    """Return files with their redshifts, matched by the table's column file or by the IDs in file names."""
    listed = [] if base_url.startswith("http") else list_folder(base_url, access, ".fits")
    if any(row.file for row in redshifts):
        known = {file.url: file for file in listed}
        urls = [f"{base_url}/{row.file}" for row in redshifts]
        files = [known.get(url, ListedFile(url, 0, "")) for url in urls]
        return [(file, row) for file, row in zip(files, redshifts, strict=True) if row.file]
    if base_url.startswith("http"):
        raise ArchiveError(f"{base_url} cannot be listed: --archive.catalog needs a column file")
    # IDs that occur in several tiers are ambiguous without the tier.
    count = Counter(row.id for row in redshifts)
    by_id = {row.id: row for row in redshifts if count[row.id] == 1}
    by_tier = {(row.tier.lower(), row.id): row for row in redshifts if row.tier}
    pairs: list[tuple[ListedFile, _RedshiftRow]] = []
    for file in listed:
        if match := FILE_NAME_PATTERN.fullmatch(file.url.rpartition("/")[2]):
            tier, number = (match["tier"] or "").lower(), match["id"].lstrip("0")
            row = by_tier.get((tier, number)) if tier and by_tier else by_id.get(number)
            pairs.append((file, row or _RedshiftRow(id=number, tier=tier)))
    return pairs


def _parse_1d_file(content: bytes) -> tuple[Floats, Floats, Floats]:
    """Return wavelength [µm], flux and error [`FLUX_UNIT`] of a 1D file."""
    images = {
        name: _read_image(content, name, unit)
        for name, unit in (("WAVELENGTH", WAVE_UNIT), ("DATA", FLUX_UNIT), ("ERR", FLUX_UNIT))
    }
    wave, flux, err = images.values()
    if wave.ndim != 1 or not wave.shape == flux.shape == err.shape:
        shapes = {name: image.shape for name, image in images.items()}
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"images of shapes {shapes}")
    wave = wave * 1e6
    if not len(wave) or not (wave.min() > WAVE_RANGE[0] and wave.max() < WAVE_RANGE[1]):  # also False for NaN
        span = f"{wave.min():.4g}–{wave.max():.4g} µm" if len(wave) else "no wavelengths"
        raise InvalidSpectrumError(
            QuarantineReason.BAD_WAVE,
            f"{span}, outside {WAVE_RANGE[0]}–{WAVE_RANGE[1]} µm: is this another unit?",
        )
    return wave, flux, err


def _read_image(content: bytes, name: str, unit: str) -> Floats:
    image, header = read_fits_image(content, name)
    return image.astype(np.float64) * unit_factor(str(header.get("BUNIT") or unit), unit)
