"""Parquet files with units and descriptions of their columns, in the metadata that each reader uses.

pyarrow and HATS read the metadata of the Arrow fields, ``astropy.table.Table.read`` reads
``table_meta_yaml``, and tools of the Virtual Observatory read a VOTable header as VOParquet 1.0 defines it
(Mohamed et al. 2025, IVOA Note).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distspec.core.arrow import get_element_type, pc
from distspec.io.files import compute_stream_sha256, open_atomic

ROW_GROUP_SIZE = 65_536
"""Number of rows of a row group, which a reader reads or skips completely."""


class ParquetWriteResult(NamedTuple):
    """A Parquet file that was written.

    Attributes
    ----------
    footer : FileMetaData
        Metadata of the file: its schema and the statistics of its row groups.
    sha256 : str
        SHA-256 of the file.
    """

    footer: pq.FileMetaData
    sha256: str


@dataclass(frozen=True)
class AddedColumn:
    """Column that is computed while a table is written, so that all of it is never in memory.

    Attributes
    ----------
    field : Field
        Name, type and metadata.
    compute : callable
        Returns the values for a part of the table.
    n_rows : int
        Number of rows of a part, which is a row group.
    """

    field: pa.Field
    compute: Callable[[pa.Table], pa.Array]
    n_rows: int


def write_voparquet(
    url: str,
    table: pa.Table,
    order: NDArray[np.int64] | None = None,
    added: AddedColumn | None = None,
) -> ParquetWriteResult:
    """Write a table atomically as one Parquet file.

    Parameters
    ----------
    url : str
        URL of the file.
    table : Table
        Its fields have ``unit`` and ``description`` in their metadata (`distspec.core.schema.build_table`).
    order : ndarray of int64, shape (n_rows,), optional
        Rows of the table in the order in which they are written. They are reordered one row group at a time,
        so that no second table is held in memory.
    added : AddedColumn, optional
        Last column of the file; only pyarrow's metadata describe it.

    Returns
    -------
    ParquetWriteResult

    Notes
    -----
    NaN is written as null. The column statistics of a Parquet file leave NaN out, and readers that rely on
    them give wrong answers: DuckDB, for which NaN is larger than any number, then skips rows, and finds
    ``isnan`` false everywhere (duckdb#25521).
    """
    schema, n_rows = add_schema_metadata(table), ROW_GROUP_SIZE
    if added is not None:
        schema, n_rows = schema.append(added.field), added.n_rows
    footer: list[pq.FileMetaData] = []
    texts: Any = [field.name for field in schema if not pa.types.is_floating(field.type)]
    with open_atomic(url) as file:
        with pq.ParquetWriter(
            file, schema, compression="zstd", use_dictionary=texts, metadata_collector=footer
        ) as writer:
            for start in range(0, max(len(table), 1), n_rows):
                part = slice(start, start + n_rows)
                rows = table.slice(start, n_rows) if order is None else table.take(pa.array(order[part]))
                if added is not None:
                    rows = rows.append_column(added.field, added.compute(rows))
                writer.write_table(_without_nan(rows).cast(schema), row_group_size=n_rows)
        return ParquetWriteResult(footer[0], compute_stream_sha256(file))


def _without_nan(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            values = table[field.name]
            table = table.set_column(i, field, pc.if_else(pc.is_nan(values), None, values))
    return table


def write_parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema, file: IO[bytes]) -> None:
    """Write record batches to a Parquet file with the metadata that astropy and VO tools read.

    Unlike `write_voparquet`, it keeps NaN; no statistics are written for numbers that may be NaN.

    Parameters
    ----------
    batches : iterable of RecordBatch
        Content of the file.
    schema : Schema
        Schema of the batches; its fields have ``unit`` and ``description`` in their metadata where they are
        known.
    file : file object
        Binary file that is open for writing.
    """
    names = [field.name for field in schema if not pa.types.is_floating(get_element_type(field))]
    widths = _max_text_lengths(schema.empty_table())
    options: dict[str, Any] = {"write_statistics": names, "store_schema": False}
    with pq.ParquetWriter(file, schema, compression="zstd", **options) as writer:
        for batch in batches:
            table = pa.Table.from_batches([batch]).cast(schema)
            writer.write_table(table, row_group_size=ROW_GROUP_SIZE)
            for name, n in _max_text_lengths(table).items():
                widths[name] = max(n, widths[name])
        # Only now are the lengths of texts known; pyarrow reads metadata from this entry alone.
        metadata = {**(schema.metadata or {}), **_build_metadata(schema, widths)}
        stored = base64.b64encode(schema.with_metadata(metadata).serialize())
        writer.add_key_value_metadata({**metadata, b"ARROW:schema": stored})


def add_schema_metadata(table: pa.Table) -> pa.Schema:
    """Return the schema of a table with the metadata that astropy and VO tools read.

    Parameters
    ----------
    table : pyarrow.Table
        Its fields may have the metadata ``unit``, ``description`` and ``ucd``.
    """
    metadata = _build_metadata(table.schema, _max_text_lengths(table))
    return table.schema.with_metadata({**(table.schema.metadata or {}), **metadata})


def _build_metadata(schema: pa.Schema, widths: Mapping[str, int]) -> dict[bytes, bytes]:
    """Return the metadata of a file; without the VOTable header if a column has a type that VOTable lacks."""
    # Astropy's tables take half a second to import, and most processes only read.
    from distspec.io.column_headers import VOTABLE_TYPES, build_astropy_header, build_votable_header

    metadata = {
        b"table_meta_yaml": build_astropy_header(schema).encode(),
        **{f"table::len::{name}".encode(): str(n).encode() for name, n in widths.items()},
    }
    if all(get_element_type(field) in VOTABLE_TYPES for field in schema):
        metadata[b"IVOA.VOTable-Parquet.version"] = b"1.0"
        metadata[b"IVOA.VOTable-Parquet.content"] = build_votable_header(schema, widths)
    return metadata


def _max_text_lengths(table: pa.Table) -> dict[str, int]:
    """Return the maximum length of every text column, which astropy needs."""
    lengths: dict[str, int] = {}
    for i, field in enumerate(table.schema):
        if pa.types.is_string(get_element_type(field)):
            texts = table[i]
            texts = pc.list_flatten(texts) if pa.types.is_list(field.type) else texts
            lengths[field.name] = pc.max(pc.utf8_length(texts)).as_py() or 1
    return lengths
