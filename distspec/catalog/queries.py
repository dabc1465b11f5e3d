"""SQL queries (DuckDB) over the published catalog, with one view per table.

DuckDB reads local files itself; files in a bucket are read through Arrow datasets, which need no DuckDB
extension. In both cases columns and row groups that a query does not need are not read.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import duckdb
import pyarrow as pa

from distspec.catalog.editions import EditionRecord, find_record, open_parquet_dataset, read_edition_records
from distspec.catalog.healpix import compute_cone_range
from distspec.core.errors import CatalogError
from distspec.core.text import FORMULA_PATTERN, escape_formula
from distspec.io.paths import catalog_url, join_url
from distspec.io.storage import split_url

StreamedFormat = Literal["csv", "json", "parquet"]
COPY_OPTIONS: Mapping[StreamedFormat, str] = {
    "csv": "FORMAT csv, HEADER",
    "json": "FORMAT json, ARRAY",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}
TEXT_TYPES = ("varchar", "enum", "json")
"""DuckDB's types that are texts in CSV."""
CONE_ERROR = "executing the UDF: CatalogError: "
"""Text after which DuckDB's message of an invalid cone has the message of `compute_cone_range`."""
SEPARATION_MACRO = """
    CREATE MACRO separation(ra1, dec1, ra2, dec2) AS degrees(2 * asin(least(1, sqrt(
        pow(sin(radians(dec2 - dec1) / 2), 2)
        + cos(radians(dec1)) * cos(radians(dec2)) * pow(sin(radians(ra2 - ra1) / 2), 2)))))
"""
"""Angular separation of two positions [deg], by haversines, which are accurate for small angles."""
CONE_MACRO = """
    CREATE MACRO cone(at_ra, at_dec, radius) AS TABLE
        SELECT *, separation(ra, dec, at_ra, at_dec) AS separation FROM objects
        WHERE _healpix_29 BETWEEN cone_first(at_ra, at_dec, radius) AND cone_last(at_ra, at_dec, radius)
        AND separation(ra, dec, at_ra, at_dec) <= radius
"""
"""Cone search in ``objects`` [deg]; the range of HEALPix cells lets DuckDB skip row groups."""


def query(root: str, sql: str, run_id: str = "") -> pa.Table:
    """Run an SQL query over the published catalog.

    Parameters
    ----------
    root : str
        Root URL.
    sql : str
        Query in DuckDB's SQL. Each table of the catalog is a view of the same name. Tables of other runs
        are available as ``"r-...".objects``. In addition to DuckDB's functions there are ``separation(ra1,
        dec1, ra2, dec2)`` and the table function ``cone(ra, dec, radius)``, all in degrees.
    run_id : str
        Run or edition whose tables are queried; empty for the current edition.

    Returns
    -------
    Table
        The result.

    Raises
    ------
    NotFoundError
        If nothing is published.
    CatalogError
        If the run is not published, or DuckDB rejects the query; the message is DuckDB's.
    """
    with _run_query(root, sql, run_id) as result:
        return result.to_arrow_table()


def save_query(root: str, sql: str, output_format: StreamedFormat, file: IO[bytes], run_id: str = "") -> None:
    """Write the result of an SQL query to a file without holding it in memory.

    In CSV, texts that a spreadsheet would take for a formula are escaped (see
    `distspec.core.text.escape_formula`). In JSON, NaN and infinite numbers are null.

    Parameters
    ----------
    root : str
        Root URL.
    sql : str
        Query, as in `query`.
    output_format : {"csv", "json", "parquet"}
        Format of the file.
    file : file-like
        Binary file that is open for writing.
    run_id : str
        Run or edition whose tables are queried; empty for the current edition.

    Raises
    ------
    NotFoundError, CatalogError
        As in `query`.
    """
    with _run_query(root, sql, run_id) as result, tempfile.TemporaryDirectory(prefix="distspec-") as folder:
        path, columns = Path(folder) / "result", ", ".join(_select_columns(result, output_format))
        copy = f"COPY (SELECT {columns} FROM result) TO {_quote(str(path))} ({COPY_OPTIONS[output_format]})"
        result.query("result", copy)
        with path.open("rb") as written:
            shutil.copyfileobj(written, file)


def _select_columns(result: Any, output_format: StreamedFormat) -> list[str]:
    """Return SQL expressions of the columns of a result in the form that a format can hold."""
    selected: list[str] = []
    for name, column_type in zip(_unique_names(result.columns), result.types, strict=True):
        expression = identifier = _quote_name(name)
        if output_format == "json":
            expression = _finite(identifier, column_type)
        elif output_format == "csv":
            identifier = _quote_name(escape_formula(name))
            if column_type.id in TEXT_TYPES:
                text = f"{expression}::VARCHAR"
                expression = (
                    f"CASE WHEN regexp_matches({text}, {_quote(FORMULA_PATTERN)}) THEN chr(39) || {text} "
                    f"ELSE {text} END"
                )
        selected.append(f"{expression} AS {identifier}")
    return selected


def _unique_names(names: Sequence[str]) -> list[str]:
    """Return the names by which DuckDB calls the columns of a subquery; repeated names are numbered."""
    unique: list[str] = []
    for name in names:
        candidate, n = name, 0
        while candidate.lower() in (other.lower() for other in unique):
            n += 1
            candidate = f"{name}_{n}"
        unique.append(candidate)
    return unique


def _finite(expression: str, column_type: Any, depth: int = 0) -> str:
    """Return an SQL expression in which numbers that are not finite, also nested ones, are null."""
    element = f"_element_{depth}"
    if column_type.id in ("float", "double"):
        return f"CASE WHEN isfinite({expression}) THEN {expression} END"
    if column_type.id in ("list", "array"):
        finite = _finite(element, dict(column_type.children)["child"], depth + 1)
        return (
            f"list_transform({expression}, lambda {element}: {finite})" if finite != element else expression
        )
    if column_type.id == "struct":
        fields = {name: f"struct_extract({expression}, {_quote(name)})" for name, _ in column_type.children}
        values = {name: _finite(fields[name], child, depth + 1) for name, child in column_type.children}
        if values != fields:
            packed = ", ".join(f"{_quote_name(name)} := {value}" for name, value in values.items())
            return f"CASE WHEN {expression} IS NOT NULL THEN struct_pack({packed}) END"
    if column_type.id == "map":
        value = f"struct_extract({element}, 'value')"
        if (finite := _finite(value, dict(column_type.children)["value"], depth + 1)) != value:
            pair = f"struct_pack(key := struct_extract({element}, 'key'), value := {finite})"
            return f"map_from_entries(list_transform(map_entries({expression}), lambda {element}: {pair}))"
    return expression


@contextmanager
def _run_query(root: str, sql: str, run_id: str) -> Generator[Any]:
    """Yield the result of a query as a DuckDB relation; translate DuckDB's errors."""
    record = find_record(root, run_id)
    with duckdb.connect(config={"python_enable_replacements": "false"}) as connection:
        _create_views(connection, root, record)
        other_runs = {other.run_id: other for other in read_edition_records(root)} if '"r-' in sql else {}
        for name, other in other_runs.items():
            if f'"{name}"' in sql:
                connection.execute(f'CREATE SCHEMA "{name}"')
                _create_views(connection, root, other, f'"{name}".')
        arguments: list[Any] = ["DOUBLE"] * 3
        for name, function in (("cone_first", _first_cell), ("cone_last", _last_cell)):
            connection.create_function(name, function, arguments, "BIGINT")
        connection.execute(SEPARATION_MACRO)
        connection.execute(CONE_MACRO)
        try:
            result: Any = connection.sql(sql)
            if result is None:
                raise CatalogError(f"query {sql!r} returns no table: use a SELECT statement")
            yield result
        except duckdb.Error as error:
            tables = f" (tables: {', '.join(record.files)})"
            hint = tables if isinstance(error, duckdb.CatalogException) else ""
            message = str(error).rpartition(CONE_ERROR)[2]
            raise CatalogError(f"{message}{hint}") from error


def _first_cell(ra: float, dec: float, radius: float) -> int:
    return compute_cone_range(ra, dec, radius)[0]


def _last_cell(ra: float, dec: float, radius: float) -> int:
    return compute_cone_range(ra, dec, radius)[1]


def _create_views(
    connection: duckdb.DuckDBPyConnection, root: str, record: EditionRecord, schema: str = ""
) -> None:
    """Create a view for each table of an edition."""
    for name, file in record.files.items():
        url = join_url(catalog_url(root), file)
        scheme, _, path = split_url(url)
        if scheme == "file":
            source = f"read_parquet({_quote(path)})"
        else:
            source = f'"{record.name}/{name}"'
            connection.register(source.strip('"'), open_parquet_dataset(url))
        connection.execute(f"CREATE VIEW {schema}{name} AS FROM {source}")


def format_example_query(root: str) -> str:
    """Return an SQL query on the current catalog's files that runs in any DuckDB.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.

    Raises
    ------
    NotFoundError
        If nothing is published.
    """
    objects = _quote(join_url(catalog_url(root), find_record(root).files["objects"]))
    return (
        "SELECT cluster_label, count(*) AS n, median(z) AS z FROM "
        f"read_parquet({objects}) GROUP BY cluster_label ORDER BY n DESC"
    )


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
