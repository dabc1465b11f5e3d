"""Parquet files with units and descriptions of their columns, in the metadata that each reader uses.

pyarrow and HATS read the metadata of the Arrow fields, ``astropy.table.Table.read`` reads
``table_meta_yaml``, and tools of the Virtual Observatory read a VOTable header as VOParquet 1.0 defines it
(Mohamed et al. 2025, IVOA Note).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io.votable.tree import Field, Resource, TableElement, VOTableFile
from astropy.table import Column as AstropyColumn
from astropy.table.meta import get_yaml_from_header
from astropy.units import Unit
from numpy.typing import NDArray

from distspec.core.arrow import pc
from distspec.io.files import compute_stream_sha256, open_atomic

ROW_GROUP_SIZE = 65_536
"""Number of rows of a row group, which a reader reads or skips completely."""
VOTABLE_TYPES = {
    pa.int8(): "short",  # VOTable has no signed byte
    pa.int16(): "short",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.string(): "unicodeChar",
}


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


def write_voparquet(url: str, table: pa.Table, order: NDArray[np.int64] | None = None) -> ParquetWriteResult:
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

    Returns
    -------
    ParquetWriteResult

    Notes
    -----
    NaN is written as null. The column statistics of a Parquet file leave NaN out, and readers that rely on
    them give wrong answers: DuckDB, for which NaN is larger than any number, then skips rows, and finds
    ``isnan`` false everywhere (duckdb#25521).
    """
    schema = add_schema_metadata(table)
    footer: list[pq.FileMetaData] = []
    texts: Any = [field.name for field in schema if not pa.types.is_floating(field.type)]
    with open_atomic(url) as file:
        with pq.ParquetWriter(
            file, schema, compression="zstd", use_dictionary=texts, metadata_collector=footer
        ) as writer:
            for start in range(0, max(len(table), 1), ROW_GROUP_SIZE):
                part = slice(start, start + ROW_GROUP_SIZE)
                rows = (
                    table.slice(start, ROW_GROUP_SIZE) if order is None else table.take(pa.array(order[part]))
                )
                writer.write_table(_without_nan(rows).cast(schema), row_group_size=ROW_GROUP_SIZE)
        return ParquetWriteResult(footer[0], compute_stream_sha256(file))


def _without_nan(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            values = table[field.name]
            table = table.set_column(i, field, pc.if_else(pc.is_nan(values), None, values))
    return table


def add_schema_metadata(table: pa.Table) -> pa.Schema:
    """Return the schema of a table with the metadata that astropy and VO tools read.

    Parameters
    ----------
    table : pyarrow.Table
        Its fields may have the metadata ``unit``, ``description`` and ``ucd``.
    """
    widths = _max_text_lengths(table)
    metadata = {
        b"table_meta_yaml": _astropy_header(table.schema).encode(),
        b"IVOA.VOTable-Parquet.version": b"1.0",
        b"IVOA.VOTable-Parquet.content": _votable_header(table.schema, widths),
        **{f"table::len::{name}".encode(): str(n).encode() for name, n in widths.items()},
    }
    return table.schema.with_metadata({**(table.schema.metadata or {}), **metadata})


def _get_field_metadata(field: pa.Field, key: str) -> str:
    return (field.metadata or {}).get(key.encode(), b"").decode()


def _element_type(field: pa.Field) -> pa.DataType:
    return field.type.value_type if pa.types.is_list(field.type) else field.type


def _max_text_lengths(table: pa.Table) -> dict[str, int]:
    """Return the maximum length of every text column, which astropy needs."""
    lengths: dict[str, int] = {}
    for field in table.schema:
        if pa.types.is_string(_element_type(field)):
            texts = table[field.name]
            texts = pc.list_flatten(texts) if pa.types.is_list(field.type) else texts
            lengths[field.name] = pc.max(pc.utf8_length(texts)).as_py() or 1
    return lengths


def _astropy_header(schema: pa.Schema) -> str:
    columns = [
        AstropyColumn(
            name=field.name,
            dtype=np.dtype(_element_type(field).to_pandas_dtype()),
            unit=_get_field_metadata(field, "unit") or None,
            description=_get_field_metadata(field, "description"),
        )
        for field in schema
    ]
    return "\n".join(get_yaml_from_header({"cols": columns}))


def _votable_header(schema: pa.Schema, widths: Mapping[str, int]) -> bytes:
    file, resource = VOTableFile(version="1.3"), Resource()
    table = TableElement(file)
    file.resources.append(resource)
    resource.tables.append(table)
    for column in schema:
        text = f"{widths[column.name]}*" if pa.types.is_string(column.type) else None
        field = Field(
            file,
            name=column.name,
            ID=column.name,
            datatype=VOTABLE_TYPES[_element_type(column)],
            arraysize="*" if pa.types.is_list(column.type) else text,
            unit=format_votable_unit(_get_field_metadata(column, "unit")) or None,
            ucd=_get_field_metadata(column, "ucd") or None,
        )
        field.description = _get_field_metadata(column, "description")
        table.fields.append(field)
    header = io.BytesIO()
    file.to_xml(header)
    return header.getvalue().replace(b"</TABLE>", b'<PARQUET type="Parquet-local-XML"/></TABLE>')


def format_votable_unit(unit: str) -> str:
    """Return a unit in the notation of VOTable 1.3, which is that of the CDS.

    Parameters
    ----------
    unit : str
        Unit in the notation of astropy, "" for none.

    Examples
    --------
    >>> format_votable_unit("erg s-1 cm-2 Angstrom-1"), format_votable_unit("dex"), format_votable_unit("")
    ('erg.Angstrom-1.s-1.cm-2', '[-]', '')
    """
    if unit in ("", "dex"):
        return "[-]" if unit else ""  # a logarithm of a dimensionless quantity
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about units that are not in every standard
        return Unit(unit).to_string("cds")
