"""In which order batches are committed, and what a commit holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import icechunk
import numpy as np
import pyarrow as pa

from distspec.core.errors import Rejected
from distspec.core.spectrum import Floats32
from distspec.ingest.diff import Difference
from distspec.ingest.read import Loaded
from distspec.store.sources import Sources
from distspec.store.store import Store
from distspec.store.transactions import Transaction, spans, write_chunks


class Piece(NamedTuple):
    """Rows start … stop − 1 of a block."""

    block: Any
    start: int
    stop: int


class Writer(Protocol):
    """Who holds the blocks and writes whole chunks: this process, or tasks elsewhere."""

    def fetch(self, block: Any) -> tuple[Floats32, Floats32]:
        """Return flux and ivar, (n, L) each, of a block."""
        ...

    def write(
        self, transaction: Transaction, chunks: Sequence[tuple[int, Sequence[Piece]]], n_rows: int
    ) -> Sequence[icechunk.ForkSession]:
        """Write chunks, a first row and its pieces each, into forks, the store having `n_rows` then."""
        ...


class Here:
    """Everything in this process."""

    def fetch(self, block: Any) -> tuple[Floats32, Floats32]:
        """Return the block."""
        return block

    def write(
        self, transaction: Transaction, chunks: Sequence[tuple[int, Sequence[Piece]]], n_rows: int
    ) -> Sequence[icechunk.ForkSession]:
        """Write the chunks one after the other."""
        return [
            write_chunks(transaction.session.fork(), start, n_rows, *join(pieces)) for start, pieces in chunks
        ]


def join(pieces: Sequence[Piece]) -> tuple[Floats32, Floats32]:
    """Return flux and ivar, (n, L) each, of pieces whose blocks are here."""
    flux, ivar = (
        np.concatenate([piece.block[which][piece.start : piece.stop] for piece in pieces]) for which in (0, 1)
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
        commit_rows: int,
        writer: Writer,
        made_by: Mapping[str, Any] | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.n_rows = self.n_rejected = 0
        self._commit_rows, self._writer = commit_rows, writer
        self._made_by, self._fence = made_by or {}, fence
        self._waiting: list[tuple[pa.Table, Piece]] = []
        self._rejected: list[Rejected] = []
        self._n_waiting = 0
        self._sources: Sources | None = None
        self._quarantined = set(store.quarantine()["object_id"].to_pylist())

    def add(self, loaded: Loaded) -> None:
        """Take the next batch; commit when enough rows wait."""
        self._rejected += loaded.rejected
        if len(loaded.rows):
            self._waiting.append((loaded.rows, Piece(loaded.block, 0, len(loaded.rows))))
            self._n_waiting += len(loaded.rows)
        if self._n_waiting >= self._commit_rows:
            over = (self.store.n_rows + self._n_waiting) % self.store.chunk_rows
            self._commit(self._n_waiting - over if over < self._n_waiting else self._n_waiting, None)

    def finish(self, difference: Difference) -> None:
        """Commit whatever waits, and what the listing says of rows that there are."""
        self._rejected += difference.rejected
        told = len(difference.withdrawn) + len(difference.returned) + len(difference.settled)
        if self._n_waiting or self._rejected or told:
            self._commit(self._n_waiting, difference)

    def _commit(self, n: int, difference: Difference | None) -> None:
        first, total = self.store.n_rows, self.store.n_rows + n
        taken, rows = self._take(n)
        whole: list[tuple[int, Sequence[Piece]]] = []
        parts: list[tuple[int, Sequence[Piece]]] = []
        for start, stop in spans(first, total, self.store.chunk_rows):
            pieces = cut(taken, start - first, stop - first)
            (whole if stop - start == self.store.chunk_rows else parts).append((start, pieces))
        transaction = Transaction(self.store)
        forks = self._writer.write(transaction, whole, total)
        if forks:
            transaction.session.merge(*forks)
        for start, pieces in parts:
            fetched = [Piece(self._writer.fetch(p.block), p.start, p.stop) for p in pieces]
            transaction.write_spectra(start, *join(fetched))
        settled = self._quarantined.intersection(rows["object_id"].to_pylist()) if len(rows) else set[str]()
        if len(rows):
            transaction.append_rows(rows)
        transaction.append_rejected(self._rejected)
        if difference is not None:
            transaction.mark(difference.withdrawn, True)
            transaction.mark(difference.returned, False)
            settled |= set(difference.settled)
        transaction.settle(sorted(settled - {row.object_id for row in self._rejected}))
        self._fence()
        self.store = transaction.commit(
            f"{n} spectra, {len(self._rejected)} rejected", {**self._made_by, "new": n}
        )
        self.n_rows += n
        self.n_rejected += len(self._rejected)
        self._rejected = []

    def _take(self, n: int) -> tuple[list[Piece], pa.Table]:
        """Take the first `n` waiting rows: where their spectra are, and their ledger with sources."""
        pieces: list[Piece] = []
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
            self._sources = _sources(self.store)
        source_id = self._sources.assign(
            rows["ra"].to_numpy(), rows["dec"].to_numpy(), rows["source_key"].to_pylist()
        )
        return pieces, rows.append_column("source_id", pa.array(source_id, pa.string()))


def _sources(store: Store) -> Sources:
    ledger = store.ledger(["ra", "dec"])
    names = np.asarray(store.array("source_id")[:])
    return Sources(ledger["ra"].to_numpy(), ledger["dec"].to_numpy(), names, store.frozen.join_radius)


def cut(pieces: Sequence[Piece], start: int, stop: int) -> list[Piece]:
    """Return rows start … stop − 1 of pieces laid end to end.

    Examples
    --------
    >>> [tuple(piece) for piece in cut([Piece("a", 0, 5), Piece("b", 2, 9)], 3, 7)]
    [('a', 3, 5), ('b', 2, 4)]
    """
    found: list[Piece] = []
    at = 0
    for piece in pieces:
        n = piece.stop - piece.start
        low, high = max(start - at, 0), min(stop - at, n)
        if low < high:
            found.append(Piece(piece.block, piece.start + low, piece.start + high))
        at += n
    return found
