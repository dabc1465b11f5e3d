"""SQL queries (DuckDB) over the published catalog, with one view per table.

DuckDB reads local files itself; files in a bucket are read through Arrow datasets, which need no DuckDB
extension. In both cases columns and row groups that a query does not need are not read.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any

import duckdb
import pyarrow as pa

from distspec.catalog.editions import (
    EditionRecord,
    find_record,
    open_parquet_dataset,
    open_record_tables,
    read_edition_records,
)
from distspec.catalog.output_formats import (
    OutputFormat,
    collect_metadata,
    convert_to_arrow,
    describe_schema,
    duckdb_errors,
    save_result,
)
from distspec.catalog.sql_columns import quote
from distspec.core.errors import CatalogError
from distspec.io.paths import catalog_url, join_url
from distspec.io.storage import split_url
from distspec.labels.annotations import read_annotations

TABLES_OF_LABELS = ("predictions", "label_scores")
"""Tables that exist once spectra are labeled."""
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
        The result, with units and descriptions in the metadata of columns that are named as published ones.

    Raises
    ------
    NotFoundError
        If nothing is published.
    CatalogError
        If the run is not published, or DuckDB rejects the query; the message is DuckDB's.
    """
    with _run_query(root, sql, run_id) as (result, described):
        table = convert_to_arrow(result)
        return table.cast(describe_schema(table.schema, described))


def save_query(root: str, sql: str, output_format: OutputFormat, file: IO[bytes], run_id: str = "") -> None:
    """Write the result of an SQL query to a file; CSV, JSON and Parquet without holding it in memory.

    Parameters
    ----------
    root : str
        Root URL.
    sql : str
        Query, as in `query`.
    output_format : {"csv", "json", "parquet", "fits", "votable", "ecsv"}
        Format of the file.
    file : file-like
        Binary file that is open for writing.
    run_id : str
        Run or edition whose tables are queried; empty for the current edition.

    Raises
    ------
    NotFoundError, CatalogError
        As in `query`, and `CatalogError` if the format cannot hold a value of the result.
    """
    with _run_query(root, sql, run_id) as (result, described):
        save_result(result, output_format, file, described)


@contextmanager
def _run_query(root: str, sql: str, run_id: str) -> Generator[tuple[Any, pa.Schema]]:
    """Yield the result of a query as a DuckDB relation, with units and descriptions of the published columns.

    DuckDB's errors are translated.
    """
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
        with duckdb_errors(f" (tables: {', '.join(record.files)})"):
            try:
                result: Any = connection.sql(sql)
            except duckdb.CatalogException as error:
                _explain_missing_table(str(error), root)
                raise
            if result is None:
                raise CatalogError(f"query {sql!r} returns no table: use a SELECT statement")
            yield result, collect_metadata(open_record_tables(root, record), sql)


def _explain_missing_table(message: str, root: str) -> None:
    """Raise an error if DuckDB misses a table that only labels make, or the labels themselves."""
    found = re.search(r"Table with name (\w+) does not exist", message)
    name = found[1].lower() if found else ""
    if name in TABLES_OF_LABELS:
        raise CatalogError(
            f"there is no table {name} yet, because there are no labels that can be learned: "
            "add some with `distspec label FILE` or in `distspec explore`, then `distspec classify` makes it"
        )
    if name == "labels":
        raise CatalogError(
            "there is no table labels: `distspec labels --history` lists the labels, and `distspec classify` "
            "learns them and makes the tables predictions and label_scores"
            if len(read_annotations(root))
            else "no labels yet: add some with `distspec label FILE` or in `distspec explore`, then "
            "`distspec classify` makes the tables predictions and label_scores"
        )


def _compute_cone_range(ra: float, dec: float, radius: float) -> tuple[int, int]:
    from distspec.catalog.healpix import compute_cone_range  # it imports astropy's coordinates

    return compute_cone_range(ra, dec, radius)


def _first_cell(ra: float, dec: float, radius: float) -> int:
    return _compute_cone_range(ra, dec, radius)[0]


def _last_cell(ra: float, dec: float, radius: float) -> int:
    return _compute_cone_range(ra, dec, radius)[1]


def _create_views(
    connection: duckdb.DuckDBPyConnection, root: str, record: EditionRecord, schema: str = ""
) -> None:
    """Create a view for each table of an edition."""
    for name, file in record.files.items():
        url = join_url(catalog_url(root), file)
        scheme, _, path = split_url(url)
        if scheme == "file":
            source = f"read_parquet({quote(path)})"
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
    objects = quote(join_url(catalog_url(root), find_record(root).files["objects"]))
    return (
        "SELECT cluster_label, count(*) AS n, median(z) AS z FROM "
        f"read_parquet({objects}) GROUP BY cluster_label ORDER BY n DESC"
    )
