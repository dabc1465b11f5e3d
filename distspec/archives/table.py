"""Any folder of spectra: files in any usual form, with redshifts in a table, in the files, or none.

`distspec.io.spectra` finds out what a file holds. The files are read when they are listed, because only they
tell how many spectra they have, and whether these can be used; a version is a checksum of what was read, so
that a copied or touched file is no new version, and other options are one where they change a spectrum.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from distspec.archives.base import (
    LISTING_SCHEMA,
    Archive,
    ListingExplanation,
    SpectrumEntry,
    split_fragment,
)
from distspec.archives.catalogs import make_absolute_url
from distspec.archives.found_spectra import FoundSpectrum, summarize_spectra, tabulate_spectra
from distspec.archives.redshift_table import RedshiftRow, RedshiftTable, RowFinder
from distspec.archives.table_files import (
    FileSummary,
    SpectrumSummary,
    name_flags,
    read_file_summaries,
)
from distspec.core.errors import (
    ArchiveError,
    ConfigError,
    InvalidSpectrumError,
    QuarantineReason,
    QuarantineRecord,
)
from distspec.core.lines import GALAXY_LINES
from distspec.core.listing import Listing
from distspec.core.spectrum import Spectrum
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import ArchiveFile
from distspec.io.remote.listing import list_folder
from distspec.io.spectra import (
    ColumnNames,
    ReadOptions,
    SpectrumFile,
    UnitNames,
    read_spectra,
)
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.standard_sets import BROAD_MEASUREMENTS

log = logging.getLogger(__name__)

OTHER_FILES = re.compile(
    r"\..*|readme.*|licen[cs]e.*|.*\.(md|rst|html?|json|ya?ml|toml|ini|cfg|log|py|pyc|ipynb|sh|r|m|tex|bib|docx?"
    r"|xlsx?|odt|png|jpe?g|gif|svg|pdf|e?ps|tiff?|zip|tar|tgz|tar\.gz|bz2|7z|reg|pro)",
    re.IGNORECASE | re.DOTALL,
)
"""Names of files that hold no spectra: documents, figures, programs, archives and hidden files."""


@dataclass(frozen=True)
class TableArchive(Archive):
    """Any folder of spectra, with or without a table of redshifts."""

    url: str = ""
    """Folder or bucket of the files, at any depth."""
    catalog: str = ""
    """Table with the columns file and z, and perhaps ra, dec and source; empty: z is in the files."""
    columns: ColumnNames = field(default_factory=ColumnNames)
    """Names of columns that are not found by themselves."""
    units: UnitNames = field(default_factory=UnitNames)
    """Units that the files do not state."""
    hdu: str = ""
    """Name or number of the HDU of FITS files; empty: the one that fits."""
    error_kind: Literal["auto", "sigma", "variance", "ivar"] = "auto"
    """What the column of errors holds; auto: its name tells."""
    air: bool = False
    """Wavelengths are in air where the file does not say so, and are converted."""
    estimate_errors: bool = True
    """Estimate missing errors from the scatter of neighboring pixels; otherwise such spectra are refused."""
    rest_frame: bool = False
    """Wavelengths are in the rest frame, as of stars: every spectrum has z = 0."""
    z_min: float = -1.0
    """Lower limit of the redshift, excluded."""
    z_max: float = 20.0
    """Upper limit of the redshift, included."""
    resolving_power: float = 0.0
    """Resolving power λ / FWHM of the instrument, which limits the pixels of a proposed grid; 0: that
    of two pixels of the files per FWHM."""

    name: ClassVar[str] = "table"
    spectral_features: ClassVar[Mapping[str, float]] = GALAXY_LINES
    measurements: ClassVar[MeasurementSet] = BROAD_MEASUREMENTS
    requires_position: ClassVar[bool] = False
    fixed_settings: ClassVar[Sequence[str]] = ("resolving_power",)
    proposed_settings: ClassVar[Sequence[str]] = ("resolving_power",)

    def __post_init__(self) -> None:
        if not self.z_min < self.z_max:
            raise ConfigError(f"--archive.z-min {self.z_min} must be below --archive.z-max {self.z_max}")
        if not self.resolving_power >= 0:
            raise ConfigError(f"--archive.resolving-power {self.resolving_power} must not be negative")

    @property
    def options(self) -> ReadOptions:
        """Options of the reader."""
        return ReadOptions(
            self.columns, self.units, self.hdu, self.error_kind, self.air, self.estimate_errors
        )

    def read_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> Listing:
        """Read all files, and list their spectra; see `Archive.read_listing`.

        Spectra that cannot be read, or that have no redshift, are rejected with their reason.
        """
        return self._select(self.find_spectra(access))

    def explain_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> ListingExplanation:
        """List the spectra, and describe what they were understood as; see `Archive.explain_listing`."""
        found = self.find_spectra(access)
        listing = self._select(found)
        table = tabulate_spectra(found, listing.spectra["object_id"].to_pylist())
        return ListingExplanation(listing, tuple(summarize_spectra(found, self.air)), table)

    def find_spectra(self, access: AccessConfig = DEFAULT_ACCESS) -> list[FoundSpectrum]:
        """Return the spectra in all files, in the order of the files, and what is wrong with them.

        Parameters
        ----------
        access : AccessConfig
            Credentials, limits and timeouts.

        Raises
        ------
        ArchiveError
            If there is no such folder, or the table of redshifts cannot be used.
        """
        if not self.url:
            raise ArchiveError("--archive.url is empty: give the folder of the spectra")
        base = make_absolute_url(self.url)
        table = RedshiftTable.read(self.catalog, access) if self.catalog else None
        urls = self._list_files(base, table, access)
        if not urls:
            raise ArchiveError(f"{self.url} holds no file that could have spectra: check --archive.url")
        files = read_file_summaries(self.options, base, urls, access)
        rows = RowFinder(base, table, files)
        found = [
            self._describe(base, url, file, number, rows)
            for url, file in zip(urls, files, strict=True)
            for number in range(len(file) if isinstance(file, FileSummary) else 1)
        ]
        if table is not None:
            refused = [
                u for u, file in zip(urls, files, strict=True) if isinstance(file, InvalidSpectrumError)
            ]
            self._warn_of_missing_files(table, refused)
        return found

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one spectrum; see `Archive.read`."""
        content = (await file.read_all()).data
        try:
            number = int(entry.fragment or 1) - 1
            spectrum = _read_cached(content, entry.file_url.rpartition("/")[2], self.options).read(number)
        except InvalidSpectrumError as error:
            raise name_flags(error) from error
        z = 0.0 if self.rest_frame else entry.z if math.isfinite(entry.z) else spectrum.z
        return Spectrum(
            entry.object_id,
            spectrum.wave,
            spectrum.flux,
            spectrum.ivar,
            spectrum.unit,
            z,
            spectrum.ra,
            spectrum.dec,
        )

    def suggest_remedy(self, listing: Listing) -> str:
        """Return all that keeps spectra of a listing from being used, with examples and remedies."""
        first: dict[str, QuarantineRecord] = {}
        for record in listing.rejected:
            first.setdefault(str(record.reason), record)
        counts = Counter(str(record.reason) for record in listing.rejected)
        return "; ".join(
            f"{n:,} {reason}, the first {first[reason].object_id}: {first[reason].detail}"
            for reason, n in counts.most_common()
        )

    def list_external_file(self, url: str, z: float, access: AccessConfig) -> list[SpectrumEntry]:
        """List the spectra of a file; see `Archive.list_external_file`."""
        file_url, fragment = split_fragment(url)
        if fragment:
            return super().list_external_file(url, z, access)
        base = file_url.rpartition("/")[0]
        [file] = read_file_summaries(self.options, base, [file_url], access)
        if isinstance(file, InvalidSpectrumError):
            return super().list_external_file(url, z, access)  # refused with the reason when it is read
        return [
            SpectrumEntry(_make_id(base, file_url, name), "", _make_uri(file_url, number, file), *unknown, z)
            for number, name in enumerate(file.ids)
            for unknown in [(math.nan, math.nan)]
        ]

    def _list_files(self, base: str, table: RedshiftTable | None, access: AccessConfig) -> list[str]:
        """Return the URLs of the files that may have spectra; on a web server those that the table names."""
        if base.startswith("http"):
            if table is None or not any(table.files):
                raise ArchiveError(f"{base} cannot be listed: --archive.catalog needs a column file")
            return sorted({f"{base}/{file}" for file in table.files if file})
        catalog = make_absolute_url(self.catalog) if self.catalog else ""
        urls = [file.url for file in list_folder(base, access) if file.url != catalog]
        return [url for url in urls if not OTHER_FILES.fullmatch(url.rpartition("/")[2])]

    def _warn_of_missing_files(self, table: RedshiftTable, refused: Sequence[str]) -> None:
        """Log the files that only the table names; `refused` are files without a spectrum."""
        names = {url.rpartition("/")[2] for url in refused}
        known = names | {name[: dot.start()] for name in names for dot in re.finditer(r"\.", name)}
        missing = [f for f in table.list_unused() if f.rpartition("/")[2].partition("#")[0] not in known]
        if missing:
            text = "%s: no spectrum in %s belongs to %d of the names in its column of files, the first %s"
            log.warning(text, self.catalog, self.url, len(missing), missing[0])

    def _describe(
        self, base: str, url: str, file: FileSummary | InvalidSpectrumError, number: int, rows: RowFinder
    ) -> FoundSpectrum:
        """Return what is known of a spectrum: from its file, and from the table of redshifts."""
        if isinstance(file, InvalidSpectrumError):
            error = name_flags(file)
            return FoundSpectrum(_make_id(base, url, ""), url, url, errors=(error,))
        object_id, uri = _make_id(base, url, file.ids[number]), _make_uri(url, number, file)
        content = file.spectra[number]
        errors: list[InvalidSpectrumError] = []
        if isinstance(content, InvalidSpectrumError):
            errors.append(name_flags(content))
        if split_fragment(uri)[0] != url:
            detail = (
                "the name of a file needs a suffix such as .fits, and no # before or in it: rename the file"
            )
            errors.append(InvalidSpectrumError(QuarantineReason.BAD_ID, detail))
        in_file = content if isinstance(content, SpectrumSummary) else SpectrumSummary()
        try:
            row = rows.find(url, number, object_id, file)
        except InvalidSpectrumError as error:
            errors.append(error)
            row = RedshiftRow()
        z, origin = self._choose_redshift(in_file, row)
        if not math.isfinite(z) and not errors:
            errors.append(self._no_redshift_error(row is not None))
        position = _choose_position(in_file, row)
        if math.isfinite(position[0]) and not (-180.0 <= position[0] <= 360.0 and abs(position[1]) <= 90.0):
            detail = f"RA {position[0]}, Dec {position[1]} deg"
            errors.append(InvalidSpectrumError(QuarantineReason.BAD_POSITION, detail))
        source = row.source if row else ""
        return FoundSpectrum(
            object_id, url, uri, file.form, in_file, z, origin, *position, source, tuple(errors)
        )

    def _choose_redshift(self, in_file: SpectrumSummary, row: RedshiftRow | None) -> tuple[float, str]:
        """Return the redshift, and where it is from."""
        if self.rest_frame:
            return 0.0, "in the rest frame"
        if row is not None and math.isfinite(row.z):
            return (row.z, "from the table") if row.z > -1.0 else (math.nan, "")
        return in_file.z, "from the file" if math.isfinite(in_file.z) else ""

    def _no_redshift_error(self, is_in_table: bool) -> InvalidSpectrumError:
        where = "none in the file: give --archive.catalog TABLE with the columns file and z, or the keyword "
        where += "with --archive.columns.z"
        if self.catalog:
            where = f"none in the file or {self.catalog}" + (
                "" if is_in_table else ", which has no row for it"
            )
        detail = f"{where}; spectra in the rest frame, as of stars, need --archive.rest-frame"
        return InvalidSpectrumError(QuarantineReason.NO_REDSHIFT, detail)

    def _select(self, found: Sequence[FoundSpectrum]) -> Listing:
        """Return the listing of the spectra that can be used and have a redshift within the limits."""
        good = [spectrum for spectrum in found if not spectrum.errors]
        selected = [spectrum for spectrum in good if self.z_min < spectrum.z <= self.z_max]
        columns: dict[str, Any] = {
            "object_id": [spectrum.object_id for spectrum in selected],
            "source_key": [spectrum.source_key for spectrum in selected],
            "version": [spectrum.version for spectrum in selected],
            "uri": [spectrum.uri for spectrum in selected],
            "ra": [spectrum.ra for spectrum in selected],
            "dec": [spectrum.dec for spectrum in selected],
            "z": [spectrum.z for spectrum in selected],
            "root": [spectrum.folder(make_absolute_url(self.url)) for spectrum in selected],
            "srcid": [spectrum.source for spectrum in selected],
            "grating": [""] * len(selected),
            "filter": [""] * len(selected),
            "grade": np.full(len(selected), -1, np.int8),
        }
        rejected = [
            QuarantineRecord(s.object_id, s.version, s.uri, s.errors[0].reason, _join_details(s.errors))
            for s in found
            if s.errors
        ]
        n_outside = len(good) - len(selected)
        return Listing(
            pa.table(columns, schema=LISTING_SCHEMA), {"z": n_outside} if n_outside else {}, rejected
        )


def _join_details(errors: Sequence[InvalidSpectrumError]) -> str:
    """Return the detail of the first error, then the others with their reasons."""
    return "; ".join([errors[0].detail, *map(str, errors[1:])])


def _make_id(base: str, url: str, name: str) -> str:
    """Return the identifier of a spectrum: the path of its file below a folder, and its name in the file."""
    path = url.removeprefix(f"{base}/").replace("/", "__")
    return f"{path}#{re.sub(r'[/#]', '_', name)}" if name else path


def _make_uri(url: str, number: int, file: FileSummary) -> str:
    return f"{url}#{number + 1}" if len(file) > 1 else url


def _choose_position(in_file: SpectrumSummary, row: RedshiftRow | None) -> tuple[float, float]:
    """Return the position of the table, or that of the file."""
    if row is not None and math.isfinite(row.ra + row.dec):
        return row.ra, row.dec
    return in_file.ra, in_file.dec


@lru_cache(maxsize=2)
def _read_cached(content: bytes, name: str, options: ReadOptions) -> SpectrumFile:
    """Return the spectra of a file, which are read one after the other."""
    return read_spectra(content, name, options)
