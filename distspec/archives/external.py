"""Loose files, which no catalog lists, read in the format of an archive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from distspec.archives.base import Archive, SpectrumEntry
from distspec.archives.catalogs import make_absolute_url, read_catalog
from distspec.core.errors import ArchiveError
from distspec.io.remote.config import AccessConfig

FILE_COLUMNS = ("file", "object_id")
REDSHIFT_COLUMNS = ("z", "z_best", "z_spec", "zfit")
"""Accepted names of the columns of a redshift table, in lower case."""


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


def read_redshifts(urls: Sequence[str], catalog: str, access: AccessConfig) -> list[float]:
    """Return the redshifts of files from a table.

    Parameters
    ----------
    urls : sequence of str
        Files; they are matched by name, without folder and fragment.
    catalog : str
        Table in CSV, ECSV or Parquet with a column in `FILE_COLUMNS` and one in `REDSHIFT_COLUMNS`.
    access : AccessConfig
        Credentials, limits and timeouts.

    Returns
    -------
    list of float
        NaN for files that the table does not contain.

    Raises
    ------
    ArchiveError
        If the table lacks a column.
    """
    table = read_catalog(catalog, access)
    columns = {name.lower(): name for name in table.column_names}
    names, redshifts = (
        _find_column(table, columns, candidates, catalog) for candidates in (FILE_COLUMNS, REDSHIFT_COLUMNS)
    )
    known = {str(file): float(np.nan if z is None else z) for file, z in zip(names, redshifts, strict=True)}
    return [known.get(url.partition("#")[0].rpartition("/")[2], math.nan) for url in urls]


def _find_column(table: Any, columns: dict[str, str], candidates: Sequence[str], catalog: str) -> list[Any]:
    """Return the values of the first column in `candidates` that a table has."""
    name = next((columns[candidate] for candidate in candidates if candidate in columns), None)
    if name is None:
        raise ArchiveError(f"{catalog} has no column {' or '.join(candidates)}: it has {', '.join(columns)}")
    return table[name].to_pylist()


def _parent_folder(url: str) -> str:
    return url.partition("#")[0].rpartition("/")[0]
