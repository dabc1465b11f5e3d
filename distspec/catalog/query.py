"""SQL over what is published: DuckDB, with a view a table, wherever the root is.

A local file is read by DuckDB itself; what is in a bucket through Arrow's datasets, which need no
extension. Either way columns and row groups that a query does not need are not read.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import duckdb
import pyarrow as pa

from distspec.catalog.editions import edition_name, find_record, open_parquet_dataset, read_edition_records
from distspec.catalog.healpix import compute_cone_range
from distspec.io.paths import catalog_url, join_url
from distspec.io.storage import split_url

OutputFormat = Literal["csv", "json", "parquet"]
COPY_OPTIONS: Mapping[OutputFormat, str] = {
    "csv": "FORMAT csv, HEADER",
    "json": "FORMAT json, ARRAY",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}
SEPARATION_MACRO = """
    CREATE MACRO separation(ra1, dec1, ra2, dec2) AS degrees(2 * asin(least(1, sqrt(
        pow(sin(radians(dec2 - dec1) / 2), 2)
        + cos(radians(dec1)) * cos(radians(dec2)) * pow(sin(radians(ra2 - ra1) / 2), 2)))))
"""
"""Angle between two positions, all in degrees, by haversines: right for small ones, too."""
CONE_MACRO = """
    CREATE MACRO cone(at_ra, at_dec, radius) AS TABLE
        SELECT *, separation(ra, dec, at_ra, at_dec) AS separation FROM objects
        WHERE _healpix_29 BETWEEN cone_first(at_ra, at_dec, radius) AND cone_last(at_ra, at_dec, radius)
        AND separation(ra, dec, at_ra, at_dec) <= radius
"""
"""Objects within a radius of a position, in degrees; by their cells row groups are skipped."""


def query(root: str, sql: str, run_id: str = "") -> pa.Table:
    """Answer SQL (DuckDB's) over a catalogue; each table is a view of its name.

    Parameters
    ----------
    root : str
    sql : str
        Of other runs whose id it names, the tables are ``"r-…".objects`` and so on. It may use
        ``separation(ra, dec, ra, dec)`` and the table ``cone(ra, dec, radius)``, all in degrees.
    run_id : str
        Whose tables; empty: the current ones.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    ValueError
        When that run was not, or DuckDB does not understand the query; the message is DuckDB's.
    """
    with _run_query(root, sql, run_id) as answer:
        return answer.to_arrow_table()


def save_query(root: str, sql: str, output_format: OutputFormat, file: IO[bytes], run_id: str = "") -> None:
    """Write the answer to SQL to a file, without holding it in memory; see `query`."""
    with _run_query(root, sql, run_id) as answer, tempfile.TemporaryDirectory(prefix="distspec-") as folder:
        there = Path(folder) / "answer"
        answer.query("answer", f"COPY (FROM answer) TO '{there}' ({COPY_OPTIONS[output_format]})")
        with there.open("rb") as written:
            shutil.copyfileobj(written, file)


@contextmanager
def _run_query(root: str, sql: str, run_id: str) -> Generator[Any]:
    record = find_record(root, run_id)
    with duckdb.connect(config={"python_enable_replacements": "false"}) as connection:
        _create_views(connection, root, record)
        others = {each["run_id"]: each for each in read_edition_records(root)} if '"r-' in sql else {}
        for name, other in others.items():
            if f'"{name}"' in sql:
                connection.execute(f'CREATE SCHEMA "{name}"')
                _create_views(connection, root, other, f'"{name}".')
        numbers: list[Any] = ["DOUBLE"] * 3
        for name, cell in (("cone_first", _first_cell), ("cone_last", _last_cell)):
            connection.create_function(name, cell, numbers, "BIGINT")
        connection.execute(SEPARATION_MACRO)
        connection.execute(CONE_MACRO)
        try:
            answer: Any = connection.sql(sql)
            if answer is None:
                raise ValueError(f"{sql!r} gives no table: ask with SELECT")
            yield answer
        except duckdb.Error as error:
            tables = ", ".join(record["files"])
            also = f" (tables: {tables})" if isinstance(error, duckdb.CatalogException) else ""
            raise ValueError(f"{error}{also}") from error


def _first_cell(ra: float, dec: float, radius: float) -> int:
    return compute_cone_range(ra, dec, radius)[0]


def _last_cell(ra: float, dec: float, radius: float) -> int:
    return compute_cone_range(ra, dec, radius)[1]


def _create_views(
    connection: duckdb.DuckDBPyConnection, root: str, record: Mapping[str, Any], schema: str = ""
) -> None:
    for name, file in record["files"].items():
        url = join_url(catalog_url(root), file)
        scheme, _, path = split_url(url)
        if scheme == "file":
            source = f"read_parquet({_quote(path)})"
        else:
            source = f'"{edition_name(record)}/{name}"'
            connection.register(source.strip('"'), open_parquet_dataset(url))
        connection.execute(f"CREATE VIEW {schema}{name} AS FROM {source}")


def format_example_query(root: str) -> str:
    """Return SQL that any DuckDB can run on the current catalogue's files."""
    objects = _quote(join_url(catalog_url(root), find_record(root)["files"]["objects"]))
    return (
        "SELECT cluster_label, count(*) AS n, median(z) AS z FROM "
        f"read_parquet({objects}) GROUP BY cluster_label ORDER BY n DESC"
    )


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
