"""Queries of `objects` as it is published against the same rows in no order: 10,000,000 × 40.

Random numbers in twenty classes all over the sky. Each query asks for all forty columns, in turns of both
files, on local disk from the page cache, by DuckDB on as many threads as there are cores.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from distspec.catalog.editions import argsort_objects
from distspec.catalog.healpix import compute_cone_range, radec_to_healpix
from distspec.core import schema
from distspec.io import parquet
from tests.benchmarks.timing import Row, paired

N_ROWS, N_COLUMNS, N_CLASSES, REPEATS = 10_000_000, 40, 20, 5
FIRST, LAST = compute_cone_range(200.0, 40.0, 0.1)
QUERIES = {
    "top 100 of a class": "cluster_label = 7 ORDER BY anomaly_rank LIMIT 100",
    "first 100 by rank": "anomaly_rank <= 100 ORDER BY anomaly_rank",
    "cells of a cone of 0.1 deg": f"_healpix_29 BETWEEN {FIRST} AND {LAST}",
}


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        files = _write(Path(folder))
        return [row for what, where in QUERIES.items() for row in _compare(what, where, *files)]


def _write(folder: Path) -> tuple[Path, Path]:
    table = _objects()
    parquet.write_voparquet(str(folder / "published.parquet"), table, argsort_objects(table))
    parquet.write_voparquet(str(folder / "unsorted.parquet"), table)
    return folder / "published.parquet", folder / "unsorted.parquet"


def _objects() -> pa.Table:
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0.0, 360.0, N_ROWS), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, N_ROWS)))
    values = {
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


def _compare(what: str, where: str, published: Path, unsorted: Path) -> list[Row]:
    with duckdb.connect() as connection:

        def ask(file: Path) -> None:
            connection.sql(f"SELECT * FROM '{file}' WHERE {where}").fetchall()

        ours, theirs = paired(lambda: ask(published), lambda: ask(unsorted), REPEATS)
    plain = Row(f"{what}, unsorted", "s", theirs)
    return [Row(what, "s", ours).run_null_test(plain), plain]
