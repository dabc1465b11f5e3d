"""In which order batches are committed, and what a commit holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import icechunk
import numpy as np
import pyarrow as pa

from distspec.core.errors import QuarantineRecord
from distspec.core.spectrum import Floats32
from distspec.ingest.diff import ListingDiff
from distspec.ingest.read import LoadedBatch
from distspec.store.sources import SourceMatcher
from distspec.store.store import Store
from distspec.store.transactions import Transaction, split_at_chunks, write_chunks_to_fork


class BlockSlice(NamedTuple):
    """Rows start … stop − 1 of a block."""

    block: Any
    start: int
    stop: int


class ChunkWriter(Protocol):
    """Who holds the blocks and writes whole chunks: this process, or tasks elsewhere."""

    def fetch_block(self, block: Any) -> tuple[Floats32, Floats32]:
        """Return flux and ivar, (n, L) each, of a block."""
        ...

    def write_chunks(
        self, transaction: Transaction, chunks: Sequence[tuple[int, Sequence[BlockSlice]]], n_total_rows: int
    ) -> Sequence[icechunk.ForkSession]:
        """Write chunks, a first row and its pieces each, into forks, the store having `n_total_rows` then."""
        ...


class LocalWriter:
    """Everything in this process."""

    def fetch_block(self, block: Any) -> tuple[Floats32, Floats32]:
        """Return the block."""
        return block

    def write_chunks(
        self, transaction: Transaction, chunks: Sequence[tuple[int, Sequence[BlockSlice]]], n_total_rows: int
    ) -> Sequence[icechunk.ForkSession]:
        """Write the chunks one after the other."""
        return [
            write_chunks_to_fork(transaction.session.fork(), start, n_total_rows, *concatenate_slices(pieces))
            for start, pieces in chunks
        ]


def concatenate_slices(slices: Sequence[BlockSlice]) -> tuple[Floats32, Floats32]:
    """Return flux and ivar, (n, L) each, of pieces whose blocks are here."""
    flux, ivar = (
        np.concatenate([piece.block[which][piece.start : piece.stop] for piece in slices]) for which in (0, 1)
    )
    return flux, ivar


class Committer:
    """Commits batches in the order of the listing, up to the end of a chunk while there are more to come.

    Parameters
    ----------
    store : Store
    commit_rows : int
        Commit when so many rows wait.
    writer : Writer
    made_by : mapping
        Kept with each commit.
    fence : callable
        Raises where this run may not commit any more.
    """

    def __init__(
        self,
        store: Store,
        rows_per_commit: int,
        writer: ChunkWriter,
        metadata: Mapping[str, Any] | None = None,
        check_lease: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.n_committed = self.n_rejected = 0
        self._rows_per_commit, self._writer = rows_per_commit, writer
        self._metadata, self._check_lease = metadata or {}, check_lease
        self._waiting: list[tuple[pa.Table, BlockSlice]] = []
        self._rejected: list[QuarantineRecord] = []
        self._n_waiting = 0
        self._sources: SourceMatcher | None = None
        self._quarantined = set(store.read_quarantine()["object_id"].to_pylist())

    def add(self, batch: LoadedBatch) -> None:
        """Take the next batch; commit when enough rows wait."""
        self._rejected += batch.rejected
        if len(batch.rows):
            self._waiting.append((batch.rows, BlockSlice(batch.block, 0, len(batch.rows))))
            self._n_waiting += len(batch.rows)
        if self._n_waiting >= self._rows_per_commit:
            over = (self.store.n_rows + self._n_waiting) % self.store.chunk_rows
            self._commit(self._n_waiting - over if over < self._n_waiting else self._n_waiting, None)

    def finish(self, diff: ListingDiff) -> None:
        """Commit whatever waits, and what the listing says of rows that there are."""
        self._rejected += diff.rejected
        told = len(diff.withdrawn_rows) + len(diff.restored_rows) + len(diff.released)
        if self._n_waiting or self._rejected or told:
            self._commit(self._n_waiting, diff)

    def _commit(self, n: int, difference: ListingDiff | None) -> None:
        first, total = self.store.n_rows, self.store.n_rows + n
        taken, rows = self._take_waiting(n)
        whole: list[tuple[int, Sequence[BlockSlice]]] = []
        parts: list[tuple[int, Sequence[BlockSlice]]] = []
        for start, stop in split_at_chunks(first, total, self.store.chunk_rows):
            pieces = slice_blocks(taken, start - first, stop - first)
            (whole if stop - start == self.store.chunk_rows else parts).append((start, pieces))
        transaction = Transaction(self.store)
        forks = self._writer.write_chunks(transaction, whole, total)
        if forks:
            transaction.session.merge(*forks)
        for start, pieces in parts:
            fetched = [BlockSlice(self._writer.fetch_block(p.block), p.start, p.stop) for p in pieces]
            transaction.write_spectra(start, *concatenate_slices(fetched))
        settled = self._quarantined.intersection(rows["object_id"].to_pylist()) if len(rows) else set[str]()
        if len(rows):
            transaction.append_rows(rows)
        transaction.append_quarantine(self._rejected)
        if difference is not None:
            transaction.set_withdrawn(difference.withdrawn_rows, True)
            transaction.set_withdrawn(difference.restored_rows, False)
            settled |= set(difference.released)
        transaction.release_from_quarantine(sorted(settled - {row.object_id for row in self._rejected}))
        self._check_lease()
        self.store = transaction.commit(
            f"{n} spectra, {len(self._rejected)} rejected", {**self._metadata, "new": n}
        )
        self.n_committed += n
        self.n_rejected += len(self._rejected)
        self._rejected = []

    def _take_waiting(self, n: int) -> tuple[list[BlockSlice], pa.Table]:
        """Take the first `n` waiting rows: where their spectra are, and their ledger with sources."""
        pieces: list[BlockSlice] = []
        tables: list[pa.Table] = []
        self._n_waiting -= n
        while n > 0:
            rows, piece = self._waiting.pop(0)
            if len(rows) > n:
                self._waiting.insert(0, (rows.slice(n), piece._replace(start=piece.start + n)))
                rows, piece = rows.slice(0, n), piece._replace(stop=piece.start + n)
            pieces.append(piece)
            tables.append(rows)
            n -= len(rows)
        if not tables:
            return [], pa.table({})
        rows = pa.concat_tables(tables)
        if self._sources is None:  # not before: until then others have begun to read
            self._sources = _load_sources(self.store)
        source_id = self._sources.assign_sources(
            rows["ra"].to_numpy(), rows["dec"].to_numpy(), rows["source_key"].to_pylist()
        )
        return pieces, rows.append_column("source_id", pa.array(source_id, pa.string()))


def _load_sources(store: Store) -> SourceMatcher:
    ledger = store.ledger(["ra", "dec"])
    names = np.asarray(store.open_array("source_id")[:])
    return SourceMatcher(ledger["ra"].to_numpy(), ledger["dec"].to_numpy(), names, store.config.join_radius)


def slice_blocks(slices: Sequence[BlockSlice], start: int, stop: int) -> list[BlockSlice]:
    """Return rows start … stop − 1 of pieces laid end to end.

    Examples
    --------
    >>> [tuple(piece) for piece in cut([Piece("a", 0, 5), Piece("b", 2, 9)], 3, 7)]
    [('a', 3, 5), ('b', 2, 4)]
    """
    found: list[BlockSlice] = []
    at = 0
    for piece in slices:
        n = piece.stop - piece.start
        low, high = max(start - at, 0), min(stop - at, n)
        if low < high:
            found.append(BlockSlice(piece.block, piece.start + low, piece.start + high))
        at += n
    return found
