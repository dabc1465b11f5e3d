"""Files of query results: CSV, JSON, Parquet, FITS, VOTable and ECSV.

DuckDB converts the columns of a result to types that the format holds, and writes CSV and JSON itself; the
others are written from Arrow. A value that a format cannot hold is an error, never another value.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, get_args

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from distspec.catalog.sql_columns import find_xtype, quote, select_columns, unique_names
from distspec.core.errors import CatalogError, ConfigError
from distspec.io.files import open_atomic
from distspec.io.parquet import write_parquet
from distspec.io.storage import is_disk_full, make_full_disk_error

OutputFormat = Literal["csv", "json", "parquet", "fits", "votable", "ecsv"]
SUFFIXES: Mapping[str, OutputFormat] = {
    **{name: name for name in get_args(OutputFormat)},
    "fit": "fits",
    "vot": "votable",
    "xml": "votable",
}
"""Formats by the ending of a file's name."""
BINARY_FORMATS = ("parquet", "fits")
"""Formats that are not printed on a terminal."""
COPY_OPTIONS = {"csv": "FORMAT csv, HEADER", "json": "FORMAT json, ARRAY"}
CONE_ERROR = "executing the UDF: CatalogError: "
"""Text after which DuckDB's message of an invalid cone has the message of `compute_cone_range`."""
BATCH_ROWS = 65_536


def find_output_format(path: str, output_format: str = "") -> OutputFormat:
    """Return the format in which a table is written to a file.

    Parameters
    ----------
    path : str
        Path or URL of the file.
    output_format : str
        Format; empty: that of the ending of the path.

    Returns
    -------
    OutputFormat

    Raises
    ------
    ConfigError
        If there is no such format, or the ending names none.
    """
    if output_format:
        for name in get_args(OutputFormat):
            if name == output_format:
                return name
        names = ", ".join(get_args(OutputFormat))
        raise ConfigError(f"there is no format {output_format}: use one of {names}")
    suffix = path.rpartition(".")[2].lower()
    if suffix not in SUFFIXES:
        endings = ", ".join(f".{ending}" for ending in SUFFIXES)
        raise ConfigError(f"the name of {path} ends in none of {endings}: rename it or set the format")
    return SUFFIXES[suffix]


def save_table(table: pa.Table, path: str, output_format: str = "") -> None:
    """Write a table to a file atomically.

    Parameters
    ----------
    table : Table
        Table, with units and descriptions in the metadata of its fields where they are known.
    path : str
        Path or URL of the file, which is replaced if it exists.
    output_format : str
        Format; empty: that of the ending of the path.

    Raises
    ------
    ConfigError
        If there is no such format.
    CatalogError
        If the format cannot hold a value or a type of the table.
    """
    chosen = find_output_format(path, output_format)
    with open_atomic(path) as file:
        write_table(table, chosen, file)


def write_table(table: pa.Table, output_format: OutputFormat, file: IO[bytes]) -> None:
    """Write a table to an open file.

    Parameters
    ----------
    table : Table
        Table, with units and descriptions in the metadata of its fields where they are known.
    output_format : OutputFormat
        Format of the file.
    file : file object
        Binary file that is open for writing.

    Raises
    ------
    CatalogError
        If the format cannot hold a value or a type of the table.
    """
    table = table.rename_columns(unique_names(table.column_names))
    with duckdb.connect() as connection, duckdb_errors():
        save_result(connection.from_arrow(table), output_format, file, table.schema)


def save_result(result: Any, output_format: OutputFormat, file: IO[bytes], described: pa.Schema) -> None:
    """Write the result of a query to a file.

    CSV, JSON and Parquet are written without holding the result in memory.

    Parameters
    ----------
    result : duckdb.DuckDBPyRelation
        The result.
    output_format : OutputFormat
        Format of the file.
    file : file object
        Binary file that is open for writing.
    described : Schema
        Units and descriptions of columns by name.

    Raises
    ------
    CatalogError
        If the format cannot hold a value of the result.
    """
    selected = select_columns(result, output_format)
    if output_format in COPY_OPTIONS:
        with tempfile.TemporaryDirectory(prefix="distspec-") as folder:
            path = Path(folder) / "result"
            copy = f"COPY selected TO {quote(str(path))} ({COPY_OPTIONS[output_format]})"
            selected.query("selected", copy)
            with path.open("rb") as written:
                shutil.copyfileobj(written, file)
        return
    reader = selected.to_arrow_reader(BATCH_ROWS)
    schema = describe_schema(reader.schema, described)
    if output_format == "parquet":
        write_parquet(reader, schema, file)
        return
    for i, (field, column_type) in enumerate(zip(schema, result.types, strict=True)):
        if xtype := find_xtype(column_type, field.type):
            schema = schema.set(i, field.with_metadata({**(field.metadata or {}), b"xtype": xtype.encode()}))
    # Here, since most processes that query need no other format than Arrow's.
    from distspec.io.table_output import write_ecsv, write_fits, write_votable

    write = {"fits": write_fits, "votable": write_votable, "ecsv": write_ecsv}[output_format]
    write(reader.read_all().cast(schema), file)


def convert_to_arrow(result: Any) -> pa.Table:
    """Return the result of a query as an Arrow table with unique names.

    Parameters
    ----------
    result : duckdb.DuckDBPyRelation
        The result.

    Returns
    -------
    Table
    """
    return select_columns(result, "arrow").to_arrow_table()


def collect_metadata(datasets: Mapping[str, ds.Dataset], sql: str) -> pa.Schema:
    """Return the columns that a query may read, with their units and descriptions.

    A column of several tables has the unit and the description in which these agree. Tables that the query
    does not name count only if no other table has the column.

    Parameters
    ----------
    datasets : mapping of str to Dataset
        Published tables by name.
    sql : str
        The query.

    Returns
    -------
    Schema
    """
    words = set(re.findall(r"\w+", sql.replace("cone", "objects")))
    named = _merge_fields([dataset for name, dataset in datasets.items() if name in words])
    return pa.schema({**_merge_fields(datasets.values()), **named}.values())


def _merge_fields(datasets: Iterable[ds.Dataset]) -> dict[str, pa.Field]:
    merged: dict[str, pa.Field] = {}
    for field in (field for dataset in datasets for field in dataset.schema):
        known = merged.setdefault(field.name, field).metadata or {}
        agreed = {key: value for key, value in known.items() if (field.metadata or {}).get(key) == value}
        if b"unit" in known and b"unit" not in agreed:
            agreed = {}  # another quantity
        merged[field.name] = merged[field.name].with_metadata(agreed)
    return merged


def describe_schema(schema: pa.Schema, described: pa.Schema) -> pa.Schema:
    """Return a schema with metadata, in which fields have units and descriptions of fields of the same names.

    Parameters
    ----------
    schema : Schema
        Schema of a result.
    described : Schema
        Fields with metadata.

    Returns
    -------
    Schema
    """
    fields = [
        field.with_metadata(described.field(field.name).metadata)
        if field.name in described.names and not field.metadata
        else field
        for field in schema
    ]
    return pa.schema(fields, described.metadata)


@contextmanager
def duckdb_errors(hint: str = "") -> Generator[None]:
    """Translate errors of DuckDB to `CatalogError`.

    Parameters
    ----------
    hint : str
        Text that follows the message if a table is unknown.
    """
    try:
        yield
    except duckdb.Error as error:
        if is_disk_full(error):
            raise make_full_disk_error(error, tempfile.gettempdir()) from error
        message = str(error).rpartition(CONE_ERROR)[2].removeprefix("Invalid Input Error: ")
        raise CatalogError(
            f"{message}{hint if isinstance(error, duckdb.CatalogException) else ''}"
        ) from error
