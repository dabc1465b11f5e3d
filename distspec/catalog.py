"""The catalogue: published as Parquet, and queried with SQL.

root/catalog/<run_id>/<table>/<snapshot_id>.parquet
root/catalog/current.json       which run and which files; the only thing ever replaced
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from distspec.labels import digest, history, standing, verdicts
from distspec.lineage import fingerprint, now
from distspec.places import catalog_url, exists, get_json, join, put_json, put_table, store_url
from distspec.predicting import columns_for, predict
from distspec.storage import filesystem
from distspec.store import open_store

CURRENT = "current.json"
LEARNT = ("predictions", "label_scores")
"""Tables that people's labels make."""


@dataclass(frozen=True)
class CatalogConfig:
    """What the catalogue holds."""

    n_anomalies: int = 200
    """Rows of the table of anomalies, and at most of that of artefacts."""
    error: float = 0.1
    """Sets of labels leave out the right one this often, of each label."""

    def __post_init__(self) -> None:
        if not 0 < self.error < 1:
            raise ValueError(f"catalog.error {self.error} must lie between 0 and 1")
        if self.n_anomalies < 1:
            raise ValueError(f"catalog.n_anomalies {self.n_anomalies} must be at least 1")


def publish(
    root: str, tables: Mapping[str, pa.Table], run_id: str, snapshot_id: str, made_with: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a run's tables, then make them the current ones; return what current.json says.

    A reader takes its file list from current.json, so it sees the old catalogue or the new one; files are
    named after what they were made of, so none is ever written over.
    """
    base = catalog_url(root)
    part = fingerprint(snapshot_id, dict(made_with))
    files = {name: f"{run_id}/{name}/{part}.parquet" for name in tables}
    for name, table in tables.items():
        put_table(join(base, files[name]), table)
    current = {"run_id": run_id, "snapshot_id": snapshot_id, "made_with": dict(made_with)}
    current |= {"published": now(), "files": files}
    put_json(join(base, CURRENT), current)
    return current


def classify(root: str, error: float) -> dict[str, pa.Table]:
    """Learn people's labels anew and publish what that says; the other tables stay as they are.

    A reader sees the old or the new of ``predictions`` and ``label_scores``.

    Parameters
    ----------
    root : str
    error : float
        See `CatalogConfig`.

    Returns
    -------
    dict
        See `distspec.predicting.predict`.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    ValueError
        When nobody labelled a spectrum of the published run.
    """
    CatalogConfig(error=error)
    published = open_tables(root)["objects"]
    now_current = current(root) or {}
    kind = open_store(store_url(root), now_current["snapshot_id"]).frozen.kind
    objects = published.to_table(columns=columns_for(kind, published.schema.names))
    origin = {name.decode(): value.decode() for name, value in (published.schema.metadata or {}).items()}
    tables = predict(objects, kind, verdicts(standing(history(root))), error, origin)
    if not tables:
        raise ValueError(f"no labels of the spectra published under {root}: `distspec label FILE` adds some")
    part = fingerprint(now_current["snapshot_id"], digest(root), error)
    files = {name: f"{now_current['run_id']}/{name}/{part}.parquet" for name in tables}
    for name, table in tables.items():
        put_table(join(catalog_url(root), files[name]), table)
    kept = {name: file for name, file in now_current["files"].items() if name not in LEARNT}
    put_json(join(catalog_url(root), CURRENT), {**now_current, "files": kept | files})
    return tables


def current(root: str) -> dict[str, Any] | None:
    """Return what current.json says, or None before anything was published."""
    url = join(catalog_url(root), CURRENT)
    return get_json(url) if exists(url) else None


def open_tables(root: str) -> dict[str, ds.Dataset]:
    """Return the current catalogue's tables as Arrow datasets; columns and rows are read when asked for.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    """
    now_current = current(root)
    if now_current is None:
        raise FileNotFoundError(f"no catalogue under {root}: run `python -m jobs.pipeline` first")
    base = catalog_url(root)
    tables: dict[str, ds.Dataset] = {}
    for name, file in now_current["files"].items():
        fs, path = filesystem(join(base, file))
        tables[name] = ds.dataset(path, format="parquet", filesystem=fs)
    return tables


def query(root: str, sql: str) -> pa.Table:
    """Answer SQL (DuckDB's) over the current catalogue; each table is a view of its name.

    Raises
    ------
    ValueError
        When DuckDB does not understand the query; the message is DuckDB's.
    """
    with duckdb.connect() as connection:
        for name, dataset in open_tables(root).items():
            connection.register(name, dataset)
        try:
            answer: Any = connection.sql(sql)
            if answer is None:
                raise ValueError(f"{sql!r} gives no table: ask with SELECT")
            return answer.to_arrow_table()
        except duckdb.Error as error:
            raise ValueError(str(error)) from error


def duckdb_line(root: str) -> str:
    """Return SQL that any DuckDB can run on the current catalogue's files."""
    now_current = current(root)
    if now_current is None:
        raise FileNotFoundError(f"no catalogue under {root}")
    objects = join(catalog_url(root), now_current["files"]["objects"]).replace("'", "''")
    return (
        "SELECT cluster_label, count(*) AS n, median(z) AS z FROM "
        f"read_parquet('{objects}') GROUP BY cluster_label ORDER BY n DESC"
    )
