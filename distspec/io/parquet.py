"""Parquet files that say what they hold to whoever opens them, with rows in an order that lets readers skip.

Units and descriptions stand where each reader looks: in the Arrow fields for pyarrow and HATS, as
``table_meta_yaml`` for ``astropy.table.Table.read``, and as a VOTable header by the rules of VOParquet 1.0
for the Virtual Observatory (Mohamed et al. 2025, IVOA Note).
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
"""Rows that a reader takes or skips at once."""
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
    """What was written: what the file's footer says, and its SHA-256."""

    footer: pq.FileMetaData
    sha256: str


def write_voparquet(url: str, table: pa.Table, order: NDArray[np.int64] | None = None) -> ParquetWriteResult:
    """Write a table as one Parquet file, seen whole or not at all.

    Parameters
    ----------
    url : str
    table : Table
        With ``unit`` and ``description`` in its fields' metadata (`distspec.core.schema.build_table`).
    order : (N,) int64, optional
        Rows in the order of the file; put in it a row group at a time: there is no second table.

    Notes
    -----
    What is NaN is written as null: the bounds of a column in a Parquet file leave NaN out, and readers that
    trust them answer wrongly (DuckDB takes NaN for larger than any number, and ``isnan`` for false
    throughout; duckdb#25521).
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
    """Return a table's schema with what astropy and the VO read beside what Arrow reads."""
    widths = _max_text_lengths(table)
    said = {
        b"table_meta_yaml": _astropy_header(table.schema).encode(),
        b"IVOA.VOTable-Parquet.version": b"1.0",
        b"IVOA.VOTable-Parquet.content": _votable_header(table.schema, widths),
        **{f"table::len::{name}".encode(): str(n).encode() for name, n in widths.items()},
    }
    return table.schema.with_metadata({**(table.schema.metadata or {}), **said})


def _get_field_metadata(field: pa.Field, key: str) -> str:
    return (field.metadata or {}).get(key.encode(), b"").decode()


def _element_type(field: pa.Field) -> pa.DataType:
    return field.type.value_type if pa.types.is_list(field.type) else field.type


def _max_text_lengths(table: pa.Table) -> dict[str, int]:
    """Return of every column of text how long the longest is; astropy asks for it."""
    found: dict[str, int] = {}
    for field in table.schema:
        if pa.types.is_string(_element_type(field)):
            texts = table[field.name]
            texts = pc.list_flatten(texts) if pa.types.is_list(field.type) else texts
            found[field.name] = pc.max(pc.utf8_length(texts)).as_py() or 1
    return found


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
    """Write a unit as VOTables of version 1.3 have it, in the notation of the CDS.

    Examples
    --------
    >>> vo_unit("erg s-1 cm-2 Angstrom-1"), vo_unit("dex"), vo_unit("")
    ('erg.Angstrom-1.s-1.cm-2', '[-]', '')
    """
    if unit in ("", "dex"):
        return "[-]" if unit else ""  # the logarithm of what has no unit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of units that are not in every standard
        return Unit(unit).to_string("cds")
