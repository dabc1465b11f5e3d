"""Committing of loaded batches: their order, and the content of each commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import icechunk
import numpy as np
import pyarrow as pa

from distspec.core.errors import QuarantineRecord
from distspec.core.spectrum import Floats32
from distspec.core.text import escape_unprintable
from distspec.ingest.diff import ListingDiff
from distspec.ingest.read import LoadedBatch
from distspec.store.sources import KEY_RADIUS, SourceMatcher
from distspec.store.store import Store
from distspec.store.transactions import NO_ORIGIN, CommitOrigin, Transaction, split_at_chunks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BlockSlice:
    """Rows ``start`` to ``stop - 1`` of a block of spectra.

    Parameters
    ----------
    block : object
        As `LoadedBatch.block`.
    start, stop : int
        Range of rows in the block.
    """

    block: Any
    start: int
    stop: int


@dataclass(frozen=True)
class ChunkPieces:
    """Spectra of consecutive rows of the store that lie in one chunk.

    Parameters
    ----------
    start : int
        First row in the store.
    slices : sequence of BlockSlice
        Where the spectra are, in the order of the rows.
    """

    start: int
    slices: Sequence[BlockSlice]


class ChunkWriter(Protocol):
    """Access to blocks, which may be in other processes, and writing of whole chunks."""

    def fetch_block(self, block: Any) -> tuple[Floats32, Floats32]:
        """Return flux and ivar of a block, each an ndarray of shape (n_rows, n_pixels).

        Parameters
        ----------
        block : object
            As `LoadedBatch.block`.
        """
        ...

    def write_chunks(
        self, transaction: Transaction, chunks: Sequence[ChunkPieces], n_total_rows: int
    ) -> Sequence[icechunk.ForkSession]:
        """Write whole chunks into forks of a transaction's session, and return the forks.

        Parameters
        ----------
        transaction : Transaction
            Commit in preparation.
        chunks : sequence of ChunkPieces
            Chunks to write.
        n_total_rows : int
            Number of rows in the store after the commit.
        """
        ...


def concatenate_slices(slices: Sequence[BlockSlice]) -> tuple[Floats32, Floats32]:
    """Concatenate slices of blocks that are in this process.

    Parameters
    ----------
    slices : sequence of BlockSlice
        Slices whose ``block`` is the pair of arrays itself, not a reference.

    Returns
    -------
    flux, ivar : ndarray of shape (n_rows, n_pixels)
        Normalized flux and its inverse variance.
    """
    flux, ivar = (
        np.concatenate([piece.block[which][piece.start : piece.stop] for piece in slices]) for which in (0, 1)
    )
    return flux, ivar


class Committer:
    """Commits batches in the order of the listing.

    While there are more batches to come, a commit ends at the end of a chunk, so that no chunk is written
    twice.

    Parameters
    ----------
    store : Store
        The newest snapshot.
    rows_per_commit : int
        Commit when at least this many rows wait.
    writer : ChunkWriter
        Writes whole chunks.
    origin : CommitOrigin, optional
        Job that commits; it is recorded with each commit.
    check_lease : callable, optional
        Called before each commit; raises an error if this job must not commit any more.
    key_radius : float, optional
        Largest distance [arcsec] from the source that the archive names, see `SourceMatcher`.

    Attributes
    ----------
    store : Store
        Snapshot after the last commit.
    n_committed, n_rejected : int
        Number of rows and of rejected spectra committed so far.
    n_key_conflicts : int
        Number of rows whose position contradicts the archive's identifier of their source.
    """

    def __init__(
        self,
        store: Store,
        rows_per_commit: int,
        writer: ChunkWriter,
        origin: CommitOrigin = NO_ORIGIN,
        check_lease: Callable[[], None] = lambda: None,
        key_radius: float = KEY_RADIUS,
    ) -> None:
        self.store = store
        self.n_committed = self.n_rejected = self.n_key_conflicts = 0
        self._key_radius = key_radius
        self._rows_per_commit, self._writer = rows_per_commit, writer
        self._origin, self._check_lease = origin, check_lease
        self._waiting: list[tuple[pa.Table, BlockSlice]] = []
        self._rejected: list[QuarantineRecord] = []
        self._n_waiting = 0
        self._sources: SourceMatcher | None = None
        self._quarantined = set(store.read_quarantine()["object_id"].to_pylist())

    def add(self, batch: LoadedBatch) -> None:
        """Accept the next batch, and commit if enough rows wait.

        Parameters
        ----------
        batch : LoadedBatch
            The next batch in the order of the listing.
        """
        self._rejected += batch.rejected
        if len(batch.rows):
            self._waiting.append((batch.rows, BlockSlice(batch.block, 0, len(batch.rows))))
            self._n_waiting += len(batch.rows)
        if self._n_waiting >= self._rows_per_commit:
            n_beyond_chunk = (self.store.n_rows + self._n_waiting) % self.store.chunk_rows
            fills_chunk = n_beyond_chunk < self._n_waiting
            self._commit(self._n_waiting - n_beyond_chunk if fills_chunk else self._n_waiting, None)

    def finish(self, diff: ListingDiff) -> None:
        """Commit all waiting rows, and the changes of the listing that concern existing rows.

        Parameters
        ----------
        diff : ListingDiff
            Difference between the listing and the store.
        """
        self._rejected += diff.rejected
        n_changes = len(diff.withdrawn_rows) + len(diff.restored_rows) + len(diff.released)
        if self._n_waiting or self._rejected or n_changes:
            self._commit(self._n_waiting, diff)

    def _commit(self, n: int, diff: ListingDiff | None) -> None:
        """Commit the first `n` waiting rows, all rejected spectra, and the changes of the listing."""
        slices, rows = self._take_waiting(n)
        transaction = Transaction(self.store)
        self._write_spectra(transaction, slices, n)
        released = self._quarantined.intersection(rows["object_id"].to_pylist()) if len(rows) else set[str]()
        if len(rows):
            transaction.append_rows(rows)
        transaction.append_quarantine(self._rejected)
        if diff is not None:
            transaction.set_withdrawn(diff.withdrawn_rows, True)
            transaction.set_withdrawn(diff.restored_rows, False)
            released |= set(diff.released)
        rejected_ids = {record.object_id for record in self._rejected}
        transaction.release_from_quarantine(sorted(released - rejected_ids))
        self._check_lease()
        self.store = transaction.commit(f"{n} spectra, {len(self._rejected)} rejected", self._origin)
        self.n_committed += n
        self.n_rejected += len(self._rejected)
        self._rejected = []

    def _write_spectra(self, transaction: Transaction, slices: Sequence[BlockSlice], n: int) -> None:
        """Have the writer write whole chunks, and write the partial ones here."""
        first, n_total_rows, chunk_rows = self.store.n_rows, self.store.n_rows + n, self.store.chunk_rows
        complete: list[ChunkPieces] = []
        partial: list[ChunkPieces] = []
        for start, stop in split_at_chunks(first, n_total_rows, chunk_rows):
            pieces = ChunkPieces(start, slice_blocks(slices, start - first, stop - first))
            (complete if stop - start == chunk_rows else partial).append(pieces)
        forks = self._writer.write_chunks(transaction, complete, n_total_rows)
        if forks:
            transaction.session.merge(*forks)
        for pieces in partial:
            fetched = [replace(piece, block=self._writer.fetch_block(piece.block)) for piece in pieces.slices]
            transaction.write_spectra(pieces.start, *concatenate_slices(fetched))

    def _take_waiting(self, n: int) -> tuple[list[BlockSlice], pa.Table]:
        """Take the first `n` waiting rows: the slices with their spectra, and their ledger with sources."""
        slices: list[BlockSlice] = []
        tables: list[pa.Table] = []
        self._n_waiting -= n
        while n > 0:
            rows, piece = self._waiting.pop(0)
            if len(rows) > n:
                self._waiting.insert(0, (rows.slice(n), replace(piece, start=piece.start + n)))
                rows, piece = rows.slice(0, n), replace(piece, stop=piece.start + n)
            slices.append(piece)
            tables.append(rows)
            n -= len(rows)
        if not tables:
            return [], pa.table({})
        rows = pa.concat_tables(tables)
        if self._sources is None:  # on first use, while tasks are already reading the next batches
            self._sources = _load_sources(self.store, self._key_radius)
        source_id = self._sources.assign_sources(
            rows["ra"].to_numpy(), rows["dec"].to_numpy(), rows["source_key"].to_pylist()
        )
        for conflict in self._sources.conflicts:
            log.warning(
                "source %s: the spectrum at %.5f %+.5f is %.1f″ from it, more than ingest.key_radius; "
                "assigned to %s by position",
                escape_unprintable(conflict.key),
                conflict.ra,
                conflict.dec,
                conflict.distance,
                escape_unprintable(conflict.source_id),
            )
        self.n_key_conflicts += len(self._sources.conflicts)
        self._sources.conflicts.clear()
        return slices, rows.append_column("source_id", pa.array(source_id, pa.string()))


def _load_sources(store: Store, key_radius: float) -> SourceMatcher:
    ledger = store.ledger(["ra", "dec"])
    names = np.asarray(store.open_array("source_id")[:])
    ra, dec = ledger["ra"].to_numpy(), ledger["dec"].to_numpy()
    return SourceMatcher(ra, dec, names, store.config.join_radius, key_radius)


def slice_blocks(slices: Sequence[BlockSlice], start: int, stop: int) -> list[BlockSlice]:
    """Return rows ``start`` to ``stop - 1`` of consecutive slices.

    Parameters
    ----------
    slices : sequence of BlockSlice
        Slices, whose rows are numbered from 0 in their order.
    start, stop : int
        First row, and the row after the last.

    Examples
    --------
    >>> for piece in slice_blocks([BlockSlice("a", 0, 5), BlockSlice("b", 2, 9)], 3, 7):
    ...     print(piece)
    BlockSlice(block='a', start=3, stop=5)
    BlockSlice(block='b', start=2, stop=4)
    """
    pieces: list[BlockSlice] = []
    offset = 0
    for piece in slices:
        n = piece.stop - piece.start
        low, high = max(start - offset, 0), min(stop - offset, n)
        if low < high:
            pieces.append(BlockSlice(piece.block, piece.start + low, piece.start + high))
        offset += n
    return pieces
