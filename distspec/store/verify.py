"""Integrity check of a store: lengths, checksums, logs, sources, history and tags."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import icechunk
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from distspec.core.arrow import pc
from distspec.core.errors import QuarantineReason
from distspec.core.spectrum import compute_row_checksums
from distspec.io.files import read_json, url_exists
from distspec.io.paths import join_url, model_url, store_url
from distspec.io.remote.files import run_coroutine
from distspec.store.columns import (
    METADATA_COLUMNS,
    QUARANTINE_COLUMNS,
    WITHDRAWAL_COLUMNS,
    compute_metadata_checksums,
)
from distspec.store.snapshots import model_tag
from distspec.store.sources import format_position_names, separation
from distspec.store.store import Store, open_repository, open_store
from distspec.store.transactions import parse_commit_record

N_READ_THREADS = 4
"""Number of chunks that are read at a time."""
MAX_LISTED_ROWS = 5
"""Number of rows or commits that a problem lists by name."""
LOGS = (("quarantine", QUARANTINE_COLUMNS), ("withdrawals", WITHDRAWAL_COLUMNS))


def verify_store(root: str, snapshot: str = "") -> tuple[Store, list[str]]:
    """Check a store from its pixels to its history.

    Parameters
    ----------
    root : str
        Root of the store.
    snapshot : str, optional
        Identifier or tag of a snapshot; the newest one by default.

    Returns
    -------
    store : Store
        The snapshot that was checked.
    problems : list of str
        One line for each problem, with the rows and objects concerned; empty for an intact store.

    Raises
    ------
    NotFoundError
        If the root has no store.
    StoreError
        If there is no such snapshot, or the store has another format version.
    """
    store = open_store(store_url(root), snapshot)
    if unreadable := [*_check_lengths(store), *_check_readable(store)]:
        return store, unreadable  # the other checks need a readable ledger
    checks = (_check_metadata, _check_logs, _check_sources, _check_history, _check_tags)
    problems = [problem for check in checks for problem in check(root, store)]
    return store, [*problems, *_check_pixels(store)]


def _check_lengths(store: Store) -> Iterator[str]:
    """Find arrays whose lengths do not agree."""
    n = store.n_rows
    for name in ("ivar", *METADATA_COLUMNS, "ledger_checksum", *store.observation_paths()):
        if (length := store.open_array(name).shape[0]) != n:
            yield f"{name} has {length:,} rows, flux {n:,}"
    for log, columns in LOGS:
        lengths = {store.open_array(f"{log}/{name}").shape[0] for name in columns}
        if len(lengths) > 1:
            yield f"{log}: columns of lengths {sorted(lengths)}"


def _check_readable(store: Store) -> Iterator[str]:
    """Find chunks of the ledger and the logs that cannot be read."""
    logs = [f"{log}/{name}" for log, columns in LOGS for name in columns]
    for name in (*METADATA_COLUMNS, "ledger_checksum", *store.observation_paths(), *logs):
        array = store.open_array(name)
        for start in range(0, array.shape[0], array.chunks[0]):
            stop = min(start + array.chunks[0], array.shape[0])
            try:
                array[start:stop]
            except Exception as error:  # the type depends on the codec and on the storage
                yield f"{name} cannot be read, rows {start:,} to {stop - 1:,}: {_summarize_error(error)}"


def _check_metadata(_root: str, store: Store) -> Iterator[str]:
    """Find ledger rows that were altered, are unusable, or repeat the row before."""
    ledger = store.ledger()
    checksum: Any = store.open_array("ledger_checksum")[:]
    observation = store.read_observations()
    computed = compute_metadata_checksums(
        {name: ledger[name].to_numpy() for name in METADATA_COLUMNS},
        {name: pc.fill_null(observation[name], "").to_numpy() for name in observation.column_names},
    )
    if (altered := computed != checksum).any():
        yield f"ledger differs from what was stored: {_describe_rows(store, altered)}"
    commit, n_commits = ledger["ingest_commit"].to_numpy(), store.n_ingest_commits
    if len(commit) and (np.any(np.diff(commit) < 0) or commit[-1] >= n_commits or commit[0] < 0):
        yield f"ingest_commit does not increase from 0 to below {n_commits}"
    needed = ("ra", "dec", "z") if store.config.requires_position else ("z",)
    unusable = ~np.isfinite(np.stack([ledger[name].to_numpy() for name in needed])).all(axis=0)
    unusable |= ledger["n_valid"].to_numpy() <= 0
    unusable |= np.asarray([not name for name in ledger["object_id"].to_pylist()], dtype=bool)
    if unusable.any():
        rows = _describe_rows(store, unusable)
        yield f"rows without a key, a position, a redshift or a valid pixel: {rows}"
    if (repeated := _find_repeated_versions(ledger)).any():
        yield f"the same version of an object again: {_describe_rows(store, repeated)}"


def _find_repeated_versions(ledger: pa.Table) -> NDArray[np.bool_]:
    """Return which rows have the version of the row before of the same object."""
    last: dict[str, str] = {}
    repeated = np.zeros(len(ledger), dtype=bool)
    pairs = zip(ledger["object_id"].to_pylist(), ledger["version"].to_pylist(), strict=True)
    for row, (name, version) in enumerate(pairs):
        repeated[row] = last.get(name) == version
        last[name] = version
    return repeated


def _check_logs(_root: str, store: Store) -> Iterator[str]:
    """Find log entries of rows that do not exist or with unknown reasons."""
    rows = store.read_log("withdrawals", {"row": WITHDRAWAL_COLUMNS["row"]})["row"].to_numpy()
    if len(rows) and (rows.min() < 0 or rows.max() >= store.n_rows):
        yield f"withdrawals of rows up to {rows.max():,}, where there are {store.n_rows:,}"
    known = {"", *(str(reason) for reason in QuarantineReason)}
    reasons = set(store.read_log("quarantine", {"reason": "str"})["reason"].to_pylist())
    if reasons - known:
        yield f"quarantine with unknown reasons {sorted(reasons - known)}"


def _check_sources(_root: str, store: Store) -> Iterator[str]:
    """Find spectra too far from the first position of a source that is named after its position."""
    ledger = store.ledger(["source_id", "ra", "dec"])
    located = np.isfinite(ledger["ra"].to_numpy()) & np.isfinite(ledger["dec"].to_numpy())
    names: Any = np.asarray(store.open_array("source_id")[:])[located]
    ra, dec = ledger["ra"].to_numpy()[located], ledger["dec"].to_numpy()[located]
    _, first, which = np.unique(names, return_index=True, return_inverse=True)
    radius = store.config.join_radius
    by_position = np.asarray(format_position_names(ra[first], dec[first]), dtype=names.dtype) == names[first]
    is_far = separation(ra, dec, ra[first][which], dec[first][which]) > 1.001 * radius
    misplaced = np.zeros(len(located), dtype=bool)
    misplaced[located] = is_far & by_position[which]
    if misplaced.any():
        yield f"rows further than {radius}″ from their source: {_describe_rows(store, misplaced)}"


def _check_history(_root: str, store: Store) -> Iterator[str]:
    """Compare the number and the row count that each ingest commit records with the ledger."""
    column = store.ledger(["ingest_commit"])["ingest_commit"].to_numpy()
    numbers: list[int] = []
    for info in open_repository(store.url).ancestry(snapshot_id=store.snapshot_id):
        record = parse_commit_record(info.metadata)
        if record is None:
            continue
        numbers.append(record.ingest_commit)
        n_rows = int(np.searchsorted(column, record.ingest_commit, side="right"))
        if n_rows != record.n_rows:
            yield f"commit {info.id} left {record.n_rows:,} rows, the ledger has {n_rows:,} up to it"
    last = store.n_ingest_commits - 1
    expected = list(range(last, last - len(numbers), -1))
    if numbers != expected:
        first, first_expected = numbers[:MAX_LISTED_ROWS], expected[:MAX_LISTED_ROWS]
        yield f"ingest commits {first} … where {first_expected} … are expected"
    if not numbers and store.n_ingest_commits:
        yield f"none of the {store.n_ingest_commits} ingest commits is in the history"


def _check_tags(root: str, store: Store) -> Iterator[str]:
    """Find tags whose snapshot cannot be opened, and models whose record disagrees with their tag."""
    repository = open_repository(store.url)
    for name in sorted(repository.list_tags()):
        try:
            repository.readonly_session(tag=name)
        except icechunk.IcechunkError as error:
            yield f"snapshot {name} cannot be opened: {error}"
            continue
        if name.startswith("model-"):
            url = join_url(model_url(root, name.removeprefix("model-")), "model.json")
            if url_exists(url):
                model = read_json(url)
                tagged = repository.lookup_tag(name)
                if model_tag(str(model["model_id"])) != name or tagged != model["snapshot_id"]:
                    yield f"{url} names snapshot {model['snapshot_id']}, its tag {tagged}"


def _check_pixels(store: Store) -> Iterator[str]:
    """Find chunks that are missing or damaged, and rows whose pixels do not match their checksums."""
    yield from _check_chunks_exist(store)
    checksum = store.ledger(["checksum"])["checksum"].to_numpy()
    n, step = store.n_rows, store.chunk_rows

    def check(start: int) -> str | None:
        rows = slice(start, min(start + step, n))
        mask = np.zeros(n, dtype=bool)
        try:
            mask[rows] = compute_row_checksums(*store.read_spectra(rows)) != checksum[rows]
        except Exception as error:  # the type depends on the codec and on the storage
            mask[rows] = True
            return f"{_summarize_error(error)} in the chunk of {_describe_rows(store, mask)}"
        return f"pixels differ from what was stored: {_describe_rows(store, mask)}" if mask.any() else None

    with (
        ThreadPoolExecutor(N_READ_THREADS) as pool,
        tqdm(total=n, desc="verify", unit="row", disable=None) as bar,
    ):
        for problem in pool.map(check, range(0, n, step)):
            bar.update(min(step, n - bar.n))
            if problem is not None:
                yield problem


def _check_chunks_exist(store: Store) -> Iterator[str]:
    """Find chunks of flux or ivar that do not exist: they would be read as zeros."""
    n, step = store.n_rows, store.chunk_rows
    for name in ("flux", "ivar"):
        for chunk in sorted(set(range(-(-n // step))) - _existing_chunks(store, name)):
            mask = np.zeros(n, dtype=bool)
            mask[chunk * step : (chunk + 1) * step] = True
            yield f"a chunk of {name} is missing: {_describe_rows(store, mask)}"


def _existing_chunks(store: Store, name: str) -> set[int]:
    """Return the numbers of an array's chunks that exist."""

    async def collect() -> set[int]:
        session = open_repository(store.url).readonly_session(snapshot_id=store.snapshot_id)
        return {coordinates[0] async for coordinates in session.chunk_coordinates(f"/{name}")}

    return run_coroutine(collect())


def _summarize_error(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _describe_rows(store: Store, mask: Any) -> str:
    """Return the first rows of a mask with their objects, and the number of the others."""
    rows = np.flatnonzero(mask)
    ids = store.ledger(["object_id"])["object_id"].take(pa.array(rows[:MAX_LISTED_ROWS])).to_pylist()
    rows_and_names = ", ".join(f"row {row} ({name})" for row, name in zip(rows, ids, strict=False))
    return rows_and_names + (
        f" and {len(rows) - MAX_LISTED_ROWS:,} more" if len(rows) > MAX_LISTED_ROWS else ""
    )
