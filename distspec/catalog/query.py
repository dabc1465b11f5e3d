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

from distspec.catalog.editions import edition_name, editions, open_file, record_of
from distspec.catalog.healpix import span
from distspec.io.paths import catalog_url, join
from distspec.io.storage import split

Format = Literal["csv", "json", "parquet"]
OPTIONS: Mapping[Format, str] = {
    "csv": "FORMAT csv, HEADER",
    "json": "FORMAT json, ARRAY",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}
SEPARATION = """
    CREATE MACRO separation(ra1, dec1, ra2, dec2) AS degrees(2 * asin(least(1, sqrt(
        pow(sin(radians(dec2 - dec1) / 2), 2)
        + cos(radians(dec1)) * cos(radians(dec2)) * pow(sin(radians(ra2 - ra1) / 2), 2)))))
"""
"""Angle between two positions, all in degrees, by haversines: right for small ones, too."""
CONE = """
    CREATE MACRO cone(at_ra, at_dec, radius) AS TABLE
        SELECT *, separation(ra, dec, at_ra, at_dec) AS separation FROM objects
        WHERE _healpix_29 BETWEEN cone_first(at_ra, at_dec, radius) AND cone_last(at_ra, at_dec, radius)
        AND separation(ra, dec, at_ra, at_dec) <= radius
"""
"""Objects within a radius of a position, in degrees; by their cells row groups are skipped."""


def query(root: str, sql: str, run: str = "") -> pa.Table:
    """Answer SQL (DuckDB's) over a catalogue; each table is a view of its name.

    Parameters
    ----------
    root : str
    sql : str
        Of other runs whose id it names, the tables are ``"r-…".objects`` and so on. It may use
        ``separation(ra, dec, ra, dec)`` and the table ``cone(ra, dec, radius)``, all in degrees.
    run : str
        Whose tables; empty: the current ones.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    ValueError
        When that run was not, or DuckDB does not understand the query; the message is DuckDB's.
    """
    with _answer(root, sql, run) as answer:
        return answer.to_arrow_table()


def save(root: str, sql: str, form: Format, file: IO[bytes], run: str = "") -> None:
    """Write the answer to SQL to a file, without holding it in memory; see `query`."""
    with _answer(root, sql, run) as answer, tempfile.TemporaryDirectory(prefix="distspec-") as folder:
        there = Path(folder) / "answer"
        answer.query("answer", f"COPY (FROM answer) TO '{there}' ({OPTIONS[form]})")
        with there.open("rb") as written:
            shutil.copyfileobj(written, file)


@contextmanager
def _answer(root: str, sql: str, run: str) -> Generator[Any]:
    record = record_of(root, run)
    with duckdb.connect(config={"python_enable_replacements": "false"}) as connection:
        _views(connection, root, record)
        others = {each["run_id"]: each for each in editions(root)} if '"r-' in sql else {}
        for name, other in others.items():
            if f'"{name}"' in sql:
                connection.execute(f'CREATE SCHEMA "{name}"')
                _views(connection, root, other, f'"{name}".')
        numbers: list[Any] = ["DOUBLE"] * 3
        for name, cell in (("cone_first", _first), ("cone_last", _last)):
            connection.create_function(name, cell, numbers, "BIGINT")
        connection.execute(SEPARATION)
        connection.execute(CONE)
        try:
            answer: Any = connection.sql(sql)
            if answer is None:
                raise ValueError(f"{sql!r} gives no table: ask with SELECT")
            yield answer
        except duckdb.Error as error:
            tables = ", ".join(record["files"])
            also = f" (tables: {tables})" if isinstance(error, duckdb.CatalogException) else ""
            raise ValueError(f"{error}{also}") from error


def _first(ra: float, dec: float, radius: float) -> int:
    return span(ra, dec, radius)[0]


def _last(ra: float, dec: float, radius: float) -> int:
    return span(ra, dec, radius)[1]


def _views(
    connection: duckdb.DuckDBPyConnection, root: str, record: Mapping[str, Any], schema: str = ""
) -> None:
    for name, file in record["files"].items():
        url = join(catalog_url(root), file)
        scheme, _, path = split(url)
        if scheme == "file":
            source = f"read_parquet({_quoted(path)})"
        else:
            source = f'"{edition_name(record)}/{name}"'
            connection.register(source.strip('"'), open_file(url))
        connection.execute(f"CREATE VIEW {schema}{name} AS FROM {source}")


def duckdb_line(root: str) -> str:
    """Return SQL that any DuckDB can run on the current catalogue's files."""
    objects = _quoted(join(catalog_url(root), record_of(root)["files"]["objects"]))
    return (
        "SELECT cluster_label, count(*) AS n, median(z) AS z FROM "
        f"read_parquet({objects}) GROUP BY cluster_label ORDER BY n DESC"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
