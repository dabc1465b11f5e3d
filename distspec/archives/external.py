"""Loose files, which no catalog lists, read in the format of an archive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from distspec.archives.base import Archive, SpectrumEntry, split_fragment
from distspec.archives.catalogs import make_absolute_url, read_catalog
from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason
from distspec.io.catalog_table import CatalogTable
from distspec.io.remote.config import AccessConfig

FILE_COLUMNS = ("file", "object_id")
REDSHIFT_COLUMNS = ("z", "z_best", "z_spec", "zfit")
"""Accepted names of the columns of a redshift table, in any case, besides ``redshift``."""


def iter_external_entries(
    archive: Archive, urls: Sequence[str], z: Sequence[float], access: AccessConfig
) -> Iterator[tuple[Archive, list[SpectrumEntry]]]:
    """Iterate over the spectra in loose files, grouped by folder and in the given order.

    Parameters
    ----------
    archive : Archive
        Archive in whose format the files are.
    urls : sequence of str
        Paths or URLs. Of a file with several spectra, such as a coadd of DESI, all spectra are taken, or with
        ``#fragment`` one.
    z : sequence of float
        Redshift of each file; NaN if the archive reads it from the file or from a file next to it.
    access : AccessConfig
        Credentials, limits and timeouts.

    Yields
    ------
    archive : Archive
        Archive with which the entries can be read.
    entries : list of SpectrumEntry
        Spectra in consecutive files of one folder.
    """
    rows = zip((make_absolute_url(url) for url in urls), z, strict=True)
    for (folder, has_redshifts), group in groupby(
        rows, key=lambda row: (_parent_folder(row[0]), math.isfinite(row[1]))
    ):
        reader = archive.external_archive(folder, has_redshifts=has_redshifts)
        yield (
            reader,
            [entry for url, redshift in group for entry in reader.list_external_file(url, redshift, access)],
        )


def read_redshifts(
    urls: Sequence[str], catalog: str, access: AccessConfig
) -> list[float | InvalidSpectrumError]:
    """Return the redshifts of files from a table.

    Parameters
    ----------
    urls : sequence of str
        Files. They are matched by name, without fragment; if several rows have the name of a file, those
        whose folder is also that of the file are used.
    catalog : str
        Table with a column in `FILE_COLUMNS` and one in `REDSHIFT_COLUMNS`.
    access : AccessConfig
        Credentials, limits and timeouts.

    Returns
    -------
    list of float or InvalidSpectrumError
        NaN for files that the table does not contain; an error with reason ``bad_row`` or ``ambiguous`` for
        files whose row is malformed, or that have several redshifts.

    Raises
    ------
    ArchiveError
        If the table lacks a column, or several of its columns could be the redshift.
    """
    table = read_catalog(catalog, access)
    files = table.text(table.require_column(*FILE_COLUMNS))
    redshifts = table.numbers(_find_redshift_column(table)).tolist()
    rows_by_name: dict[str, list[int]] = {}
    for row, file in enumerate(files):
        if file:
            rows_by_name.setdefault(file.rpartition("/")[2], []).append(row)

    def find_redshift(url: str) -> float | InvalidSpectrumError:
        path = split_fragment(url)[0]
        rows = rows_by_name.get(path.rpartition("/")[2], [])
        in_folder = [row for row in rows if f"/{path}".endswith(f"/{_relative_path(files[row])}")]
        longest = max((files[row].count("/") for row in in_folder), default=0)
        rows = [row for row in in_folder if files[row].count("/") == longest] or rows
        for row in rows:
            if row in table.problems:
                return InvalidSpectrumError(QuarantineReason.BAD_ROW, f"{catalog}, {table.problems[row]}")
        found = {redshifts[row] for row in rows if math.isfinite(redshifts[row])}
        if len(found) > 1:
            detail = f"{catalog} has the redshifts {', '.join(map(str, sorted(found)))} for {path}"
            return InvalidSpectrumError(QuarantineReason.AMBIGUOUS, detail)
        return found.pop() if found else math.nan

    return [find_redshift(url) for url in urls]


def _find_redshift_column(table: CatalogTable) -> str:
    """Return the name of the redshift column; ``redshift`` is used whatever the others are called."""
    if name := table.find_column("redshift"):
        return name
    found = [name for name in table.column_names if name.lower() in REDSHIFT_COLUMNS]
    if len(found) > 1:
        raise ArchiveError(
            f"{table.url} has several columns that could be the redshift: {', '.join(found)}; "
            "keep one of them, or rename it to 'redshift'"
        )
    return table.require_column("redshift", *REDSHIFT_COLUMNS)


def _relative_path(file: str) -> str:
    return file.removeprefix("./").lstrip("/")


def _parent_folder(url: str) -> str:
    return split_fragment(url)[0].rpartition("/")[0]
