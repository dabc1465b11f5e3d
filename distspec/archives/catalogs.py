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

from distspec.core.errors import BadSpectrumError, Reason
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import is_below, open_files, run
from distspec.io.remote.listing import list_folder, read_whole
from distspec.io.storage import split


@lru_cache
def unit_factor(given: str, wanted: str) -> float:
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
        unit: Any = units.Unit(given)
        scale: Any = unit.to(wanted) if isinstance(unit, units.UnitBase) else 0.0
    except (ValueError, TypeError) as error:
        raise BadSpectrumError(Reason.BAD_TABLE, f"unit {given!r} is not one of {wanted}: {error}") from error
    if not 0.0 < scale < np.inf:
        raise BadSpectrumError(Reason.BAD_TABLE, f"unit {given!r} is no linear one of {wanted}")
    return float(scale)


PROBES = 16


def read_table(url: str, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
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
    content = read_whole(absolute(url), access)
    stem = url.lower().removesuffix(".gz")
    try:
        if stem.endswith((".parquet", ".pq")):
            return pq.read_table(io.BytesIO(content))
        if stem.endswith(".ecsv"):
            return _from_astropy(Table.read(io.BytesIO(content), format="ascii.ecsv"))
        return csv.read_csv(pa.BufferReader(content))
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ValueError(
            f"{url} is no CSV, ECSV or Parquet table ({error}): its name must end in "
            ".csv, .csv.gz, .ecsv or .parquet, and its content match"
        ) from error


def _from_astropy(table: Table) -> pa.Table:
    def column(name: str) -> pa.Array:
        values: Any = table[name]
        mask = np.ma.getmaskarray(values) if table.masked or hasattr(values, "mask") else None
        return pa.array(np.asarray(values).tolist(), mask=mask)

    return pa.table({name: column(name) for name in table.colnames})


def absolute(url: str) -> str:
    """Return `url` with its protocol and, on local disk, its whole path: workers run elsewhere.

    Examples
    --------
    >>> absolute("s3://bucket/spectra/")
    's3://bucket/spectra'
    """
    if url.startswith(("http://", "https://")):
        return url.rstrip("/")
    scheme, bucket, key = split(url)
    if scheme == "file":
        return f"file://{Path(key).resolve()}"
    return f"{scheme}://{bucket}/{key}".rstrip("/")


def choose_layout(
    layouts: Sequence[str], files: Sequence[Mapping[str, str]], base: str, access: AccessConfig
) -> str:
    """Return the layout under which a file is found first, else the first layout.

    Parameters
    ----------
    layouts : sequence of str
        Paths below `base`, with the fields of a file's row in braces.
    files : sequence of mappings
        Up to `PROBES` of them, spread over all, are looked for: one that is missing decides nothing.
    base : str
        The archive's URL.
    access : AccessConfig
    """
    probes = files[:: max(1, len(files) // PROBES)][:PROBES]
    return run(_first_found(layouts, probes, base, access))


async def _first_found(
    layouts: Sequence[str], probes: Sequence[Mapping[str, str]], base: str, access: AccessConfig
) -> str:
    async with open_files(base, access) as files:
        for row in probes:
            for layout in layouts:
                try:
                    await files.file(f"{base}/{layout.format(**row)}").head(1)
                except BadSpectrumError as error:
                    if error.reason is Reason.UNREACHABLE:
                        raise ValueError(f"the archive does not answer: {error.seen}") from error
                    continue
                return layout
    return layouts[0]


def etags(urls: Sequence[str], base: str, access: AccessConfig) -> list[str]:
    """Return what changes when a file does, "" for one that is not there: see `distspec.io.remote.Listed`.

    One listing of the folder or bucket, whatever the number of files.

    Raises
    ------
    ValueError
        Where the folder cannot be listed.
    """
    found = {file.url: file.etag for file in list_folder(base, access)}
    return [found.get(url, "") if is_below(url, base) else "" for url in urls]
