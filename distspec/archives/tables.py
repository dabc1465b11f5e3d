"""Reading an archive's catalogue and finding its files, wherever fsspec can reach them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table
from pyarrow import csv

from distspec.spectrum import BadSpectrumError, Reason

PROBES = 16
GZIP_MAGIC = b"\x1f\x8b"


def read_table(url: str) -> pa.Table:
    """Read a catalogue in CSV, gzipped CSV, ECSV or Parquet from any fsspec URL.

    Raises
    ------
    ValueError
        When there is no such file or it is none of these formats; the message names the URL.
    """
    name = url.lower()
    try:
        with fsspec.open(url, "rb", compression="gzip" if name.endswith(".gz") else None) as file:
            stem = name.removesuffix(".gz")
            if stem.endswith((".parquet", ".pq")):
                return pq.read_table(file)
            if stem.endswith(".ecsv"):
                return _from_astropy(Table.read(file, format="ascii.ecsv"))
            return csv.read_csv(file)
    except FileNotFoundError as error:
        raise ValueError(f"no catalogue at {url}: set --archive.catalog to one") from error
    except pa.ArrowInvalid as error:
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
    if "://" in url:
        return url.rstrip("/")
    return f"file://{Path(url).expanduser().resolve()}"


def choose_layout(places: Sequence[Sequence[str]]) -> list[str]:
    """Return each file's URL in the layout under which a file is found first, else in the first layout.

    Parameters
    ----------
    places : (n files) of (n layouts) URLs
        Up to `PROBES` files, spread over the list, are looked for: one that is missing decides nothing.
    """
    step = max(1, len(places) // PROBES)
    for file in places[::step]:
        for layout, url in enumerate(file):
            fs, path = fsspec.core.url_to_fs(url)
            if fs.exists(path):
                return [place[layout] for place in places]
    return [place[0] for place in places]


def fetch(uri: str) -> bytes:
    """Return a file's bytes, unpacked if they are gzipped, whatever its name says.

    Raises
    ------
    BadSpectrumError
        ``not_found`` or, for whatever else went wrong, ``unreadable``.
    """
    fs, path = fsspec.core.url_to_fs(uri)
    try:
        content = bytes(fs.cat_file(path))
        return gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except FileNotFoundError as error:
        raise BadSpectrumError(Reason.NOT_FOUND, f"no file at {uri}") from error
    except Exception as error:  # a service fails in as many ways as there are services
        raise BadSpectrumError(Reason.UNREADABLE, f"{type(error).__name__}: {error}") from error
