"""Proof that a store is whole: every row there, unaltered, accounted for, and its history unbroken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import icechunk
import numpy as np
import pyarrow as pa
from tqdm import tqdm

from distspec.core.errors import QuarantineReason
from distspec.core.spectrum import compute_row_checksums
from distspec.io.files import read_json, url_exists
from distspec.io.paths import join_url, model_url, store_url
from distspec.store.columns import (
    METADATA_COLUMNS,
    QUARANTINE_COLUMNS,
    WITHDRAWAL_COLUMNS,
    compute_metadata_checksums,
)
from distspec.store.snapshots import model_tag
from distspec.store.sources import format_position_names, separation
from distspec.store.store import Store, open_repository, open_store

N_READ_THREADS = 4
"""Chunks read at a time."""
MAX_LISTED_ROWS = 5
"""Rows that a finding names."""


def verify_store(root: str, snapshot: str = "") -> tuple[Store, list[str]]:
    """Check a store from its pixels to its history.

    Parameters
    ----------
    root : str
    snapshot : str
        A snapshot's id or tag; empty for the newest state.

    Returns
    -------
    Store
        What was checked.
    list of str
        What is wrong, in words that name rows and objects; empty where nothing is.
    """
    store = open_store(store_url(root), snapshot)
    if unreadable := [*_check_lengths(store), *_check_readable(store)]:
        return store, unreadable  # nothing more can be said without a ledger
    checks = (_check_metadata, _check_logs, _check_sources, _check_history, _check_tags)
    found = [problem for check in checks for problem in check(root, store)]
    return store, [*found, *_check_pixels(store)]


def _check_lengths(store: Store) -> Iterator[str]:
    n = store.n_rows
    for name in ("ivar", *METADATA_COLUMNS, "ledger_checksum"):
        if (length := store.open_array(name).shape[0]) != n:
            yield f"{name} has {length:,} rows, flux {n:,}"
    for log, columns in (("quarantine", QUARANTINE_COLUMNS), ("marks", WITHDRAWAL_COLUMNS)):
        lengths = {store.open_array(f"{log}/{name}").shape[0] for name in columns}
        if len(lengths) > 1:
            yield f"{log}: columns of lengths {sorted(lengths)}"


def _check_readable(store: Store) -> Iterator[str]:
    logs = [
        f"{log}/{name}"
        for log, columns in (("quarantine", QUARANTINE_COLUMNS), ("marks", WITHDRAWAL_COLUMNS))
        for name in columns
    ]
    for name in (*METADATA_COLUMNS, "ledger_checksum", *logs):
        array = store.open_array(name)
        for start in range(0, array.shape[0], array.chunks[0]):
            stop = min(start + array.chunks[0], array.shape[0])
            try:
                array[start:stop]
            except Exception as error:  # as many kinds as there are codecs and disks
                yield f"{name} cannot be read, rows {start:,} to {stop - 1:,}: {_summarize_error(error)}"


def _check_metadata(_root: str, store: Store) -> Iterator[str]:
    ledger = store.ledger()
    checksum: Any = store.open_array("ledger_checksum")[:]
    altered = (
        compute_metadata_checksums({name: ledger[name].to_numpy() for name in METADATA_COLUMNS}) != checksum
    )
    if altered.any():
        yield f"ledger is not what was stored: {_describe_rows(store, altered)}"
    batch = ledger["batch"].to_numpy()
    if len(batch) and (np.any(np.diff(batch) < 0) or batch[-1] >= store.n_ingest_commits or batch[0] < 0):
        yield f"batches of rows do not grow from 0 to below {store.n_ingest_commits}"
    unusable = ~np.isfinite(np.stack([ledger[name].to_numpy() for name in ("ra", "dec", "z")])).all(axis=0)
    unusable |= ledger["n_valid"].to_numpy() <= 0
    unusable |= np.asarray([not name for name in ledger["object_id"].to_pylist()], dtype=bool)
    if unusable.any():
        yield f"rows without a key, a position, a redshift or a valid pixel: {_describe_rows(store, unusable)}"
    last: dict[str, str] = {}
    twice = np.zeros(len(ledger), dtype=bool)
    pairs = zip(ledger["object_id"].to_pylist(), ledger["version"].to_pylist(), strict=True)
    for row, (name, version) in enumerate(pairs):
        twice[row] = last.get(name) == version
        last[name] = version
    if twice.any():
        yield f"the same version of an object again: {_describe_rows(store, twice)}"


def _check_logs(_root: str, store: Store) -> Iterator[str]:
    marks = store.read_log("marks", {"row": WITHDRAWAL_COLUMNS["row"]})["row"].to_numpy()
    if len(marks) and (marks.min() < 0 or marks.max() >= store.n_rows):
        yield f"marks of rows up to {marks.max():,}, where there are {store.n_rows:,}"
    known = {"", *(str(reason) for reason in QuarantineReason)}
    reasons = set(store.read_log("quarantine", {"reason": "str"})["reason"].to_pylist())
    if reasons - known:
        yield f"quarantine with unknown reasons {sorted(reasons - known)}"


def _check_sources(_root: str, store: Store) -> Iterator[str]:
    """Find spectra too far from the first position of the source that is named after it."""
    ledger = store.ledger(["source_id", "ra", "dec"])
    names: Any = np.asarray(store.open_array("source_id")[:])
    ra, dec = ledger["ra"].to_numpy(), ledger["dec"].to_numpy()
    _, first, which = np.unique(names, return_index=True, return_inverse=True)
    radius = store.config.join_radius
    by_position = np.asarray(format_position_names(ra[first], dec[first]), dtype=names.dtype) == names[first]
    far = separation(ra, dec, ra[first][which], dec[first][which]) > 1.001 * radius
    strangers = far & by_position[which]
    if strangers.any():
        yield f"rows further than {radius}″ from their source: {_describe_rows(store, strangers)}"


def _check_history(_root: str, store: Store) -> Iterator[str]:
    """Hold what each commit says of its number and of the rows after it against the ledger."""
    batch = store.ledger(["batch"])["batch"].to_numpy()
    numbers: list[int] = []
    for info in open_repository(store.url).ancestry(snapshot_id=store.snapshot_id):
        if "batch" not in info.metadata:
            continue
        numbers.append(int(info.metadata["batch"]))
        rows = int(np.searchsorted(batch, numbers[-1], side="right"))
        if rows != info.metadata["n_rows"]:
            yield f"commit {info.id} left {info.metadata['n_rows']:,} rows, the ledger has {rows:,} up to it"
    expected = list(range(store.n_ingest_commits - 1, store.n_ingest_commits - 1 - len(numbers), -1))
    if numbers != expected:
        yield f"commits of batches {numbers[:MAX_LISTED_ROWS]} … where {expected[:MAX_LISTED_ROWS]} … should be"
    if not numbers and store.n_ingest_commits:
        yield f"no commit of the {store.n_ingest_commits} batches is in the history"


def _check_tags(root: str, store: Store) -> Iterator[str]:
    """Find names whose snapshot is gone, and models whose name it does not bear."""
    repo = open_repository(store.url)
    for name in sorted(repo.list_tags()):
        try:
            repo.readonly_session(tag=name)
        except icechunk.IcechunkError as error:
            yield f"snapshot {name} cannot be opened: {error}"
            continue
        if name.startswith("model-"):
            record = join_url(model_url(root, name.removeprefix("model-")), "model.json")
            if url_exists(record):
                model = read_json(record)
                if model_tag(str(model["model_id"])) != name or repo.lookup_tag(name) != model["snapshot_id"]:
                    yield f"{record} names snapshot {model['snapshot_id']}, its tag {repo.lookup_tag(name)}"


def _check_pixels(store: Store) -> Iterator[str]:
    """Find chunks that are missing or damaged, and rows that are not what their checksums vouch for."""
    checksum = store.ledger(["checksum"])["checksum"].to_numpy()
    n, step = store.n_rows, store.chunk_rows
    starts = range(0, n, step)
    for name in ("flux", "ivar"):
        missing = set(range(len(starts))) - _existing_chunks(store, name)
        for chunk in sorted(missing):
            flags = np.zeros(n, dtype=bool)
            flags[chunk * step : (chunk + 1) * step] = True
            yield f"a chunk of {name} is missing: {_describe_rows(store, flags)}"

    def check(start: int) -> str | None:
        rows = slice(start, min(start + step, n))
        flags = np.zeros(n, dtype=bool)
        try:
            flags[rows] = compute_row_checksums(*store.read_spectra(rows)) != checksum[rows]
        except Exception as error:  # a damaged chunk breaks its decoder in as many ways as there are codecs
            flags[rows] = True
            return f"{_summarize_error(error)} where these should be: {_describe_rows(store, flags)}"
        return (
            f"pixels are not those that were stored: {_describe_rows(store, flags)}" if flags.any() else None
        )

    with (
        ThreadPoolExecutor(N_READ_THREADS) as pool,
        tqdm(total=n, desc="verify", unit="row", disable=None) as bar,
    ):
        for problem in pool.map(check, starts):
            bar.update(min(step, n - bar.n))
            if problem is not None:
                yield problem


def _existing_chunks(store: Store, name: str) -> set[int]:
    """Return which chunks of an array exist: one that does not would read as zeros."""

    async def collect() -> set[int]:
        session = open_repository(store.url).readonly_session(snapshot_id=store.snapshot_id)
        return {coordinates[0] async for coordinates in session.chunk_coordinates(f"/{name}")}

    return asyncio.run(collect())


def _summarize_error(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _describe_rows(store: Store, mask: Any) -> str:
    rows = np.flatnonzero(mask)
    ids = store.ledger(["object_id"])["object_id"].take(pa.array(rows[:MAX_LISTED_ROWS])).to_pylist()
    named = ", ".join(f"row {row} ({name})" for row, name in zip(rows, ids, strict=False))
    return named + (f" and {len(rows) - MAX_LISTED_ROWS:,} more" if len(rows) > MAX_LISTED_ROWS else "")
