"""Writing to the store: one committer, many hands, everything in one commit or nothing.

Whole chunks may be written by others, into forks of the transaction's session; what shares a chunk with
other rows, the ledger and the logs are the committer's alone. Nothing is seen before `commit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import icechunk
import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from distspec.core.errors import QuarantineRecord
from distspec.core.spectrum import Floats32
from distspec.store.columns import (
    METADATA_COLUMNS,
    QUARANTINE_COLUMNS,
    WITHDRAWAL_COLUMNS,
    compute_metadata_checksums,
)
from distspec.store.store import Store, open_repository, open_store

CONFLICT_MESSAGE = "another run committed to {url} meanwhile: wait for it to end, then run this again"


class Transaction:
    """One commit in the making.

    Parameters
    ----------
    store : Store
        The newest state.

    Raises
    ------
    RuntimeError
        When another run committed since `store` was opened.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.session = open_repository(store.url).writable_session("main")
        if self.session.snapshot_id != store.snapshot_id:
            raise RuntimeError(CONFLICT_MESSAGE.format(url=store.url))
        self.ingest_commit = store.n_ingest_commits

    @property
    def group(self) -> zarr.Group:
        """The store as it will be."""
        return zarr.open_group(self.session.store, mode="r+")

    def write_spectra(self, start: int, flux: Floats32, ivar: Floats32) -> None:
        """Put (n, L) spectra at row `start`; rows before it in its chunk stay."""
        resize_and_write(self.group, start, start + len(flux), flux, ivar)

    def append_rows(self, rows: pa.Table) -> None:
        """Append to the ledger: `METADATA_COLUMNS`'s columns but ``batch``."""
        columns: dict[str, Any] = {
            name: rows[name].to_numpy() for name in METADATA_COLUMNS if name != "batch"
        }
        columns["batch"] = np.full(len(rows), self.ingest_commit, np.int32)
        _append_columns(self.group, "", columns | {"ledger_checksum": compute_metadata_checksums(columns)})

    def append_quarantine(self, rejected: Sequence[QuarantineRecord]) -> None:
        """Append to the quarantine's log."""
        columns: dict[str, Any] = {
            name: [str(getattr(row, name)) for row in rejected]
            for name in QUARANTINE_COLUMNS
            if name != "batch"
        }
        _append_columns(
            self.group, "quarantine", columns | {"batch": np.full(len(rejected), self.ingest_commit)}
        )

    def release_from_quarantine(self, object_ids: Sequence[str]) -> None:
        """Take objects out of quarantine."""
        columns: dict[str, Any] = {name: [""] * len(object_ids) for name in QUARANTINE_COLUMNS}
        batch = np.full(len(object_ids), self.ingest_commit)
        _append_columns(self.group, "quarantine", columns | {"object_id": list(object_ids), "batch": batch})

    def set_withdrawn(self, rows: NDArray[np.int64], withdrawn: bool) -> None:
        """Mark rows as withdrawn by the archive, or as back in it."""
        n = len(rows)
        columns = {"row": rows, "withdrawn": np.full(n, withdrawn), "batch": np.full(n, self.ingest_commit)}
        _append_columns(self.group, "marks", {name: columns[name] for name in WITHDRAWAL_COLUMNS})

    def commit(self, message: str, metadata: Mapping[str, Any]) -> Store:
        """Commit, and return the state after.

        Parameters
        ----------
        message : str
        made_by : mapping
            Kept with the commit, beside its number and the rows there are after it.

        Raises
        ------
        RuntimeError
            When another run committed meanwhile; nothing of this is then in the store.
        """
        group = self.group
        group.attrs["n_batches"] = self.ingest_commit + 1
        flux: Any = group["flux"]
        metadata = {**metadata, "batch": self.ingest_commit, "n_rows": int(flux.shape[0])}
        return commit_session(self._store.url, self.session, message, metadata)


def commit_session(url: str, session: icechunk.Session, message: str, metadata: Mapping[str, Any]) -> Store:
    """Commit a session and return the state after.

    Raises
    ------
    RuntimeError
        When another run committed meanwhile; nothing of this session is then in the store.
    """
    try:
        session.commit(message, metadata=dict(metadata))
    except icechunk.ConflictError as error:
        raise RuntimeError(CONFLICT_MESSAGE.format(url=url)) from error
    return open_store(url)


def resize_and_write(
    group: zarr.Group, start: int, n_total_rows: int, flux: Floats32, ivar: Floats32
) -> None:
    """Make room for `n_total_rows` rows, and put (n, L) spectra at row `start`."""
    for name, values in (("flux", flux), ("ivar", ivar)):
        array: Any = group[name]
        if array.shape[0] < n_total_rows:
            array.resize((n_total_rows, *array.shape[1:]))
        array[start : start + len(values)] = values


def write_chunks_to_fork(
    fork: icechunk.ForkSession, start: int, n_total_rows: int, flux: Floats32, ivar: Floats32
) -> icechunk.ForkSession:
    """Write whole chunks from row `start` into a fork, which goes back to be merged."""
    resize_and_write(zarr.open_group(fork.store, mode="r+"), start, n_total_rows, flux, ivar)
    return fork


def split_at_chunks(start: int, stop: int, chunk_rows: int) -> list[tuple[int, int]]:
    """Cut rows into spans that share no chunk.

    Examples
    --------
    >>> spans(100, 9000, 4096)
    [(100, 4096), (4096, 8192), (8192, 9000)]
    """
    edges = [start, *range((start // chunk_rows + 1) * chunk_rows, stop, chunk_rows), stop]
    return list(pairwise(edges)) if stop > start else []


def _append_columns(group: zarr.Group, prefix: str, columns: Mapping[str, Any]) -> None:
    """Append along the first axis: only the partial last chunk is read again."""
    for name, values in columns.items():
        array: Any = group[f"{prefix}/{name}".lstrip("/")]
        n = array.shape[0]
        if len(values):
            array.resize((n + len(values),))
            array[n:] = np.asarray(values, dtype=array.dtype)
