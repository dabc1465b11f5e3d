"""Loose files, which no catalog lists, read in the format of an archive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from distspec.archives.base import Archive, SpectrumEntry, split_fragment
from distspec.archives.catalogs import make_absolute_url, read_catalog
from distspec.archives.redshift_table import RedshiftTable
from distspec.core.errors import InvalidSpectrumError
from distspec.io.remote.config import AccessConfig


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
        Table that `distspec.archives.redshift_table.RedshiftTable` reads, with a column in `FILE_COLUMNS`.
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
        If the table lacks columns, or several of its columns could be the redshift.
    """
    table = RedshiftTable(read_catalog(catalog, access), with_positions=False, requires_files=True)

    def find_redshift(url: str) -> float | InvalidSpectrumError:
        path = split_fragment(url)[0]
        try:
            row = table.find([path.rpartition("/")[2]], path)
        except InvalidSpectrumError as error:
            return error
        return row.z if row else math.nan

    return [find_redshift(url) for url in urls]


def _parent_folder(url: str) -> str:
    return split_fragment(url)[0].rpartition("/")[0]
