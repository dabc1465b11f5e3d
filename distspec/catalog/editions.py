"""The published catalogues of a root: which files are whose, which are current, and opening them.

root/catalog/<run_id>/<table>/<edition>.parquet
root/catalog/<run_id>/<edition>.json    the record of an edition, written once, after its files
root/catalog/current.json               a copy of the record that is current; the only thing ever replaced
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from distspec.core.records import add_checksum, compute_fingerprint, utc_now_iso
from distspec.io.files import (
    compare_and_swap,
    encode_json,
    list_files,
    read_json,
    read_versioned,
    url_exists,
    write_json,
)
from distspec.io.lease import Lease
from distspec.io.parquet import write_voparquet
from distspec.io.paths import catalog_url, join_url, run_url
from distspec.io.storage import url_to_fs

CURRENT_RECORD_FILE = "current.json"
FORMAT_VERSION = 3
"""Of the files: those of another format are published anew."""


@dataclass(frozen=True)
class CatalogConfig:
    """What the catalogue holds."""

    n_anomalies: int = 200
    """Rows of the table of anomalies, and at most of that of artefacts."""
    alpha: float = 0.1
    """Sets of labels leave out the right one this often, of each label."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"catalog.error {self.alpha} must lie between 0 and 1")
        if self.n_anomalies < 1:
            raise ValueError(f"catalog.n_anomalies {self.n_anomalies} must be at least 1")


def publish(
    root: str,
    tables: Mapping[str, pa.Table],
    run_id: str,
    snapshot_id: str,
    inputs: Mapping[str, Any],
    reused_tables: Collection[str] = (),
    base_record: Mapping[str, Any] | None = None,
    lease: Lease | None = None,
) -> dict[str, Any]:
    """Write a run's tables, then make them the current ones; return their record.

    A reader takes its files from a record, so it sees one edition whole: files and records are named after
    what they were made of, the edition before among it, and none is ever written over.

    Parameters
    ----------
    root : str
    tables : mapping
    run_id, snapshot_id : str
    inputs : mapping
        Settings, as JSON holds them.
    reused_tables : collection of str
        Tables of an edition that are of this one, too, as they are.
    base_record : mapping, optional
        The record of that edition; None: of the current one.
    lease : Lease, optional
        Of the root: who lost it makes nothing current.

    Raises
    ------
    RuntimeError
        When the lease is lost, or a later holder has published already.
    """
    url, before = (
        catalog_url(root),
        read_current_record(root) or {"edition": "", "files": {}, "rows": {}, "sha256": {}},
    )
    base_record = before if base_record is None else base_record
    edition = compute_fingerprint(
        FORMAT_VERSION, run_id, snapshot_id, dict(inputs), before.get("edition", "")
    )
    files = {name: f"{run_id}/{name}/{edition}.parquet" for name in tables}
    made = {
        name: write_voparquet(
            join_url(url, files[name]), table, argsort_objects(table) if name == "objects" else None
        ).sha256
        for name, table in tables.items()
    }
    record = {
        "format": FORMAT_VERSION,
        "number": before.get("number", 0) + 1,
        "run_id": run_id,
        "edition": edition,
        "snapshot_id": snapshot_id,
        "made_with": dict(inputs),
        "published": utc_now_iso(),
        "files": {name: base_record["files"][name] for name in reused_tables} | files,
        "rows": {name: base_record["rows"][name] for name in reused_tables}
        | {name: len(table) for name, table in tables.items()},
        "sha256": {name: base_record["sha256"][name] for name in reused_tables} | made,
        "run_seal": _read_run_checksum(root, run_id),
        "token": lease.token if lease else 0,
    }
    record = add_checksum(record)
    write_json(join_url(url, run_id, f"{edition}.json"), record)
    _make_current(root, record, lease)
    return record


def _make_current(root: str, record: Mapping[str, Any], lease: Lease | None) -> None:
    url = join_url(catalog_url(root), CURRENT_RECORD_FILE)
    if lease is None:
        write_json(url, record)
        return
    lease.check_held()
    seen = read_versioned(url)
    if seen and json.loads(seen[0]).get("token", 0) > lease.token:
        raise RuntimeError(f"{url} was written by a later run: this one has lost {root}; run it again")
    if compare_and_swap(url, encode_json(record), seen[1] if seen else None) is None:
        raise RuntimeError(f"{url} was replaced by another run this very moment: run this again")


def _read_run_checksum(root: str, run_id: str) -> str:
    """Return the seal of a run's record; empty where there is no such run."""
    url = join_url(run_url(root, run_id), "run.json")
    return str(read_json(url)["seal"]) if url_exists(url) else ""


def is_current(root: str, run_id: str, snapshot_id: str, inputs: Mapping[str, Any]) -> bool:
    """Tell whether what is current was published of this."""
    made_of = {
        "format": FORMAT_VERSION,
        "run_id": run_id,
        "snapshot_id": snapshot_id,
        "made_with": dict(inputs),
    }
    made_of["run_seal"] = _read_run_checksum(root, run_id)
    return made_of.items() <= (read_current_record(root) or {}).items()


def argsort_objects(objects: pa.Table) -> NDArray[np.int64]:
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


def read_current_record(root: str) -> dict[str, Any] | None:
    """Return the record of the current edition, or None before anything was published."""
    url = join_url(catalog_url(root), CURRENT_RECORD_FILE)
    return read_json(url) if url_exists(url) else None


def read_edition_records(root: str) -> list[dict[str, Any]]:
    """Return the records of all that was published, the oldest first."""
    base = catalog_url(root)
    files = [name for name in list_files(base) if name.count("/") == 1 and name.endswith(".json")]
    return sorted((read_json(join_url(base, file)) for file in files), key=lambda record: record["number"])


def find_record(root: str, run_id: str = "") -> dict[str, Any]:
    """Return a record: the current one, or the newest of a run.

    Parameters
    ----------
    root : str
    run_id : str
        A run's id, or <run_id>/<edition>; empty: what is current.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    ValueError
        When that run was not.
    """
    now_current = read_current_record(root)
    if now_current is None:
        raise FileNotFoundError(f"no catalogue under {root}: run `python -m jobs.pipeline` first")
    if not run_id:
        return now_current
    known = read_edition_records(root)
    found = [record for record in known if run_id in (record["run_id"], edition_name(record))]
    if not found:
        runs = ", ".join(dict.fromkeys(record["run_id"] for record in known)) or "none"
        raise ValueError(f"run {run_id} is not published under {root}: there are {runs} (`distspec runs`)")
    return found[-1]


def edition_name(record: Mapping[str, Any]) -> str:
    """Return what names an edition among all of a root."""
    return f"{record['run_id']}/{record['edition']}"


def open_tables(root: str, run_id: str = "") -> dict[str, ds.Dataset]:
    """Return a catalogue's tables as Arrow datasets; columns and rows are read when asked for.

    Parameters
    ----------
    root : str
    run_id : str
        A published run's id (`distspec runs`); empty: what is current.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    ValueError
        When that run was not.
    """
    return open_record_tables(root, find_record(root, run_id))


def open_record_tables(root: str, record: Mapping[str, Any]) -> dict[str, ds.Dataset]:
    """Return the tables that a record names, as `open_tables`."""
    return {
        name: open_parquet_dataset(join_url(catalog_url(root), file))
        for name, file in record["files"].items()
    }


def open_parquet_dataset(url: str) -> ds.Dataset:
    """Return a Parquet file as an Arrow dataset."""
    fs, path = url_to_fs(url)
    return ds.dataset(path, format="parquet", filesystem=fs)
