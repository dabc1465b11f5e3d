"""Catalog tables of archives, and the locations and versions of their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy import units

from distspec.archives.base import LISTING_SCHEMA
from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason, QuarantineRecord
from distspec.core.listing import Listing, RowSelection
from distspec.io.catalog_table import CatalogTable
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import is_url_below, open_archive_client, run_coroutine
from distspec.io.remote.listing import list_folder, read_catalog_bytes
from distspec.io.storage import split_url
from distspec.io.table_formats import parse_table


@lru_cache
def unit_factor(unit: str, target_unit: str) -> float:
    """Return the factor that converts a value from one unit to another.

    Parameters
    ----------
    unit, target_unit : str
        Units in a form that astropy parses.

    Raises
    ------
    InvalidSpectrumError
        With reason ``bad_table`` if there is no such factor: another physical type, a magnitude or a
        logarithm.

    Examples
    --------
    >>> unit_factor("mJy", "uJy")
    1000.0
    """
    try:
        parsed: Any = units.Unit(unit)
        scale: Any = parsed.to(target_unit) if isinstance(parsed, units.UnitBase) else 0.0
    except (ValueError, TypeError) as error:
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"unit {unit!r} cannot be converted to {target_unit}: {error}"
        ) from error
    if not 0.0 < scale < np.inf:
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"unit {unit!r} is not proportional to {target_unit}"
        )
    return float(scale)


N_PROBES = 16
"""Number of files that are probed to find the path template of an archive."""


def read_catalog(url: str, access: AccessConfig = DEFAULT_ACCESS, preferred_hdu: str = "") -> CatalogTable:
    """Read a catalog in CSV, ECSV, IPAC, FITS, VOTable or Parquet, which may be gzipped.

    Parameters
    ----------
    url : str
        Path, or a URL that begins with http(s)://, s3://, gs:// or az://.
    access : AccessConfig
        Credentials, limits and timeouts.
    preferred_hdu : str
        Name of the FITS table to read if the file has it; otherwise its first table is read.

    Returns
    -------
    CatalogTable
        The columns of the catalog.

    Raises
    ------
    ArchiveError
        If the file does not exist or has none of these formats.
    """
    content = read_catalog_bytes(make_absolute_url(url), access)
    return CatalogTable(parse_table(content, url, preferred_hdu), url)


def build_listing(
    catalog: CatalogTable, selection: RowSelection, columns: Mapping[str, Any], sort_key: str = "object_id"
) -> Listing:
    """Build the listing of the selected rows of a catalog, with the records of its malformed rows.

    Parameters
    ----------
    catalog : CatalogTable
        The catalog, from which all columns have been taken.
    selection : RowSelection
        Which rows are selected.
    columns : mapping of str to array_like of shape (n_rows,)
        Columns of `LISTING_SCHEMA` for all rows, and further ones, which the table keeps.
    sort_key : str
        Column by which the spectra are sorted.

    Returns
    -------
    Listing
        A selected row with the ``object_id`` of a malformed row is rejected as ambiguous.
    """
    ids: Sequence[str] = columns["object_id"]
    rejected = selection.reject(catalog.problems, ids)
    bad_ids = {record.object_id for record in rejected}
    for row in np.flatnonzero(selection.selected).tolist() if bad_ids else ():
        if ids[row] in bad_ids:
            selection.selected[row] = False
            detail = "listed several times, once with a malformed cell"
            rejected.append(QuarantineRecord(ids[row], "", "", QuarantineReason.AMBIGUOUS, detail))
    fields = [
        LISTING_SCHEMA.field(name) if name in LISTING_SCHEMA.names else pa.field(name, pa.array(values).type)
        for name, values in columns.items()
    ]
    table = pa.table(dict(columns), schema=pa.schema(fields))
    table = table.filter(pa.array(selection.selected)).sort_by(sort_key)
    return Listing(table, selection.deselected, [*rejected, *catalog.describe_bad_lines()])


def make_absolute_url(url: str) -> str:
    """Return a URL with its scheme; a local path becomes absolute, because workers run in other folders.

    Parameters
    ----------
    url : str
        Path or URL.

    Returns
    -------
    str
        The absolute URL.

    Examples
    --------
    >>> make_absolute_url("s3://bucket/spectra/")
    's3://bucket/spectra'
    """
    if url.startswith(("http://", "https://")):
        return url.rstrip("/")
    scheme, bucket, key = split_url(url)
    if scheme == "file":
        return f"file://{Path(key).resolve()}"
    return f"{scheme}://{bucket}/{key}".rstrip("/")


def find_path_template(
    path_templates: Sequence[str], rows: Sequence[Mapping[str, str]], base_url: str, access: AccessConfig
) -> str:
    """Return the path template under which a file exists.

    Parameters
    ----------
    path_templates : sequence of str
        Paths below `base_url`, with names of row fields in braces.
    rows : sequence of mapping
        Fields of the files. Up to `N_PROBES` of them, evenly spread, are probed, because some may be missing.
    base_url : str
        Folder or bucket of the archive.
    access : AccessConfig
        Credentials, limits and timeouts.

    Returns
    -------
    str
        The first template if no file is found.

    Raises
    ------
    ArchiveError
        If the archive does not answer.
    """
    probes = rows[:: max(1, len(rows) // N_PROBES)][:N_PROBES]
    return run_coroutine(_probe_path_templates(path_templates, probes, base_url, access))


async def _probe_path_templates(
    path_templates: Sequence[str], rows: Sequence[Mapping[str, str]], base_url: str, access: AccessConfig
) -> str:
    async with open_archive_client(base_url, access) as files:
        for row in rows:
            for template in path_templates:
                try:
                    await files.get_file(f"{base_url}/{template.format(**row)}").read_head(1)
                except InvalidSpectrumError as error:
                    if error.reason is QuarantineReason.UNREACHABLE:
                        raise ArchiveError(f"the archive does not answer: {error.detail}") from error
                    continue
                return template
    return path_templates[0]


def find_etags(urls: Sequence[str], base_url: str, access: AccessConfig) -> list[str]:
    """Return the ETags of files, from one listing of their folder or bucket.

    Parameters
    ----------
    urls : sequence of str
        Files.
    base_url : str
        Folder or bucket to list.
    access : AccessConfig
        Credentials, limits and timeouts.

    Returns
    -------
    list of str
        "" for files that are not listed; see `distspec.io.remote.config.ListedFile`.

    Raises
    ------
    ArchiveError
        If the folder cannot be listed.
    """
    etags = {file.url: file.etag for file in list_folder(base_url, access)}
    return [etags.get(url, "") if is_url_below(url, base_url) else "" for url in urls]
