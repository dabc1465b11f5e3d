"""Catalog tables of archives, and the locations and versions of their files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units
from astropy.table import Table
from pyarrow import csv

from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import is_url_below, open_archive_client, run_coroutine
from distspec.io.remote.listing import list_folder, read_catalog_bytes
from distspec.io.storage import split_url


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


def read_catalog(url: str, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
    """Read a catalog in CSV, gzipped CSV, ECSV or Parquet.

    Parameters
    ----------
    url : str
        Path, or a URL that begins with http(s)://, s3://, gs:// or az://.
    access : AccessConfig
        Credentials, limits and timeouts.

    Returns
    -------
    pa.Table
        The rows of the catalog.

    Raises
    ------
    ArchiveError
        If the file does not exist or has none of these formats.
    """
    content = read_catalog_bytes(make_absolute_url(url), access)
    stem = url.lower().removesuffix(".gz")
    try:
        if stem.endswith((".parquet", ".pq")):
            return pq.read_table(io.BytesIO(content))
        if stem.endswith(".ecsv"):
            return _convert_astropy_table(Table.read(io.BytesIO(content), format="ascii.ecsv"))
        return csv.read_csv(pa.BufferReader(content))
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ArchiveError(
            f"{url} cannot be read as a CSV, ECSV or Parquet table ({error}): its name must end in "
            ".csv, .csv.gz, .ecsv or .parquet, and its content must match"
        ) from error


def _convert_astropy_table(table: Table) -> pa.Table:
    """Return an astropy table as an Arrow table, with masked values as nulls."""

    def column(name: str) -> pa.Array:
        values: Any = table[name]
        mask = np.ma.getmaskarray(values) if table.masked or hasattr(values, "mask") else None
        return pa.array(np.asarray(values).tolist(), mask=mask)

    return pa.table({name: column(name) for name in table.colnames})


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
