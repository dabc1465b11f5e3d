"""The DAWN JWST Archive: NIRSpec spectra reduced with msaexp.

Formats: the v1, v2 and v4 SPEC1D tables and catalogs (https://dawn-cph.github.io/dja;
Heintz et al. 2025, A&A 693, A60; de Graaff et al. 2025, A&A 697, A189).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from distspec.archives.base import LISTING_SCHEMA, Archive, SpectrumEntry, build_spectrum_from_errors
from distspec.archives.catalogs import find_etags, find_path_template, make_absolute_url, read_catalog
from distspec.archives.dja_bulk import check_release, index_prism_rows, read_bulk_spectrum
from distspec.archives.msaexp import FLUX_UNIT, find_valid_pixels, parse_spec1d
from distspec.core.arrow import pc
from distspec.core.errors import ArchiveError, ConfigError
from distspec.core.instruments import NIRSPEC_PRISM, Disperser
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Spectrum
from distspec.io.fits.reading import parse_head
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import ArchiveFile
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.galaxy_type_rules import GALAXY_TYPE_RULES
from distspec.measurements.galaxy_types import GalaxyTypeRule
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS

PUBLIC_URL = "https://s3.amazonaws.com/msaexp-nirspec/extractions"
PUBLIC_CATALOG = f"{PUBLIC_URL}/dja_msaexp_emission_lines_v4.4.csv.gz"
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
    url: str = PUBLIC_URL
    """Folder or bucket of the files, as {root}/{file} or {file}; with bulk, the folder of that file."""
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
    version_by_etag: bool = False
    """Make the ETag of a file part of its version even if the catalog has creation times."""
    bulk: str = ""
    """Bulk file *.prism_spectra.fits of the catalog to read instead of single files, a path or a URL."""
    truth_table: str = ""
    """Table of object_id, truth_class and anomaly_type against which labels are scored (optional)."""

    name: ClassVar[str] = "dja"
    spectral_features: ClassVar[Mapping[str, float]] = GALAXY_LINES
    spectrum_bytes: ClassVar[int] = HEAD_BYTES
    disperser: ClassVar[Disperser | None] = NIRSPEC_PRISM
    measurements: ClassVar[MeasurementSet] = NIRSPEC_PRISM_MEASUREMENTS
    galaxy_types: ClassVar[Sequence[GalaxyTypeRule]] = GALAXY_TYPE_RULES

    def __post_init__(self) -> None:
        if not self.z_min < self.z_max:
            raise ConfigError(f"--archive.z-min {self.z_min} must be below --archive.z-max {self.z_max}")
        if self.bulk and (self.grating.upper() != "PRISM" or self.bulk.endswith(".gz")):
            raise ConfigError(
                f"--archive.bulk {self.bulk}: it must not be gzipped, and requires PRISM spectra"
            )
        if self.bulk:
            object.__setattr__(self, "url", make_absolute_url(self.bulk).rpartition("/")[0])

    def list_spectra(self, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
        """List the selected rows of the catalog; see `Archive.list_spectra`.

        With `bulk`, rows are sorted by their position in that file, so that a batch reads neighboring
        spectra.
        """
        catalog = read_catalog(self.catalog, access)
        table = _standardize_columns(catalog, self.catalog)
        table = table.append_column("bulk_index", index_prism_rows(table["grating"]))
        keep = (
            (pc.field("object_id") != "")
            & (pc.field("grating") == self.grating.upper())
            & (pc.field("filter") == self.filter.upper())
            & pc.field("grade").isin([*self.grades])
            & (pc.field("z") > self.z_min)
            & (pc.field("z") <= self.z_max)
        )
        if self.bulk:
            n_prism = int(np.count_nonzero(table["bulk_index"].to_numpy() >= 0))
            check_release(make_absolute_url(self.bulk), self.catalog, n_prism, access)
            return self._list_bulk(table.filter(keep).sort_by("bulk_index"))
        table = table.filter(keep).sort_by("object_id")
        uris = self._build_uris(table, access)
        has_creation_times = not {"ctime", "version"}.isdisjoint(catalog.column_names)
        if self.version_by_etag or not (has_creation_times or self.url.startswith("http")):
            etags = pa.array(find_etags(uris.to_pylist(), make_absolute_url(self.url), access), pa.string())
            joined: Any = pc
            version = joined.binary_join_element_wise(table["version"], etags, " etag=")
            table = table.set_column(table.column_names.index("version"), "version", version)
        return table.append_column(LISTING_SCHEMA.field("uri"), uris).select(LISTING_SCHEMA.names)

    def _list_bulk(self, table: pa.Table) -> pa.Table:
        url = make_absolute_url(self.bulk)
        uris = pa.array([f"{url}#{index}" for index in table["bulk_index"].to_pylist()], pa.string())
        name = url.rpartition("/")[2]
        version = pa.array([f"{version} bulk={name}".strip() for version in table["version"].to_pylist()])
        table = table.set_column(table.column_names.index("version"), "version", version)
        return table.append_column(LISTING_SCHEMA.field("uri"), uris).select(LISTING_SCHEMA.names)

    def _build_uris(self, table: pa.Table, access: AccessConfig) -> pa.Array:
        base, template = make_absolute_url(self.url), PATH_TEMPLATES[0]
        rows = table.select(["root", "object_id"]).rename_columns(["root", "file"])
        if base != PUBLIC_URL:
            template = find_path_template(PATH_TEMPLATES, rows.to_pylist(), base, access)
        roots, files = rows["root"].to_pylist(), rows["file"].to_pylist()
        pairs = zip(roots, files, strict=True)
        return pa.array(
            (f"{base}/{template.format(root=root, file=file)}" for root, file in pairs), pa.string()
        )

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one SPEC1D table; see `Archive.read`."""
        if self.bulk:
            wave, flux, err = await read_bulk_spectrum(file, int(entry.fragment))
        else:
            wave, flux, err = await parse_head(file, HEAD_BYTES, parse_spec1d)
        valid = find_valid_pixels(flux, err)
        return build_spectrum_from_errors(entry, wave, flux, err, valid, FLUX_UNIT)

    def read_truth(self) -> pa.Table | None:
        """Return `truth_table`, if it is set."""
        if not self.truth_table:
            return None
        return read_catalog(self.truth_table).select(["object_id", "truth_class", "anomaly_type"])

    @classmethod
    def viewer_url(cls, row: Mapping[str, Any]) -> str:
        """Return the address of the archive's figure of a spectrum; see `Archive.viewer_url`."""
        name, root = str(row["object_id"]), str(row["root"])
        if root.startswith("mock-") or not name.endswith(".spec.fits"):  # simulated spectra have no page
            return ""
        return (
            f"{PUBLIC_URL}/{quote(root, safe='')}/{quote(name.removesuffix('.spec.fits'), safe='')}.fnu.png"
        )

    def external_archive(self, folder: str, *, has_redshifts: bool) -> Self:
        """Return this archive with options for loose SPEC1D files; see `Archive.external_archive`."""
        return replace(self, url=folder, bulk="")


def _standardize_columns(table: pa.Table, url: str) -> pa.Table:
    """Convert the catalog of any release to the columns of `LISTING_SCHEMA` other than ``uri``."""
    picked: dict[str, pa.ChunkedArray] = {}
    for column, aliases in COLUMN_ALIASES.items():
        name = next((name for name in aliases if name in table.column_names), None)
        if name is None:
            raise ArchiveError(
                f"{url} has no column {' or '.join(aliases)}: is it a DJA catalog? "
                f"Its columns are {', '.join(table.column_names[:12])} …"
            )
        picked[column] = table[name]
    files: list[str] = [file or "" for file in picked["file"].cast(pa.string()).to_pylist()]
    names = [FILE_NAME_PATTERN.match(file) for file in files]

    def from_name(group: str) -> list[str]:
        return [match[group] if match else "" for match in names]

    def upper(name: str) -> list[str]:
        # The column "Grating" of the v2 catalog lists other spectra of the source, so the file name is used.
        values = table[name].to_pylist() if name in table.column_names else from_name(name)
        return [(value or "").upper() for value in values]

    z = picked["z"].cast(pa.float64())
    return pa.table(
        {
            "object_id": files,
            "source_key": [""] * len(files),
            "version": _build_versions(table, z.to_pylist()),
            "ra": picked["ra"].cast(pa.float64()),
            "dec": picked["dec"].cast(pa.float64()),
            "z": z,
            "root": picked["root"].cast(pa.string()).fill_null(""),
            "srcid": [match["srcid"] if match else file for file, match in zip(files, names, strict=True)],
            "grating": upper("grating"),
            "filter": upper("filter"),
            "grade": picked["grade"].cast(pa.float64()).fill_null(-1).cast(pa.int8()),
        }
    )


def _format_timestamp(value: object) -> str:
    """Format a time or text in the same way for all catalog formats."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    try:
        return datetime.fromisoformat(str(value)).isoformat(timespec="milliseconds")
    except ValueError:
        return str(value)


def _build_versions(table: pa.Table, z: list[float | None]) -> list[str]:
    """Return versions: creation time, version of msaexp and redshift, whichever the catalog has."""
    parts = [
        [_format_timestamp(value) for value in table[name].to_pylist()]
        for name in ("ctime", "version")
        if name in table.column_names
    ]
    redshifts = ["" if value is None else f"z={value:.5f}" for value in z]
    return [" ".join(filter(None, row)) for row in zip(*parts, redshifts, strict=True)]
