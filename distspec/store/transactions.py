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

from distspec.core.errors import Rejected
from distspec.core.spectrum import Floats32
from distspec.store.columns import LEDGER, MARKS, QUARANTINE, ledger_checksums
from distspec.store.store import Store, open_store, repository

BEHIND = "another run committed to {url} meanwhile: wait for it to end, then run this again"


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
        self.session = repository(store.url).writable_session("main")
        if self.session.snapshot_id != store.snapshot_id:
            raise RuntimeError(BEHIND.format(url=store.url))
        self.batch = store.n_batches

    @property
    def group(self) -> zarr.Group:
        """The store as it will be."""
        return zarr.open_group(self.session.store, mode="r+")

    def write_spectra(self, start: int, flux: Floats32, ivar: Floats32) -> None:
        """Put (n, L) spectra at row `start`; rows before it in its chunk stay."""
        write_rows(self.group, start, start + len(flux), flux, ivar)

    def append_rows(self, rows: pa.Table) -> None:
        """Append to the ledger: `LEDGER`'s columns but ``batch``."""
        columns: dict[str, Any] = {name: rows[name].to_numpy() for name in LEDGER if name != "batch"}
        columns["batch"] = np.full(len(rows), self.batch, np.int32)
        _append(self.group, "", columns | {"ledger_checksum": ledger_checksums(columns)})

    def append_rejected(self, rejected: Sequence[Rejected]) -> None:
        """Append to the quarantine's log."""
        columns: dict[str, Any] = {
            name: [str(getattr(row, name)) for row in rejected] for name in QUARANTINE if name != "batch"
        }
        _append(self.group, "quarantine", columns | {"batch": np.full(len(rejected), self.batch)})

    def settle(self, object_ids: Sequence[str]) -> None:
        """Take objects out of quarantine."""
        columns: dict[str, Any] = {name: [""] * len(object_ids) for name in QUARANTINE}
        batch = np.full(len(object_ids), self.batch)
        _append(self.group, "quarantine", columns | {"object_id": list(object_ids), "batch": batch})

    def mark(self, rows: NDArray[np.int64], withdrawn: bool) -> None:
        """Mark rows as withdrawn by the archive, or as back in it."""
        n = len(rows)
        columns = {"row": rows, "withdrawn": np.full(n, withdrawn), "batch": np.full(n, self.batch)}
        _append(self.group, "marks", {name: columns[name] for name in MARKS})

    def commit(self, message: str, made_by: Mapping[str, Any]) -> Store:
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
        group.attrs["n_batches"] = self.batch + 1
        flux: Any = group["flux"]
        metadata = {**made_by, "batch": self.batch, "n_rows": int(flux.shape[0])}
        return commit(self._store.url, self.session, message, metadata)


def commit(url: str, session: icechunk.Session, message: str, metadata: Mapping[str, Any]) -> Store:
    """Commit a session and return the state after.

    Raises
    ------
    RuntimeError
        When another run committed meanwhile; nothing of this session is then in the store.
    """
    try:
        session.commit(message, metadata=dict(metadata))
    except icechunk.ConflictError as error:
        raise RuntimeError(BEHIND.format(url=url)) from error
    return open_store(url)


def write_rows(group: zarr.Group, start: int, n_rows: int, flux: Floats32, ivar: Floats32) -> None:
    """Make room for `n_rows` rows, and put (n, L) spectra at row `start`."""
    for name, values in (("flux", flux), ("ivar", ivar)):
        array: Any = group[name]
        if array.shape[0] < n_rows:
            array.resize((n_rows, *array.shape[1:]))
        array[start : start + len(values)] = values


def write_chunks(
    fork: icechunk.ForkSession, start: int, n_rows: int, flux: Floats32, ivar: Floats32
) -> icechunk.ForkSession:
    """Write whole chunks from row `start` into a fork, which goes back to be merged."""
    write_rows(zarr.open_group(fork.store, mode="r+"), start, n_rows, flux, ivar)
    return fork


def spans(start: int, stop: int, chunk: int) -> list[tuple[int, int]]:
    """Cut rows into spans that share no chunk.

    Examples
    --------
    >>> spans(100, 9000, 4096)
    [(100, 4096), (4096, 8192), (8192, 9000)]
    """
    edges = [start, *range((start // chunk + 1) * chunk, stop, chunk), stop]
    return list(pairwise(edges)) if stop > start else []


def _append(group: zarr.Group, prefix: str, columns: Mapping[str, Any]) -> None:
    """Append along the first axis: only the partial last chunk is read again."""
    for name, values in columns.items():
        array: Any = group[f"{prefix}/{name}".lstrip("/")]
        n = array.shape[0]
        if len(values):
            array.resize((n + len(values),))
            array[n:] = np.asarray(values, dtype=array.dtype)
