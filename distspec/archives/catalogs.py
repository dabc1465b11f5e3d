"""Reading an archive's catalogue, and finding its files and their versions."""

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

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import is_url_below, open_archive_client, run_coroutine
from distspec.io.remote.listing import list_folder, read_catalog_bytes
from distspec.io.storage import split_url


@lru_cache
def unit_factor(unit: str, target_unit: str) -> float:
    """Return what to multiply by, from one unit to another.

    Raises
    ------
    BadSpectrumError
        ``bad_table`` where there is no such factor: of another kind, or a magnitude or a logarithm.

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
            QuarantineReason.BAD_TABLE, f"unit {unit!r} is not one of {target_unit}: {error}"
        ) from error
    if not 0.0 < scale < np.inf:
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"unit {unit!r} is no linear one of {target_unit}"
        )
    return float(scale)


N_PROBES = 16


def read_catalog(url: str, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
    """Read a catalogue in CSV, gzipped CSV, ECSV or Parquet.

    Parameters
    ----------
    url : str
        A file, or http(s)://, s3://, gs:// or az://.
    access : AccessConfig

    Raises
    ------
    ValueError
        When there is no such file or it is none of these formats; the message names the URL.
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
        raise ValueError(
            f"{url} is no CSV, ECSV or Parquet table ({error}): its name must end in "
            ".csv, .csv.gz, .ecsv or .parquet, and its content match"
        ) from error


def _convert_astropy_table(table: Table) -> pa.Table:
    def column(name: str) -> pa.Array:
        values: Any = table[name]
        mask = np.ma.getmaskarray(values) if table.masked or hasattr(values, "mask") else None
        return pa.array(np.asarray(values).tolist(), mask=mask)

    return pa.table({name: column(name) for name in table.colnames})


def make_absolute_url(url: str) -> str:
    """Return `url` with its protocol and, on local disk, its whole path: workers run elsewhere.

    Examples
    --------
    >>> absolute("s3://bucket/spectra/")
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
    """Return the layout under which a file is found first, else the first layout.

    Parameters
    ----------
    path_templates : sequence of str
        Paths below `base_url`, with the fields of a file's row in braces.
    rows : sequence of mappings
        Up to `N_PROBES` of them, spread over all, are looked for: one that is missing decides nothing.
    base_url : str
        The archive's URL.
    access : AccessConfig
    """
    probes = rows[:: max(1, len(rows) // N_PROBES)][:N_PROBES]
    return run_coroutine(_probe_path_templates(path_templates, probes, base_url, access))


async def _probe_path_templates(
    path_templates: Sequence[str], rows: Sequence[Mapping[str, str]], base_url: str, access: AccessConfig
) -> str:
    async with open_archive_client(base_url, access) as files:
        for row in rows:
            for layout in path_templates:
                try:
                    await files.get_file(f"{base_url}/{layout.format(**row)}").read_head(1)
                except InvalidSpectrumError as error:
                    if error.reason is QuarantineReason.UNREACHABLE:
                        raise ValueError(f"the archive does not answer: {error.detail}") from error
                    continue
                return layout
    return path_templates[0]


def find_etags(urls: Sequence[str], base_url: str, access: AccessConfig) -> list[str]:
    """Return what changes when a file does, "" for one that is not there: see `distspec.io.remote.Listed`.

    One listing of the folder or bucket, whatever the number of files.

    Raises
    ------
    ValueError
        Where the folder cannot be listed.
    """
    found = {file.url: file.etag for file in list_folder(base_url, access)}
    return [found.get(url, "") if is_url_below(url, base_url) else "" for url in urls]
