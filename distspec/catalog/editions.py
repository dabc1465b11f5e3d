"""Editions of the published catalog: writing one, finding the current one, opening its tables.

Layout below a root::

    catalog/<run_id>/<table>/<edition>.parquet   a table; never overwritten
    catalog/<run_id>/<edition>.json              the record of an edition, written after its tables
    catalog/current.json                         a copy of the current record; the only file ever replaced
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from distspec.core.arrow import pc
from distspec.core.errors import CatalogError, LeaseHeldError, NotFoundError
from distspec.core.records import JsonRecord, add_checksum, compute_fingerprint, utc_now_iso
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
FORMAT_VERSION = 5
"""Version of the published tables and records; records of another version are refused."""


@dataclass(frozen=True)
class EditionRecord(JsonRecord):
    """Record of one published edition of the catalog.

    Attributes
    ----------
    format_version : int
        `FORMAT_VERSION` of the code that wrote it.
    number : int
        Number of the edition among all of the root, starting at 1.
    run_id : str
        Run that the tables come from.
    edition : str
        Fingerprint of the inputs of the edition, including the edition before it.
    snapshot_id : str
        Snapshot of the store.
    inputs : mapping
        Settings and checksums that the tables depend on, as JSON values.
    published : str
        Time of publication, UTC, ISO 8601.
    files : mapping of str to str
        Path of each table, relative to the folder ``catalog``.
    rows : mapping of str to int
        Number of rows of each table.
    sha256 : mapping of str to str
        SHA-256 of each file.
    run_checksum : str
        Checksum of the run's record; empty if there is no such run.
    lease_token : int
        Token of the lease under which it was published; 0 for none.
    checksum : str
        SHA-256 of the record without this field.
    """

    record_name: ClassVar[str] = "edition record"

    format_version: int
    number: int
    run_id: str
    edition: str
    snapshot_id: str
    inputs: Mapping[str, Any]
    published: str
    files: Mapping[str, str]
    rows: Mapping[str, int]
    sha256: Mapping[str, str]
    run_checksum: str
    lease_token: int
    checksum: str

    @property
    def name(self) -> str:
        """Name that is unique among all editions of a root: ``<run_id>/<edition>``."""
        return f"{self.run_id}/{self.edition}"

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Build the record from JSON values.

        Parameters
        ----------
        record : mapping of str to object
            Content of the record's JSON file.

        Returns
        -------
        EditionRecord

        Raises
        ------
        CatalogError
            If another version of distspec published the edition.
        """
        if record.get("format_version") != FORMAT_VERSION:
            raise CatalogError("the catalog was published by another version of distspec: use a new --root")
        return super().from_json(record)


def publish(
    root: str,
    tables: Mapping[str, pa.Table],
    run_id: str,
    snapshot_id: str,
    inputs: Mapping[str, Any],
    reused_tables: Collection[str] = (),
    base_record: EditionRecord | None = None,
    lease: Lease | None = None,
) -> EditionRecord:
    """Write the tables of a run and make them the current edition.

    Readers take all file names from one record, so they never see parts of two editions. The names of
    files and records are fingerprints of their inputs, including the edition before; none is overwritten.

    Parameters
    ----------
    root : str
        Root URL.
    tables : mapping of str to Table
        Tables to write, by name.
    run_id : str
        Run that the tables come from.
    snapshot_id : str
        Snapshot of the store that the run used.
    inputs : mapping
        Settings and checksums that the tables depend on, as JSON values.
    reused_tables : collection of str
        Names of tables that are taken unchanged from `base_record`.
    base_record : EditionRecord, optional
        Edition that `reused_tables` come from; the current edition by default.
    lease : Lease, optional
        Lease on the root. If it is lost, the edition does not become current.

    Returns
    -------
    EditionRecord
        Record of the new edition.

    Raises
    ------
    LeaseHeldError
        If another job has published since the lease was taken.
    """
    url, current = catalog_url(root), read_current_record(root)
    base = current if base_record is None else base_record
    edition = compute_fingerprint(
        FORMAT_VERSION, run_id, snapshot_id, dict(inputs), current.edition if current else ""
    )
    files = {name: f"{run_id}/{name}/{edition}.parquet" for name in tables}
    digests = {
        name: write_voparquet(
            join_url(url, files[name]), table, argsort_objects(table) if name == "objects" else None
        ).sha256
        for name, table in tables.items()
    }
    reused = {name: base for name in reused_tables if base is not None}
    content = {
        "format_version": FORMAT_VERSION,
        "number": current.number + 1 if current else 1,
        "run_id": run_id,
        "edition": edition,
        "snapshot_id": snapshot_id,
        "inputs": dict(inputs),
        "published": utc_now_iso(),
        "files": {name: record.files[name] for name, record in reused.items()} | files,
        "rows": {name: record.rows[name] for name, record in reused.items()}
        | {name: len(table) for name, table in tables.items()},
        "sha256": {name: record.sha256[name] for name, record in reused.items()} | digests,
        "run_checksum": _read_run_checksum(root, run_id),
        "lease_token": lease.token if lease else 0,
    }
    record = EditionRecord.from_json(add_checksum(content))
    write_json(join_url(url, run_id, f"{edition}.json"), record.to_json())
    _make_current(root, record, lease)
    return record


def _make_current(root: str, record: EditionRecord, lease: Lease | None) -> None:
    """Replace ``current.json``, unless a later holder of the lease has published already."""
    url = join_url(catalog_url(root), CURRENT_RECORD_FILE)
    if lease is None:
        write_json(url, record.to_json())
        return
    lease.check_held()
    existing = read_versioned(url)
    if existing and json.loads(existing[0]).get("lease_token", 0) > lease.token:
        raise LeaseHeldError(f"{url} was written by a later job: this job has lost {root}; run it again")
    if compare_and_swap(url, encode_json(record.to_json()), existing[1] if existing else None) is None:
        raise LeaseHeldError(f"{url} was replaced by another job at the same time: run this job again")


def _read_run_checksum(root: str, run_id: str) -> str:
    """Return the checksum of a run's record; empty if there is no such run."""
    url = join_url(run_url(root, run_id), "run.json")
    return str(read_json(url)["checksum"]) if url_exists(url) else ""


def is_current(
    root: str, run_id: str, snapshot_id: str, inputs: Mapping[str, Any], tables: Collection[str] = ()
) -> bool:
    """Return whether the current edition was made from exactly these inputs.

    Parameters
    ----------
    root : str
        Root URL.
    run_id : str
        Run that an edition would come from.
    snapshot_id : str
        Snapshot of the store.
    inputs : mapping
        Settings and checksums, as given to `publish`.
    tables : collection of str
        Tables that the edition must have: one of an earlier version may lack some.
    """
    current = read_current_record(root)
    if current is None or not current.files.keys() >= set(tables):
        return False
    expected = (run_id, snapshot_id, dict(inputs), _read_run_checksum(root, run_id))
    return (current.run_id, current.snapshot_id, current.inputs, current.run_checksum) == expected


def argsort_objects(objects: pa.Table) -> NDArray[np.int64]:
    """Return the order in which rows of ``objects`` are written.

    Rows are sorted by class, then by decade of `anomaly_rank` (1, 2-10, 11-100, ...), then by HEALPix cell.
    A class is thus one stretch of the file, with its most anomalous spectra first, and a region of the sky
    lies in few row groups; spectra without a position come first.

    Parameters
    ----------
    objects : Table
        Columns ``cluster_label``, ``anomaly_rank`` and ``_healpix_29``.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Row numbers.

    Examples
    --------
    >>> columns = {"cluster_label": [1, 0, 0, 0], "anomaly_rank": [1, 20, 90, 2], "_healpix_29": [4, 3, 2, 9]}
    >>> argsort_objects(pa.table(columns))
    array([3, 2, 1, 0])
    """
    label, rank = (objects[name].to_numpy() for name in ("cluster_label", "anomaly_rank"))
    cell = objects["_healpix_29"].fill_null(-1).to_numpy()
    return np.lexsort((cell, np.ceil(np.log10(rank)), label))


def count_classes(root: str, record: EditionRecord) -> int:
    """Return the number of classes of an edition, without noise.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    record : EditionRecord
        Record of the edition.

    Returns
    -------
    int
    """
    classes = open_record_tables(root, record)["classes"]
    return int(classes.count_rows(filter=pc.field("cluster_label") >= 0))


def read_current_record(root: str) -> EditionRecord | None:
    """Return the record of the current edition, or None if nothing is published.

    Parameters
    ----------
    root : str
        Root of the catalog.

    Returns
    -------
    EditionRecord or None
        None if nothing is published.

    Raises
    ------
    CatalogError
        If another version of distspec published it.
    """
    url = join_url(catalog_url(root), CURRENT_RECORD_FILE)
    return EditionRecord.from_json(read_json(url)) if url_exists(url) else None


def read_edition_records(root: str) -> list[EditionRecord]:
    """Return the records of all editions of a root, oldest first.

    Parameters
    ----------
    root : str
        Root of the catalog.

    Returns
    -------
    list of EditionRecord
        Records, oldest first.

    Raises
    ------
    CatalogError
        If another version of distspec published one of them.
    """
    base = catalog_url(root)
    files = [name for name in list_files(base) if name.count("/") == 1 and name.endswith(".json")]
    records = [EditionRecord.from_json(read_json(join_url(base, file))) for file in files]
    return sorted(records, key=lambda record: record.number)


def find_record(root: str, run_id: str = "") -> EditionRecord:
    """Return the record of the current edition, or of the newest edition of a run.

    Parameters
    ----------
    root : str
        Root URL.
    run_id : str
        Name of a run or of an edition (``<run_id>/<edition>``); empty for the current edition.

    Returns
    -------
    EditionRecord
        Record of the edition.

    Raises
    ------
    NotFoundError
        If nothing is published.
    CatalogError
        If the run is not published.
    """
    current = read_current_record(root)
    if current is None:
        raise NotFoundError(f"no catalog under {root}: run `distspec run RECIPE --root {root}` first")
    if not run_id:
        return current
    records = read_edition_records(root)
    matches = [record for record in records if run_id in (record.run_id, record.name)]
    if not matches:
        runs = ", ".join(dict.fromkeys(record.run_id for record in records))
        raise CatalogError(
            f"run {run_id} is not published under {root}: choose one of {runs} (`distspec runs`)"
        )
    return matches[-1]


def open_tables(root: str, run_id: str = "") -> dict[str, ds.Dataset]:
    """Open the tables of an edition as Arrow datasets, which read columns and rows on request.

    Parameters
    ----------
    root : str
        Root URL.
    run_id : str
        Name of a run or of an edition (``<run_id>/<edition>``); empty for the current edition.

    Returns
    -------
    dict of str to Dataset
        Datasets by table name.

    Raises
    ------
    NotFoundError
        If nothing is published.
    CatalogError
        If the run is not published.
    """
    return open_record_tables(root, find_record(root, run_id))


def open_record_tables(root: str, record: EditionRecord) -> dict[str, ds.Dataset]:
    """Open the tables that a record names as Arrow datasets.

    Parameters
    ----------
    root : str
        Root of the catalog.
    record : EditionRecord
        Record of the edition.

    Returns
    -------
    dict of str to pyarrow.dataset.Dataset
        Tables by name.
    """
    return {
        name: open_parquet_dataset(join_url(catalog_url(root), file)) for name, file in record.files.items()
    }


def open_parquet_dataset(url: str) -> ds.Dataset:
    """Open a Parquet file as an Arrow dataset.

    Parameters
    ----------
    url : str
        URL of the Parquet file.

    Returns
    -------
    pyarrow.dataset.Dataset
    """
    fs, path = url_to_fs(url)
    return ds.dataset(path, format="parquet", filesystem=fs)
