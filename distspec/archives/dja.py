"""The DAWN JWST Archive: NIRSpec spectra reduced with msaexp.

Formats: the SPEC1D tables and catalogs of v1, v2, v3 and v4 to v4.5 (https://dawn-cph.github.io/dja;
Heintz et al. 2025, A&A 693, A60; de Graaff et al. 2025, A&A 697, A189; Valentino et al. 2025, A&A 699, A358).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.archives.base import (
    LISTING_SCHEMA,
    Archive,
    RedshiftSource,
    SpectrumEntry,
    build_spectrum_from_errors,
)
from distspec.archives.catalogs import (
    build_listing,
    find_etags,
    find_path_template,
    make_absolute_url,
    read_catalog,
)
from distspec.archives.dja_bulk import check_release, find_bulk_url, index_prism_rows, read_bulk_spectrum
from distspec.archives.file_locations import locate_files
from distspec.archives.msaexp import FLUX_UNIT, OBSERVATION_COLUMNS, find_valid_pixels, parse_spec1d
from distspec.core.arrow import pc
from distspec.core.errors import ConfigError
from distspec.core.instruments import NIRSPEC_PRISM, Disperser
from distspec.core.lines import GALAXY_LINES
from distspec.core.listing import Listing, RowSelection
from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Spectrum
from distspec.io.catalog_table import CatalogTable
from distspec.io.fits.reading import parse_head
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import ArchiveFile
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.galaxy_type_rules import GALAXY_TYPE_RULES
from distspec.measurements.galaxy_types import GalaxyTypeRule
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS

PUBLIC_URL = "https://s3.amazonaws.com/msaexp-nirspec/extractions"
PUBLIC_CATALOG = f"{PUBLIC_URL}/dja_msaexp_emission_lines_v4.5.csv.gz"
CANUCS_URL = "https://s3.amazonaws.com/grizli-canucs/nirspec"
"""Public bucket of the spectra of the CANUCS survey, which the catalog of `PUBLIC_URL` lists."""
CANUCS_FIELDS = frozenset({"abell370", "macs0416", "macs0417", "macs1149", "macs1423"})
"""Fields of `CANUCS_URL`: roots up to "-v", as in ``msaexp.cloud.redshift``."""
PATH_TEMPLATES = ("{root}/{file}", "{file}")
"""Path of a file below the archive's URL: as in the public bucket, or in one folder."""
COLUMN_ALIASES: Mapping[str, tuple[str, ...]] = {
    "file": ("file",),
    "root": ("root",),
    "ra": ("ra",),
    "dec": ("dec",),
    "z": ("z_best", "z", "zfit"),
    "grade": ("grade",),
}
"""Names of required catalog columns in the releases, newest first, by the name used here."""
HEAD_BYTES = 28 * 2880
"""Number of bytes read from the start of a file; they contain the SPEC1D table."""
FILE_NAME_PATTERN = re.compile(
    r"^(?P<root>.+?)_(?P<grating>[a-z0-9]+)-(?P<filter>[a-z0-9]+)_(?:(?P<program>[^_]+)_)?(?P<srcid>[^_]+)\.spec\.fits$"
)
"""``{root}_{grating}-{filter}_{program}_{srcid}.spec.fits``."""


@dataclass(frozen=True)
class DJA(Archive):
    """DAWN JWST Archive: NIRSpec spectra reduced with msaexp."""

    catalog: str = PUBLIC_CATALOG
    """Catalog in CSV, CSV.gz, ECSV or Parquet, a path or a URL."""
    url: str | tuple[str, ...] = (PUBLIC_URL, CANUCS_URL)
    """Folder or bucket of the files, as {root}/{file} or {file}, or several, tried in order, for all of which
    the settings of access hold; with bulk, the folder of that file."""
    grating: str = "PRISM"
    """Disperser of the spectra to keep."""
    filter: str = "CLEAR"
    """Blocking filter of the spectra to keep."""
    grades: tuple[int, ...] = (3,)
    """Redshift grades to keep (3 robust, 2 ambiguous, 1 none, 0 bad, -1 not graded)."""
    z_min: float = 4.0
    """Lower limit of the redshift, excluded."""
    z_max: float = 20.0
    """Upper limit of the redshift, included."""
    redshifts: RedshiftSource = "catalog"
    """Redshifts to use: those of the catalog with one of the grades; "best": these, and the model's for
    spectra without a redshift or of another grade; "model": the model's wherever it is confident."""
    version_by_etag: bool = False
    """Make the ETag of a file part of its version even if the catalog has creation times."""
    sys_err: float = 0.0
    """Systematic error, as a fraction of the flux, that is added in quadrature to the errors."""
    bulk: str = ""
    """Bulk file *.prism_spectra.fits of the catalog to read instead of single files, a path or a URL; "auto":
    the file next to the catalog that has its name."""
    truth_table: str = ""
    """Table of object_id, truth_class and anomaly_type against which labels are scored (optional)."""

    name: ClassVar[str] = "dja"
    path_settings: ClassVar[Sequence[str]] = ("url", "catalog", "bulk", "truth_table")
    fixed_settings: ClassVar[Sequence[str]] = ("sys_err",)
    spectral_features: ClassVar[Mapping[str, float]] = GALAXY_LINES
    spectrum_bytes: ClassVar[int] = HEAD_BYTES
    disperser: ClassVar[Disperser | None] = NIRSPEC_PRISM
    measurements: ClassVar[MeasurementSet] = NIRSPEC_PRISM_MEASUREMENTS
    galaxy_types: ClassVar[Sequence[GalaxyTypeRule]] = GALAXY_TYPE_RULES
    observation_columns: ClassVar[Sequence[Column]] = OBSERVATION_COLUMNS

    def __post_init__(self) -> None:
        if not self.z_min < self.z_max:
            raise ConfigError(f"--archive.z-min {self.z_min} must be below --archive.z-max {self.z_max}")
        if not 0.0 <= self.sys_err < 1.0:
            raise ConfigError(f"--archive.sys-err {self.sys_err}: give a fraction of the flux from 0 to 1")
        if not self.base_urls:
            raise ConfigError("--archive.url is empty: give the folder or bucket of the files")
        if self.bulk == "auto":
            object.__setattr__(self, "bulk", find_bulk_url(self.catalog))
        if self.bulk and (self.grating.upper() != "PRISM" or self.bulk.endswith(".gz")):
            raise ConfigError(
                f"--archive.bulk {self.bulk}: it must not be gzipped, and requires PRISM spectra"
            )
        if self.bulk:
            object.__setattr__(self, "url", make_absolute_url(self.bulk).rpartition("/")[0])

    def read_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> Listing:
        """List the selected rows of the catalog; see `Archive.read_listing`.

        With `bulk`, rows are sorted by their position in that file, so that a batch reads neighboring
        spectra.
        """
        catalog = read_catalog(self.catalog, access)
        columns = _standardize_columns(catalog)
        bulk_index = index_prism_rows(columns["grating"])
        selection, is_candidate = self._select_rows(columns, catalog)
        selection.selected |= is_candidate
        columns |= {
            "z": np.where(is_candidate, np.nan, columns["z"]),
            "deselected_as": np.where(np.isnan(columns["z"]), "no redshift", "grade").tolist(),
        }
        if self.bulk:
            n_prism = int(np.count_nonzero(bulk_index >= 0))
            check_release(make_absolute_url(self.bulk), self.catalog, n_prism, access)
            listing = build_listing(
                catalog, selection, {**columns, "bulk_index": bulk_index}, sort_key="bulk_index"
            )
            return _split_candidates(replace(listing, spectra=self._locate_in_bulk(listing.spectra)))
        listing = build_listing(catalog, selection, columns)
        table = listing.spectra
        uris = self._build_uris(table, access)
        has_creation_times = not {"ctime", "version"}.isdisjoint(catalog.column_names)
        is_on_server = any(url.startswith("http") for url in self.base_urls)
        if self.version_by_etag or not (has_creation_times or is_on_server):
            bases = [make_absolute_url(url) for url in self.base_urls]
            listed = [find_etags(uris.to_pylist(), base, access) for base in bases]
            etags = pa.array([next(filter(None, row), "") for row in zip(*listed, strict=True)], pa.string())
            joined: Any = pc
            version = joined.binary_join_element_wise(table["version"], etags, " etag=")
            table = table.set_column(
                table.column_names.index("version"), LISTING_SCHEMA.field("version"), version
            )
        return _split_candidates(replace(listing, spectra=_append_uris(table, uris)))

    def _select_rows(
        self, columns: Mapping[str, Any], catalog: CatalogTable
    ) -> tuple[RowSelection, NDArray[np.bool_]]:
        """Select rows by the options; a malformed cell does not deselect its row.

        Returns also which rows are left out for their redshift, and the model is to measure.
        """
        z, well_formed, selection = columns["z"], ~catalog.has_problem, RowSelection(len(catalog))

        def differs(column: str, value: str) -> Any:
            return np.array([entry != value for entry in columns[column]], bool)

        selection.deselect(~differs("object_id", ""), "no file name")
        selection.deselect(_find_older_rows(columns, catalog), "older version")
        selection.deselect(differs("grating", self.grating.upper()), "grating")
        selection.deselect(differs("filter", self.filter.upper()), "filter")
        has_instrument = selection.selected.copy()
        selection.deselect(np.isnan(z) & well_formed, "no redshift")
        selection.deselect(~np.isin(columns["grade"], self.grades) & well_formed, "grade")
        malformed_ids = np.array(columns["object_id"], object)[catalog.has_problem]
        is_candidate = has_instrument & ~selection.selected & ~np.isin(columns["object_id"], malformed_ids)
        is_candidate &= self.redshifts != "catalog"
        selection.deselect((z <= self.z_min) | (z > self.z_max), "z")
        return selection, is_candidate

    def accepts_redshifts(self, z: Floats) -> NDArray[np.bool_]:
        """Return which redshifts lie between `z_min` and `z_max`; see `Archive.accepts_redshifts`."""
        return (z > self.z_min) & (z <= self.z_max)

    def _locate_in_bulk(self, table: pa.Table) -> pa.Table:
        url = make_absolute_url(self.bulk)
        uris = pa.array([f"{url}#{index}" for index in table["bulk_index"].to_pylist()], pa.string())
        name = url.rpartition("/")[2]
        version = [f"{version} bulk={name}".strip() for version in table["version"].to_pylist()]
        field = LISTING_SCHEMA.field("version")
        table = table.set_column(table.column_names.index("version"), field, pa.array(version, pa.string()))
        return _append_uris(table, uris)

    def _build_uris(self, table: pa.Table, access: AccessConfig) -> pa.Array:
        rows = table.select(["root", "object_id"]).rename_columns(["root", "file"]).to_pylist()
        templates = {
            base: PATH_TEMPLATES[:1] if base in {PUBLIC_URL, CANUCS_URL} else PATH_TEMPLATES
            for base in map(make_absolute_url, self.base_urls)
        }
        if len(templates) > 1:
            return pa.array(locate_files(templates, rows, "root", access), pa.string())
        [(base, known)] = templates.items()
        template = known[0] if len(known) == 1 else find_path_template(known, rows, base, access)
        return pa.array((f"{base}/{template.format(**row)}" for row in rows), pa.string())

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one SPEC1D table; see `Archive.read`."""
        is_valid: Any = True
        if self.bulk:
            wave, flux, err, is_valid = await read_bulk_spectrum(file, int(entry.fragment))
            name = FILE_NAME_PATTERN.match(entry.object_id)
            observation = {"program": name["program"]} if name and name["program"] else {}
        else:
            table = await parse_head(file, HEAD_BYTES, parse_spec1d)
            wave, flux, err, observation = table.wave, table.flux, table.err, table.observation
        valid = find_valid_pixels(flux, err) & is_valid
        err = np.hypot(err, self.sys_err * np.where(valid & (flux > 0), flux, 0.0))
        spectrum = build_spectrum_from_errors(entry, wave, flux, err, valid, FLUX_UNIT)
        return replace(spectrum, observation=observation)

    def read_truth(self) -> pa.Table | None:
        """Return `truth_table`, if it is set."""
        if not self.truth_table:
            return None
        table = read_catalog(self.truth_table)
        names = table.require_columns(
            {name: (name,) for name in ("object_id", "truth_class", "anomaly_type")}
        )
        return pa.table({name: table.text(column) for name, column in names.items()})

    @classmethod
    def viewer_url(cls, row: Mapping[str, Any]) -> str:
        """Return the address of the archive's figure of a spectrum; see `Archive.viewer_url`."""
        name, root = str(row["object_id"]), str(row["root"])
        if root.startswith("mock-") or not name.endswith(".spec.fits"):  # simulated spectra have no page
            return ""
        base = CANUCS_URL if root.partition("-v")[0] in CANUCS_FIELDS else PUBLIC_URL
        return f"{base}/{quote(root, safe='')}/{quote(name.removesuffix('.spec.fits'), safe='')}.fnu.png"

    def external_archive(self, folder: str, *, has_redshifts: bool) -> Self:
        """Return this archive with options for loose SPEC1D files; see `Archive.external_archive`."""
        return replace(self, url=folder, bulk="")


def _append_uris(table: pa.Table, uris: pa.Array) -> pa.Table:
    names = [*LISTING_SCHEMA.names, "deselected_as"]
    return table.append_column(LISTING_SCHEMA.field("uri"), uris).select(names)


def _split_candidates(listing: Listing) -> Listing:
    """Separate the spectra without a redshift, which the model is to measure, from the others."""
    has_redshift: Any = pc.invert(pc.is_nan(listing.spectra["z"]))
    return replace(
        listing,
        spectra=listing.spectra.filter(has_redshift).drop_columns("deselected_as"),
        candidates=listing.spectra.filter(pc.invert(has_redshift)),
    )


def _standardize_columns(table: CatalogTable) -> dict[str, Any]:
    """Convert the catalog of any release to the columns of `LISTING_SCHEMA` other than ``uri``."""
    found = table.require_columns(COLUMN_ALIASES)
    files = table.text(found["file"])
    names = [FILE_NAME_PATTERN.match(file) for file in files]

    def upper(name: str) -> list[str]:
        # The column "Grating" of the v2 catalog lists other spectra of the source, so the file name is used.
        if table.find_column(name, exact=True):
            return [value.upper() for value in table.text(name)]
        return [match[name].upper() if match else "" for match in names]

    z = table.numbers(found["z"])
    return {
        "object_id": files,
        "source_key": [""] * len(files),
        "version": _build_versions(table, z.tolist()),
        "ra": table.degrees(found["ra"], is_right_ascension=True),
        "dec": table.degrees(found["dec"], is_right_ascension=False),
        "z": z,
        "root": table.text(found["root"]),
        "srcid": [match["srcid"] if match else file for file, match in zip(files, names, strict=True)],
        "grating": upper("grating"),
        "filter": upper("filter"),
        "grade": table.integers(found["grade"], missing=-1).astype(np.int8),
    }


def _find_older_rows(columns: Mapping[str, Any], table: CatalogTable) -> NDArray[np.bool_]:
    """Return the rows whose file and root are listed again with a later creation time."""
    older = np.zeros(len(table), bool)
    if not table.find_column("ctime", exact=True):
        return older
    times = np.array([_parse_timestamp(text) for text in table.text("ctime")])
    keys = list(zip(columns["root"], columns["object_id"], strict=True))
    newest: dict[tuple[str, str], float] = {}
    for key, time in zip(keys, times.tolist(), strict=True):
        newest[key] = max(time, newest.get(key, -np.inf))
    return times < np.array([newest[key] for key in keys])


def _parse_timestamp(text: str) -> float:
    """Return a time, in ISO 8601 or as a UNIX time, as a UNIX time [s]; -inf for other text."""
    with suppress(ValueError):
        return -np.inf if np.isnan(float(text)) else float(text)
    with suppress(ValueError):
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return -np.inf


def _format_timestamp(text: str) -> str:
    """Format a time in the same way for all catalog formats; other text is returned unchanged."""
    if "-" not in text:  # a number, although fromisoformat takes 20240501 for a date
        return text
    try:
        return datetime.fromisoformat(text).isoformat(timespec="milliseconds")
    except ValueError:
        return text


def _build_versions(table: CatalogTable, z: list[float]) -> list[str]:
    """Return versions: creation time, version of msaexp and redshift, whichever the catalog has."""
    parts = [
        [_format_timestamp(value) for value in table.text(name)]
        for name in ("ctime", "version")
        if table.find_column(name, exact=True)
    ]
    redshifts = [f"z={value:.5f}" if np.isfinite(value) else "" for value in z]
    return [" ".join(filter(None, row)) for row in zip(*parts, redshifts, strict=True)]
