"""Queries of the published table `objects`, compared with the same rows in random order: 10,000,000 × 40.

The values are random numbers, in twenty classes that cover the sky. Each query returns all forty columns. It
runs alternately on both files, which are in the page cache, by DuckDB with one thread per core.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from distspec.catalog.editions import argsort_objects
from distspec.catalog.healpix import compute_cone_range, radec_to_healpix
from distspec.core import schema
from distspec.io import parquet
from tests.benchmarks.timing import Row, time_pair

N_ROWS, N_COLUMNS, N_CLASSES, REPEATS = 10_000_000, 40, 20, 5
FIRST_CELL, LAST_CELL = compute_cone_range(200.0, 40.0, 0.1)
CONDITIONS = {
    "first 100 of a class": "cluster_label = 7 ORDER BY anomaly_rank LIMIT 100",
    "first 100 of all": "anomaly_rank <= 100 ORDER BY anomaly_rank",
    "cone of 0.1 deg": f"_healpix_29 BETWEEN {FIRST_CELL} AND {LAST_CELL}",
}


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        files = _write_tables(Path(folder))
        return [row for name, condition in CONDITIONS.items() for row in _time_query(name, condition, *files)]


def _write_tables(folder: Path) -> tuple[Path, Path]:
    """Write the table as it is published, and unsorted."""
    table = _make_objects()
    parquet.write_voparquet(str(folder / "published.parquet"), table, argsort_objects(table))
    parquet.write_voparquet(str(folder / "unsorted.parquet"), table)
    return folder / "published.parquet", folder / "unsorted.parquet"


def _make_objects() -> pa.Table:
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0.0, 360.0, N_ROWS), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, N_ROWS)))
    values: dict[str, Any] = {
        "store_row": np.arange(N_ROWS),
        "ra": ra,
        "dec": dec,
        "_healpix_29": radec_to_healpix(ra, dec),
        "cluster_label": rng.integers(0, N_CLASSES, N_ROWS),
        "anomaly_rank": rng.permutation(N_ROWS) + 1,
    }
    columns = [column for column in schema.build_objects_schema(0) if column.name in values]
    for i in range(N_COLUMNS - len(columns)):
        columns.append(schema.Column(f"measure_{i:02d}", pa.float32(), "", "a number"))
        values[columns[-1].name] = rng.random(N_ROWS, np.float32)
    return schema.build_table(values, columns, {})


def _time_query(name: str, condition: str, published: Path, unsorted: Path) -> list[Row]:
    with duckdb.connect() as connection:

        def query(file: Path) -> None:
            connection.sql(f"SELECT * FROM '{file}' WHERE {condition}").fetchall()

        seconds, unsorted_seconds = time_pair(lambda: query(published), lambda: query(unsorted), REPEATS)
    reference = Row(f"{name}, unsorted", "s", unsorted_seconds)
    return [Row(name, "s", seconds).relative_to(reference), reference]
