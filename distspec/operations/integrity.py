"""Integrity of a root: whether records, their files and the rows of the catalog are as published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from distspec.catalog.editions import EditionRecord, open_parquet_dataset, read_current_record
from distspec.core import schema
from distspec.core.errors import DistspecError
from distspec.core.records import has_valid_checksum
from distspec.io.files import compute_sha256, list_files, read_json
from distspec.io.paths import catalog_url, join_url, model_url, run_url, store_url
from distspec.models.latents import VECTOR_COLUMNS, read_latents
from distspec.models.record import CHECKSUM_FILES, read_model_record
from distspec.store.snapshots import model_tag
from distspec.store.store import Store, open_repository, open_store
from distspec.store.verify import verify_store

N_READER_THREADS = 4
"""Number of files that are read at the same time."""
MAX_ERROR_LENGTH = 200
"""Length to which the messages of unexpected errors are cut [characters]."""
RecordsByPath = Mapping[str, Mapping[str, Any]]
"""Records of models, runs and editions by path below the root."""


@dataclass(frozen=True)
class Verification:
    """Result of the verification of a root.

    Attributes
    ----------
    n_rows : int
        Number of rows of the store.
    n_commits : int
        Number of ingest commits.
    snapshot_id : str
        Snapshot of the store that was checked.
    problems : tuple of str
        Descriptions of damaged, altered and missing data; empty if there are none.
    """

    n_rows: int
    n_commits: int
    snapshot_id: str
    problems: tuple[str, ...]


def verify_root(root: str, snapshot: str = "") -> Verification:
    """Check the store from its pixels to its history, and everything that is published.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    snapshot : str
        Id or tag of the snapshot of the store to check; empty: the newest.
    """
    store, problems = verify_store(root, snapshot)
    problems = (*problems, *find_integrity_problems(root))
    return Verification(store.n_rows, store.n_ingest_commits, store.snapshot_id, problems)


def find_integrity_problems(root: str) -> list[str]:
    """Find altered and missing files and records of the catalog, its runs, its models and its data.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.

    Returns
    -------
    list of str
        Descriptions of the problems, with the names of files and records; empty if there are none.
    """
    records, problems = _read_records(root)
    checker = _RecordChecker(root, records)
    for path, record in records.items():
        problems += [f"{path}: {problem}" for problem in checker.check(path, record)]
    problems += _check_current_edition(root, records)
    if problems or (current := read_current_record(root)) is None:
        return problems
    try:
        return list(_check_catalog_rows(root, current))
    except Exception as error:  # damaged chunks raise any error of their decoders
        message = " ".join(str(error).split())[:MAX_ERROR_LENGTH]
        return [f"latents of {current.name} cannot be read: {type(error).__name__}: {message}"]


def _read_records(root: str) -> tuple[RecordsByPath, list[str]]:
    """Return the records whose checksums are right, and the problems of the others."""
    records: dict[str, Mapping[str, Any]] = {}
    problems: list[str] = []
    for folder, name in (("models", "model.json"), ("runs", "run.json"), ("catalog", "")):
        for file in list_files(join_url(root, folder)):
            if file.count("/") != 1 or not (file.endswith(f"/{name}") if name else file.endswith(".json")):
                continue
            path = f"{folder}/{file}"
            try:
                record = read_json(join_url(root, path))
            except ValueError as error:
                problems.append(f"{path} is not valid JSON: {error}")
                continue
            if has_valid_checksum(record):
                records[path] = record
            else:
                problems.append(f"{path} was altered: its checksum does not match")
    return records, problems


class _RecordChecker:
    """Checks records against their files, the records before them and the data of their snapshots."""

    def __init__(self, root: str, records: RecordsByPath) -> None:
        self._root, self._records = root, records
        self._store_url = store_url(root)
        self._tags = open_repository(self._store_url).list_tags()
        self._checked: set[tuple[str, str]] = set()
        self._dataset_checksums: dict[str, str | None] = {}

    def check(self, path: str, record: Mapping[str, Any]) -> Iterator[str]:
        """Yield the problems of a record."""
        record_type, folder = path.split("/")[0], path.rpartition("/")[0]
        yield from self._check_files(_list_files(record_type, folder, record))
        for name, checksum in _list_parents(record_type, record).items():
            if name not in self._records:
                yield f"it was made from {name}, which is missing or was altered"
            elif self._records[name]["checksum"] != checksum:
                yield f"it was made from another {name} than the one that is there"
        imported = record_type == "models" and model_tag(record["model_id"]) not in self._tags
        if record_type != "catalog" and not imported:
            yield from self._check_data(record["snapshot_id"], record["dataset_checksum"])

    def _check_files(self, files: Mapping[str, str]) -> Iterator[str]:
        """Yield the files whose SHA-256 differs; files that were checked for another record are skipped."""
        unchecked = {name: digest for name, digest in files.items() if (name, digest) not in self._checked}
        self._checked |= unchecked.items()

        def check(item: tuple[str, str]) -> str | None:
            name, digest = item
            try:
                altered = compute_sha256(join_url(self._root, name)) != digest
            except FileNotFoundError:
                return f"{name} is missing"
            return f"{name} was altered: its SHA-256 does not match" if altered else None

        with ThreadPoolExecutor(N_READER_THREADS) as pool:
            results = pool.map(check, unchecked.items())
            bar = tqdm(results, total=len(unchecked), desc="verify", unit="file", leave=False, disable=None)
            yield from (problem for problem in bar if problem is not None)

    def _check_data(self, snapshot_id: str, expected: str) -> Iterator[str]:
        digest = self._compute_dataset_checksum(snapshot_id)
        if digest is None:
            yield f"its snapshot {snapshot_id} is missing"
        elif digest != expected:
            yield f"its data set is not the one in snapshot {snapshot_id}"

    def _compute_dataset_checksum(self, snapshot_id: str) -> str | None:
        """Return the checksum of a snapshot's data set, computed once; None if there is no such snapshot."""
        if snapshot_id not in self._dataset_checksums:
            try:
                digest = open_store(self._store_url, snapshot_id).dataset_checksum()
            except DistspecError:
                digest = None
            self._dataset_checksums[snapshot_id] = digest
        return self._dataset_checksums[snapshot_id]


def _list_files(record_type: str, folder: str, record: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each file of a record, by path below the root."""
    if record_type == "models":
        return {f"{folder}/{name}": record[key] for key, name in CHECKSUM_FILES.items()}
    if record_type == "runs":
        return {f"{folder}/{name}": digest for name, digest in record["files"].items()}
    return {f"catalog/{name}": record["sha256"][table] for table, name in record["files"].items()}


def _list_parents(record_type: str, record: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums of the records that a record was made from, by path below the root."""
    if record_type == "models":
        return {}
    if record_type == "runs":
        return {f"models/{model}/model.json": checksum for model, checksum in record["models"].items()}
    return {f"runs/{record['run_id']}/run.json": record["run_checksum"]}


def _check_current_edition(root: str, records: RecordsByPath) -> Iterator[str]:
    published = [record for path, record in records.items() if path.startswith("catalog/")]
    current = read_current_record(root)
    if current is not None and current.to_json() not in published:
        yield f"catalog/current.json is not the record of any edition: {current.name}"
    if current is None and published:
        last = EditionRecord.from_json(max(published, key=lambda record: record["number"]))
        yield f"catalog/current.json is missing: {last.name} was published last"


def _check_catalog_rows(root: str, edition: EditionRecord) -> Iterator[str]:
    """Compare the rows of an edition with the store: ids, positions, redshifts and latents."""
    file = edition.files["objects"]
    store = open_store(store_url(root), edition.snapshot_id)
    objects = open_parquet_dataset(join_url(catalog_url(root), file))
    model_id = str(read_json(join_url(run_url(root, edition.run_id), "run.json"))["model_id"])
    weights = read_model_record(model_url(root, model_id)).weights_sha256
    values = (edition.run_id, model_id, store.snapshot_id, weights)
    expected = dict(zip(schema.PROVENANCE_KEYS, values, strict=True))
    metadata = {key.decode(): value.decode() for key, value in (objects.schema.metadata or {}).items()}
    if not expected.items() <= metadata.items():
        yield f"catalog/{file} names another run, model, snapshot or weights in its metadata than its record"
        return
    rows = objects.to_table(["store_row"])["store_row"].to_numpy()
    if not np.array_equal(np.sort(rows), store.current_rows()):
        yield f"catalog/{file} has other rows than the current rows of snapshot {store.snapshot_id}"
        return
    for name, stored in _iter_stored_columns(store, model_id):
        published, expected_values = objects.to_table([name])[name].to_numpy(), stored[rows]
        matches = published == expected_values
        if expected_values.dtype.kind == "f":
            matches |= np.isnan(published) & np.isnan(expected_values)
        if n := int(np.count_nonzero(~matches)):
            yield f"catalog/{file}: {name} differs from the store in {n:,} rows"


def _iter_stored_columns(store: Store, model_id: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the columns that catalog and store share, with one value per row of the store."""
    for name in ("object_id", "version", "ra", "dec", "z"):
        yield name, np.asarray(store.open_array(name)[:])
    for name, values in read_latents(store, model_id, VECTOR_COLUMNS).items():
        for i in range(values.shape[1]):
            yield f"{name}_{i:02d}", values[:, i]
