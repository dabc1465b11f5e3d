"""Writing to the store: all changes of a transaction become visible in one commit, or none does.

Other processes may write whole chunks of spectra, into forks of the transaction's session. Chunks that are
shared with other rows, the ledger and the logs are written by the process that commits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import icechunk
import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from distspec.core.errors import QuarantineRecord, StoreError
from distspec.core.records import JsonRecord
from distspec.core.spectrum import Floats32
from distspec.store.columns import (
    METADATA_COLUMNS,
    OBSERVATION_GROUP,
    QUARANTINE_COLUMNS,
    WITHDRAWAL_COLUMNS,
    compute_metadata_checksums,
)
from distspec.store.layout import create_observation_column
from distspec.store.store import Store, open_repository, open_store


@dataclass(frozen=True)
class CommitOrigin:
    """Job that makes ingest commits.

    Parameters
    ----------
    archive : str, optional
        Name of the archive that is ingested.
    lease_token : int, optional
        Token of the lease that the job holds; 0 without a lease.
    """

    archive: str = ""
    lease_token: int = 0


NO_ORIGIN = CommitOrigin()


@dataclass(frozen=True)
class CommitRecord(JsonRecord):
    """Metadata of an ingest commit in the history of the store.

    Parameters
    ----------
    ingest_commit : int
        Number of the commit among the ingest commits, from 0.
    n_new : int
        Number of rows that the commit appended.
    n_rows : int
        Number of rows in the store after the commit.
    archive : str
        Name of the archive that was ingested.
    lease_token : int
        Token of the lease under which the commit was made; 0 without a lease.
    """

    record_name: ClassVar[str] = "commit of the store"
    ingest_commit: int
    n_new: int
    n_rows: int
    archive: str
    lease_token: int


def parse_commit_record(metadata: Mapping[str, Any]) -> CommitRecord | None:
    """Return the record in the metadata of a commit; None for a commit that is not of ingest.

    Parameters
    ----------
    metadata : mapping of str to JSON value
        Metadata of the commit's snapshot.
    """
    return CommitRecord.from_json(metadata) if "ingest_commit" in metadata else None


class Transaction:
    """One commit in preparation.

    Parameters
    ----------
    store : Store
        The newest snapshot.

    Raises
    ------
    StoreError
        If another job has committed since `store` was opened.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.session = open_repository(store.url).writable_session("main")
        if self.session.snapshot_id != store.snapshot_id:
            raise _conflict_error(store.url)
        self.ingest_commit = store.n_ingest_commits

    @property
    def group(self) -> zarr.Group:
        """Root group of the store, with the changes so far."""
        return zarr.open_group(self.session.store, mode="r+")

    def write_spectra(self, start: int, flux: Floats32, ivar: Floats32) -> None:
        """Write spectra from row `start` on; earlier rows of the same chunk are kept.

        Parameters
        ----------
        start : int
            Row of the first spectrum.
        flux, ivar : ndarray of shape (n_spectra, n_pixels)
            Normalized flux and its inverse variance.
        """
        resize_and_write(self.group, start, start + len(flux), flux, ivar)

    def append_rows(self, rows: pa.Table) -> None:
        """Append rows to the ledger.

        Parameters
        ----------
        rows : pyarrow.Table
            All columns of `METADATA_COLUMNS` except ``ingest_commit``, and those of `OBSERVATION_GROUP` with
            the name of the group as a prefix, for example ``observation/program``.
        """
        columns: dict[str, Any] = {
            name: rows[name].to_numpy() for name in METADATA_COLUMNS if name != "ingest_commit"
        }
        columns["ingest_commit"] = self._commit_numbers(len(rows))
        observation = self._append_observation(rows)
        checksums = compute_metadata_checksums(columns, observation)
        _append_columns(self.group, "", columns | {"ledger_checksum": checksums})

    def _append_observation(self, rows: pa.Table) -> dict[str, Any]:
        """Append to the columns of `OBSERVATION_GROUP`, create those that are new, and return the values."""
        group, prefix = self.group, f"{OBSERVATION_GROUP}/"
        observation: dict[str, Any] = {
            path.removeprefix(prefix): np.full(len(rows), "") for path in self._store.observation_paths()
        }
        for path in rows.column_names:
            if path.startswith(prefix):
                observation[path.removeprefix(prefix)] = rows[path].to_numpy().astype(str)
                if path not in group:
                    create_observation_column(group, path.removeprefix(prefix), self._store.n_rows)
        _append_columns(group, OBSERVATION_GROUP, observation)
        return observation

    def append_quarantine(self, rejected: Sequence[QuarantineRecord]) -> None:
        """Append rejected objects to the quarantine log.

        Parameters
        ----------
        rejected : sequence of QuarantineRecord
            Records of the rejected objects.
        """
        columns: dict[str, Any] = {
            name: [str(getattr(record, name)) for record in rejected]
            for name in QUARANTINE_COLUMNS
            if name != "ingest_commit"
        }
        columns["ingest_commit"] = self._commit_numbers(len(rejected))
        _append_columns(self.group, "quarantine", columns)

    def release_from_quarantine(self, object_ids: Sequence[str]) -> None:
        """Take objects out of quarantine.

        Parameters
        ----------
        object_ids : sequence of str
            Identifiers of the objects.
        """
        n = len(object_ids)
        columns: dict[str, Any] = {name: [""] * n for name in QUARANTINE_COLUMNS}
        columns |= {"object_id": list(object_ids), "ingest_commit": self._commit_numbers(n)}
        _append_columns(self.group, "quarantine", columns)

    def set_withdrawn(self, rows: NDArray[np.int64], withdrawn: bool) -> None:
        """Mark rows as withdrawn by the archive, or as listed again.

        Parameters
        ----------
        rows : ndarray of shape (n,)
            Rows of the store.
        withdrawn : bool
            Whether the archive has withdrawn them.
        """
        n = len(rows)
        columns = {
            "row": rows,
            "withdrawn": np.full(n, withdrawn),
            "ingest_commit": self._commit_numbers(n),
        }
        _append_columns(self.group, "withdrawals", {name: columns[name] for name in WITHDRAWAL_COLUMNS})

    def commit(self, message: str, origin: CommitOrigin = NO_ORIGIN) -> Store:
        """Commit all changes.

        Parameters
        ----------
        message : str
            Message in the history of the store.
        origin : CommitOrigin, optional
            Job that commits; it is recorded with the commit.

        Returns
        -------
        Store
            The new snapshot.

        Raises
        ------
        StoreError
            If another job has committed meanwhile; the store then holds none of the changes.
        """
        group = self.group
        group.attrs["n_ingest_commits"] = self.ingest_commit + 1
        flux: Any = group["flux"]
        n_rows = int(flux.shape[0])
        record = CommitRecord(
            self.ingest_commit, n_rows - self._store.n_rows, n_rows, origin.archive, origin.lease_token
        )
        return commit_session(self._store.url, self.session, message, record.to_json())

    def _commit_numbers(self, n: int) -> NDArray[np.int32]:
        return np.full(n, self.ingest_commit, np.int32)


def commit_session(url: str, session: icechunk.Session, message: str, metadata: Mapping[str, Any]) -> Store:
    """Commit a session.

    Parameters
    ----------
    url : str
        Location of the store.
    session : icechunk.Session
        Writable session with the changes.
    message : str
        Message in the history of the store.
    metadata : mapping
        JSON values to record with the commit.

    Returns
    -------
    Store
        The new snapshot.

    Raises
    ------
    StoreError
        If another job has committed meanwhile; the store then holds none of the changes.
    """
    try:
        session.commit(message, metadata=dict(metadata))
    except icechunk.ConflictError as error:
        raise _conflict_error(url) from error
    return open_store(url)


def _conflict_error(url: str) -> StoreError:
    return StoreError(
        f"another run committed to {url} meanwhile: wait until it has finished, then run this again"
    )


def resize_and_write(
    group: zarr.Group, start: int, n_total_rows: int, flux: Floats32, ivar: Floats32
) -> None:
    """Extend the arrays of spectra if they are too short, and write spectra from row `start` on.

    Parameters
    ----------
    group : zarr.Group
        Root group of the store, writable.
    start : int
        Row of the first spectrum.
    n_total_rows : int
        Number of rows that the arrays must have.
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Normalized flux and its inverse variance.
    """
    for name, values in (("flux", flux), ("ivar", ivar)):
        array: Any = group[name]
        if array.shape[0] < n_total_rows:
            array.resize((n_total_rows, *array.shape[1:]))
        array[start : start + len(values)] = values


def write_chunks_to_fork(
    fork: icechunk.ForkSession, start: int, n_total_rows: int, flux: Floats32, ivar: Floats32
) -> icechunk.ForkSession:
    """Write whole chunks of spectra into a fork of a session, and return the fork to be merged.

    Parameters
    ----------
    fork : ForkSession
        Fork of the session in which the commit is prepared.
    start : int
        Row of the first spectrum, a multiple of the chunk's number of rows.
    n_total_rows : int
        Number of rows that the arrays must have.
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Normalized flux and its inverse variance.
    """
    resize_and_write(zarr.open_group(fork.store, mode="r+"), start, n_total_rows, flux, ivar)
    return fork


def split_at_chunks(start: int, stop: int, chunk_rows: int) -> list[tuple[int, int]]:
    """Split a range of rows into spans that share no chunk.

    Parameters
    ----------
    start, stop : int
        First row, and the row after the last.
    chunk_rows : int
        Number of rows in a chunk.

    Returns
    -------
    list of (int, int)
        First row of each span, and the row after its last; empty if ``stop <= start``.

    Examples
    --------
    >>> split_at_chunks(100, 9000, 4096)
    [(100, 4096), (4096, 8192), (8192, 9000)]
    """
    edges = [start, *range((start // chunk_rows + 1) * chunk_rows, stop, chunk_rows), stop]
    return list(pairwise(edges)) if stop > start else []


def _append_columns(group: zarr.Group, prefix: str, columns: Mapping[str, Any]) -> None:
    """Append values to one-dimensional arrays; only a partially filled last chunk is read again."""
    for name, values in columns.items():
        array: Any = group[f"{prefix}/{name}".lstrip("/")]
        n = array.shape[0]
        if len(values):
            array.resize((n + len(values),))
            array[n:] = np.asarray(values, dtype=array.dtype)
