"""JADES: NIRSpec PRISM spectra of the GOODS fields, reduced by the survey's pipeline.

Formats: the 1D files (image HDUs WAVELENGTH [m], DATA and ERR [W/m²/m]) and the redshift tables of data
releases 3 and 4 (D'Eugenio et al. 2025, ApJS 277, 4; Scholtz et al. 2025, arXiv 2510.01034;
https://jades.herts.ac.uk/DR4). Redshifts are only in the table. Wavelengths are in vacuum.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from distspec.archives.base import LISTING_SCHEMA, Archive, SpectrumEntry, build_spectrum_from_errors
from distspec.archives.catalogs import make_absolute_url, read_catalog, unit_factor
from distspec.archives.observations import read_keyword, text_column
from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason, QuarantineRecord
from distspec.core.instruments import NIRSPEC_PRISM, Disperser
from distspec.core.lines import GALAXY_LINES
from distspec.core.listing import Listing
from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Spectrum
from distspec.io.catalog_table import CatalogTable
from distspec.io.fits.hdus import find_hdu, list_hdus
from distspec.io.fits.reading import read_fits_image
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig, ListedFile
from distspec.io.remote.files import ArchiveFile
from distspec.io.remote.listing import list_folder
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


OBSERVATION_COLUMNS = (
    text_column("detector", "Detector, as the header has it (DET)."),
    text_column("msa_quadrant", "MSA quadrant of the slitlet."),
    text_column("slitlet", "Shutters in the MSA, the quadrant first, as the header has them (SLIT)."),
    text_column("readout", "Readout pattern of the detectors (READPATT)."),
    text_column("reduction", "Version in the file's name, and of the survey's pipeline (COMPNAME)."),
)
"""What the header and the file's name say of the observation; the tier is in ``root``."""


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
    observation_columns: ClassVar[Sequence[Column]] = OBSERVATION_COLUMNS

    def read_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> Listing:
        """List the PRISM files; see `Archive.read_listing`.

        Files with a redshift of another quality or below the limit are left out. Files that are not in the
        table are listed without a redshift and refused when they are read; each counts as one row.
        """
        if not (self.url and self.catalog):
            raise ArchiveError(
                "--archive.url or --archive.catalog is empty: give the folder of the 1D files and the table"
            )
        table = read_catalog(self.catalog, access, preferred_hdu="Obs_info")
        unique, deselected = _drop_duplicates(_parse_redshifts(table, self.z_column))
        pairs, n_unmatched = _match_files(unique, make_absolute_url(self.url), access)
        deselected += Counter({"no file": n_unmatched} if n_unmatched else {})
        flags = {"", *self.z_flags}
        selected: list[tuple[ListedFile, _RedshiftRow]] = []
        rejected = table.describe_bad_lines()
        for file, row in pairs:
            if row.reason:
                name = file.url.rpartition("/")[2]
                rejected.append(QuarantineRecord(name, "", file.url, row.reason, row.problem))
            elif row.flag not in flags:
                deselected["quality"] += 1
            elif row.z <= self.z_min:
                deselected["z"] += 1
            else:
                selected.append((file, row))
        return Listing(_build_table(selected), deselected, rejected)

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one file; see `Archive.read`."""
        if self.catalog and not np.isfinite(entry.z):
            raise InvalidSpectrumError(
                QuarantineReason.NO_REDSHIFT, f"z = {entry.z}: {self.catalog} has no redshift for it"
            )
        content = (await file.read_all()).data
        wave, flux, err = _parse_1d_file(content)
        valid = np.isfinite(flux) & np.isfinite(err) & (err > 0)
        spectrum = build_spectrum_from_errors(entry, wave, flux, err, valid, FLUX_UNIT)
        return replace(spectrum, observation=_read_observation(content, file.url))

    def external_archive(self, folder: str, *, has_redshifts: bool) -> Self:
        """Return this archive for files that its table does not list; see `Archive.external_archive`."""
        return replace(self, url=folder, catalog="")

    @classmethod
    def viewer_url(cls, row: Mapping[str, Any]) -> str:
        """Return the address of the survey's map at a position; see `Archive.viewer_url`."""
        return f"https://jades.idies.jhu.edu/?ra={row['ra']:.6f}&dec={row['dec']:.6f}&zoom=10"


@dataclass(frozen=True, slots=True)
class _RedshiftRow:
    """One row of the redshift table; "" and NaN for missing values.

    A row that cannot be used has the reason and a description of its problem.
    """

    file: str = ""
    id: str = ""
    tier: str = ""
    z: float = np.nan
    ra: float = np.nan
    dec: float = np.nan
    flag: str = ""
    reason: QuarantineReason | None = None
    problem: str = ""


def _build_table(pairs: Sequence[tuple[ListedFile, _RedshiftRow]]) -> pa.Table:
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


def _parse_redshifts(table: CatalogTable, z_column: str) -> list[_RedshiftRow]:
    """Return the rows of the redshift table."""
    z_name = table.find_column(z_column, exact=True) if z_column else ""
    required = {name: COLUMN_ALIASES[name] for name in ("ra", "dec")}
    required["file"] = ("file", "NIRSpec_ID", "id")
    if not z_name:
        required["z"] = (z_column,) if z_column else COLUMN_ALIASES["z"]
    found = table.require_columns(required, hint="--archive.z-column names that of the redshift")
    id_name = table.find_column(*COLUMN_ALIASES["id"])
    positions = [table.degrees(found[name], is_right_ascension=name == "ra") for name in ("ra", "dec")]
    z = table.numbers(z_name or found["z"])
    z[z <= -1.0] = np.nan  # -1 marks a missing redshift
    missing = [""] * len(table)
    texts = {
        field: table.text(name) if (name := table.find_column(*COLUMN_ALIASES[field])) else missing
        for field in ("file", "tier", "flag")
    }
    ids = [text.lstrip("0") for text in table.identifiers(id_name)] if id_name else missing
    problems = [table.problems.get(row, "") for row in range(len(table))]
    reasons = [QuarantineReason.BAD_ROW if problem else None for problem in problems]
    ra, dec = (values.tolist() for values in positions)
    columns = (texts["file"], ids, texts["tier"], z.tolist(), ra, dec, texts["flag"], reasons, problems)
    return [_RedshiftRow(*row) for row in zip(*columns, strict=True)]


def _drop_duplicates(rows: Sequence[_RedshiftRow]) -> tuple[list[_RedshiftRow], Counter[str]]:
    """Keep one of identical rows, and mark different rows of one spectrum as ambiguous.

    Returns
    -------
    rows : list of _RedshiftRow
        One row for each spectrum.
    deselected : Counter of str
        Numbers of rows that are left out, by reason.
    """
    groups: dict[tuple[str, str, str], list[_RedshiftRow]] = {}
    deselected: Counter[str] = Counter()
    for row in rows:
        if row.file or row.id:
            groups.setdefault((row.file, row.tier.lower(), row.id), []).append(row)
        else:
            deselected["no file or id"] += 1
    unique: list[_RedshiftRow] = []
    for group in groups.values():
        values = [repr(replace(row, reason=None, problem="")) for row in group]  # NaN is equal in its repr
        differs = len(set(values)) > 1
        if not differs and len(group) > 1:
            deselected["duplicate"] += len(group) - 1
            group = group[:1]
        if differs:
            detail = f"in {len(group)} rows of the redshift table, with different values"
            group = [replace(row, reason=QuarantineReason.AMBIGUOUS, problem=detail) for row in group]
        unique += group
    return unique, deselected


def _match_files(
    redshifts: Sequence[_RedshiftRow], base_url: str, access: AccessConfig
) -> tuple[list[tuple[ListedFile, _RedshiftRow]], int]:
    """Return files with their redshifts, matched by the table's column file or by the IDs in file names.

    Also returns the number of rows without a file.
    """
    listed = [] if base_url.startswith("http") else list_folder(base_url, access, ".fits")
    if any(row.file for row in redshifts):
        known = {file.url: file for file in listed}
        named = [(f"{base_url}/{row.file}", row) for row in redshifts if row.file]
        pairs = [(known.get(url, ListedFile(url, 0, "")), row) for url, row in named]
        return pairs, len(redshifts) - len(pairs)
    if base_url.startswith("http"):
        raise ArchiveError(f"{base_url} cannot be listed: --archive.catalog needs a column file")
    # IDs that occur in several tiers are ambiguous without the tier.
    by_id: dict[str, list[_RedshiftRow]] = {}
    by_tier: dict[tuple[str, str], list[_RedshiftRow]] = {}
    for row in redshifts:
        by_id.setdefault(row.id, []).append(row)
        if row.tier:
            by_tier.setdefault((row.tier.lower(), row.id), []).append(row)
    pairs: list[tuple[ListedFile, _RedshiftRow]] = []
    matched: set[int] = set()
    for file in listed:
        if match := FILE_NAME_PATTERN.fullmatch(file.url.rpartition("/")[2]):
            tier, number = (match["tier"] or "").lower(), match["id"].lstrip("0")
            found = by_tier.get((tier, number), []) if tier and by_tier else by_id.get(number, [])
            if len({row.tier for row in found}) > 1:
                found = []
            matched.update(map(id, found))
            pairs += [(file, row) for row in found] or [(file, _RedshiftRow(id=number, tier=tier))]
    return pairs, sum(id(row) not in matched for row in redshifts)


def _parse_1d_file(content: bytes) -> tuple[Floats, Floats, Floats]:
    """Return wavelength [µm], flux and error [`FLUX_UNIT`] of a 1D file."""
    image_units = {"WAVELENGTH": WAVE_UNIT, "DATA": FLUX_UNIT, "ERR": FLUX_UNIT}
    names = [hdu.layout.name or str(number) for number, hdu in enumerate(list_hdus(content))]
    if missing := [f"no HDU {name}" for name in image_units if name not in names]:
        detail = f"{' and '.join(missing)}; the file has {', '.join(names)}"
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)
    images = {name: _read_image(content, name, unit) for name, unit in image_units.items()}
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


def _read_observation(content: bytes, url: str) -> dict[str, str]:
    """Return those of `OBSERVATION_COLUMNS` that the file states."""
    header = find_hdu(content, 0, len(content)).header
    version = re.search(r"_(v[\d.]+)_", url.rpartition("/")[2])
    slit, pipeline = read_keyword(header, "SLIT"), read_keyword(header, "COMPNAME")
    values = {
        "detector": read_keyword(header, "DET"),
        "msa_quadrant": slit.partition("/")[0],
        "slitlet": slit,
        "readout": read_keyword(header, "READPATT"),
        "reduction": ", ".join(filter(None, [version[1] if version else "", pipeline])),
    }
    return {name: value for name, value in values.items() if value}


def _read_image(content: bytes, name: str, unit: str) -> Floats:
    image, header = read_fits_image(content, name)
    return image.astype(np.float64) * unit_factor(str(header.get("BUNIT") or unit), unit)
