"""The published catalogues of a root: which files are whose, which are current, and opening them.

root/catalog/<run_id>/<table>/<edition>.parquet
root/catalog/<run_id>/<edition>.json    the record of an edition, written once, after its files
root/catalog/current.json               a copy of the record that is current; the only thing ever replaced
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from distspec.lineage import fingerprint, now
from distspec.parquet import write
from distspec.places import catalog_url, exists, get_json, join, names, put_json
from distspec.storage import filesystem

CURRENT = "current.json"
FORMAT = 2
"""Of the files: those of another format are published anew."""


def edition_of(snapshot_id: str, made_with: Mapping[str, Any]) -> str:
    """Name what these settings publish of a run and a state of the store."""
    return fingerprint(FORMAT, snapshot_id, dict(made_with))


def publish(
    root: str, tables: Mapping[str, pa.Table], run_id: str, snapshot_id: str, made_with: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a run's tables, then make them the current ones; return their record.

    A reader takes its files from a record, so it sees one edition whole: files and records are named after
    what they were made of, and none is ever written over.
    """
    base, edition = catalog_url(root), edition_of(snapshot_id, made_with)
    record: dict[str, Any] = {
        "run_id": run_id,
        "edition": edition,
        "snapshot_id": snapshot_id,
        "made_with": dict(made_with),
        "published": now(),
        "files": {name: f"{run_id}/{name}/{edition}.parquet" for name in tables},
        "rows": {name: len(table) for name, table in tables.items()},
    }
    if exists(_record_url(root, run_id, edition)):  # its files are whole
        record = get_json(_record_url(root, run_id, edition))
    else:
        for name, table in tables.items():
            order = reading_order(table) if name == "objects" else None
            write(join(base, record["files"][name]), table, order)
        put_json(_record_url(root, run_id, edition), record)
    put_json(join(base, CURRENT), record)
    return record


def republish(root: str, run_id: str, edition: str) -> dict[str, Any] | None:
    """Make an edition current that was published before; return its record, None where there is none."""
    url = _record_url(root, run_id, edition)
    if not exists(url):
        return None
    put_json(join(catalog_url(root), CURRENT), get_json(url))
    return get_json(url)


def reading_order(objects: pa.Table) -> NDArray[np.int64]:
    """Return the order of rows in the file of ``objects``, (N,).

    By class, then by decade of `anomaly_rank` (1, 2–10, 11–100 …), then along the sky. A class is one stretch
    of the file; the oddest of all are at the beginning of each class; and what lies together on the sky
    lies together in each decade, so that few row groups hold it.

    Examples
    --------
    >>> columns = {"cluster_label": [1, 0, 0, 0], "anomaly_rank": [1, 20, 90, 2], "_healpix_29": [4, 3, 2, 9]}
    >>> reading_order(pa.table(columns))
    array([3, 2, 1, 0])
    """
    label, rank, cell = (
        objects[name].to_numpy() for name in ("cluster_label", "anomaly_rank", "_healpix_29")
    )
    return np.lexsort((cell, np.ceil(np.log10(rank)), label))


def current(root: str) -> dict[str, Any] | None:
    """Return the record of the current edition, or None before anything was published."""
    url = join(catalog_url(root), CURRENT)
    return get_json(url) if exists(url) else None


def editions(root: str) -> list[dict[str, Any]]:
    """Return the records of all that was published, the oldest first."""
    base = catalog_url(root)
    files = [name for name in names(base) if name.count("/") == 1 and name.endswith(".json")]
    return sorted((get_json(join(base, file)) for file in files), key=lambda record: record["published"])


def record_of(root: str, run: str = "") -> dict[str, Any]:
    """Return a record: the current one, or the newest of a run.

    Parameters
    ----------
    root : str
    run : str
        A run's id, or <run_id>/<edition>; empty: what is current.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    ValueError
        When that run was not.
    """
    now_current = current(root)
    if now_current is None:
        raise FileNotFoundError(f"no catalogue under {root}: run `python -m jobs.pipeline` first")
    if not run:
        return now_current
    known = editions(root)
    found = [record for record in known if run in (record["run_id"], edition_name(record))]
    if not found:
        runs = ", ".join(dict.fromkeys(record["run_id"] for record in known)) or "none"
        raise ValueError(f"run {run} is not published under {root}: there are {runs} (`distspec runs`)")
    return found[-1]


def edition_name(record: Mapping[str, Any]) -> str:
    """Return what names an edition among all of a root."""
    return f"{record['run_id']}/{record['edition']}"


def open_tables(root: str, run: str = "") -> dict[str, ds.Dataset]:
    """Return a catalogue's tables as Arrow datasets; columns and rows are read when asked for.

    Parameters
    ----------
    root : str
    run : str
        A published run's id (`distspec runs`); empty: what is current.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    ValueError
        When that run was not.
    """
    files = record_of(root, run)["files"]
    return {name: open_file(join(catalog_url(root), file)) for name, file in files.items()}


def open_file(url: str) -> ds.Dataset:
    """Return a Parquet file as an Arrow dataset."""
    fs, path = filesystem(url)
    return ds.dataset(path, format="parquet", filesystem=fs)


def _record_url(root: str, run_id: str, edition: str) -> str:
    return join(catalog_url(root), run_id, f"{edition}.json")
