"""Limits of what table files of others may make a reader do: read other files, or allocate without bound."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from astropy.utils.xml.iterparser import get_xml_iterator

MAX_TABLE_SIZE = 8 << 30
"""Maximum size of a table in memory [bytes], that of the default of ``--access.max-catalog-mb``."""
_BATCH_ROWS = 1 << 16


def check_votable(content: bytes) -> None:
    """Check that a VOTable refers to no other file or URL and declares no more rows than it can have.

    astropy opens whatever the ``href`` of a STREAM names, and allocates the declared number of rows.

    Parameters
    ----------
    content : bytes
        The VOTable.

    Raises
    ------
    ValueError
        If it does.
    """
    with get_xml_iterator(io.BytesIO(content)) as elements:
        for is_start, tag, attributes, _ in elements:
            if not is_start or not isinstance(attributes, dict):
                continue
            if tag == "STREAM" and "href" in attributes:
                raise ValueError("its data are at another URL, which is not read: write them into the file")
            n_rows = str(attributes.get("nrows", "")).strip()
            if tag == "TABLE" and n_rows.isdecimal() and int(n_rows[:20]) > len(content):
                raise ValueError(f"it declares {n_rows[:20]} rows in {len(content):,} bytes")


def read_parquet(content: bytes, max_bytes: int = MAX_TABLE_SIZE) -> pa.Table:
    """Read a Parquet file up to a size in memory; a few bytes can encode billions of equal values.

    Parameters
    ----------
    content : bytes
        The file.
    max_bytes : int
        Maximum size of the table in memory [bytes].

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    ValueError
        If the table is larger.
    """
    batches: list[pa.RecordBatch] = []
    size = 0
    with pq.ParquetFile(io.BytesIO(content)) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            size += batch.nbytes
            if size > max_bytes:
                raise ValueError(f"{len(content):,} bytes expand to more than {max_bytes:,} in memory")
            batches.append(batch)
        return pa.Table.from_batches(batches, file.schema_arrow)


def hide_variable_length_arrays(header: Any) -> None:
    """Declare the columns of variable-length arrays as pairs of integers, so that astropy does not read them.

    Catalogs need no arrays, and arrays that overlap can be larger than the file by any factor.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Header of a binary table whose columns were not accessed yet; changed in place.
    """
    for key, value in list(header.items()):
        letter = str(value).strip().upper().lstrip("01")[:1]
        if key.startswith("TFORM") and letter in {"P", "Q"}:
            header[key] = "2J" if letter == "P" else "2K"
            for other in ("TDIM", "TSCAL", "TZERO", "TNULL"):
                header.remove(other + key.removeprefix("TFORM"), ignore_missing=True)
