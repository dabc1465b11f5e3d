"""Ingest on Ray: tasks read and preprocess, others write whole chunks, the driver commits in order."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import icechunk
import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayTaskError

from distspec.core import memory
from distspec.core.spectrum import Floats32
from distspec.ingest.commit import Committer, Piece, join
from distspec.ingest.diff import difference
from distspec.ingest.read import check_settings, freeze, is_outage, pilot
from distspec.ingest.source import Source
from distspec.io.lease import Lease
from distspec.io.paths import store_url
from distspec.stages.load import loaded_in_order, read_runs
from distspec.stages.metrics import BYTES, REJECTED, SHARE, count, gauge
from distspec.stages.progress import Progress
from distspec.stages.result import Outcome
from distspec.store.store import Store, create_store, open_store, store_exists
from distspec.store.transactions import Transaction, write_chunks

log = logging.getLogger(__name__)
CHUNKS_A_TASK = 4
FEW = 2
"""Fewer bad spectra never fail a run, whatever their share: all that is new may be one bad file."""


@ray.remote(num_cpus=1, memory=memory.WORKER)
def write_task(
    fork: icechunk.ForkSession, n_rows: int, chunks: Sequence[tuple[int, Sequence[Piece]]], *blocks: Any
) -> icechunk.ForkSession:
    """Write chunks; a piece's block is a number among `blocks`."""
    for start, pieces in chunks:
        here = [piece._replace(block=blocks[piece.block]) for piece in pieces]
        fork = write_chunks(fork, start, n_rows, *join(here))
    return fork


class OnRay:
    """Blocks are objects of Ray's; tasks write chunks where the blocks are."""

    def fetch(self, block: Any) -> tuple[Floats32, Floats32]:
        """Return a block."""
        return ray.get(block)

    def write(
        self, transaction: Transaction, chunks: Sequence[tuple[int, Sequence[Piece]]], n_rows: int
    ) -> Sequence[icechunk.ForkSession]:
        """Write chunks, `CHUNKS_A_TASK` a task."""
        tasks: list[ray.ObjectRef[Any]] = []
        for first in range(0, len(chunks), CHUNKS_A_TASK):
            group = chunks[first : first + CHUNKS_A_TASK]
            blocks = list(dict.fromkeys(piece.block for _, pieces in group for piece in pieces))
            number = {block: i for i, block in enumerate(blocks)}
            numbered = [
                (start, [p._replace(block=number[p.block]) for p in pieces]) for start, pieces in group
            ]
            tasks.append(write_task.remote(transaction.session.fork(), n_rows, numbered, *blocks))
        return ray.get(tasks)


def ingest(root: str, source: Source, lease: Lease | None = None, retry: bool = False) -> Outcome:
    """Bring the store up to what the archive lists.

    Parameters
    ----------
    root : str
    source : Source
        Grid and normalisation are frozen with a new store; an old one must have been made with the same.
    lease : Lease, optional
        Checked before each commit.
    retry : bool
        Read again, too, what is in quarantine for a passing cause.

    Raises
    ------
    ValueError
        When the store was made with other settings, or there is nothing to make one of.
    RuntimeError
        When too much of what was read is bad, or the archive's server is down: what was good is in the store.
    """
    url, archive, config = store_url(root), source.archive, source.config
    listing = archive.list(source.access)
    if not len(listing):
        raise ValueError("the archive lists no spectrum that the selection keeps: check --archive.*")
    store = open_store(url) if store_exists(url) else None
    if store is not None:
        check_settings(store.frozen, source.grid, source.norm, config.join_radius, archive.kind)
    todo = difference(listing, store, retry)
    if store is not None and todo.is_nothing:
        return Outcome({"listed": len(listing), "in_store": store.n_rows}, did_work=False)
    n_listed = len(listing)
    del listing
    pa.default_memory_pool().release_unused()  # what comparing took is needed no more, and is as large
    if store is None:
        with _writing(url):
            store = _create(url, source, todo.todo)
    made_by = {"distspec": "ingest", "archive": archive.kind, "lease": lease.token if lease else 0}
    committer = Committer(store, config.commit_rows, OnRay(), made_by, lease.check if lease else lambda: None)
    outage = False
    with (
        _writing(url),
        Progress("ingest", len(todo.todo), "spectrum") as progress,
    ):
        for loaded in loaded_in_order(source, store.frozen, todo.todo):
            outage = is_outage(loaded)
            if outage:
                break
            committer.add(loaded)
            progress.advance(len(loaded.rows) + len(loaded.rejected), f"{committer.n_rejected:,} quarantined")
            count(BYTES, loaded.n_bytes)
            for row in loaded.rejected:
                count(REJECTED, 1, reason=str(row.reason))
        committer.finish(todo)
    bad = len(committer.store.quarantine())
    gauge(SHARE, bad / max(1, bad + committer.store.n_rows))
    counts = {
        "listed": n_listed,
        "new": len(todo.todo),
        "stored": committer.n_rows,
        "quarantined": committer.n_rejected,
        "withdrawn": len(todo.withdrawn),
        "returned": len(todo.returned),
        "in_store": committer.store.n_rows,
    }
    _judge(committer, source, outage, retry)
    return Outcome(counts)


def _judge(committer: Committer, source: Source, outage: bool, retry: bool) -> None:
    """Fail a run whose archive is down, or of which too much is bad: what is good has been committed."""
    good, bad, most = committer.n_rows, committer.n_rejected, source.config.max_bad_share
    if outage:
        raise RuntimeError(
            f"a whole batch of files could not be had: {source.archive.url} seems to be down or to refuse "
            f"us; {good:,} spectra are in the store, run this again for the rest"
        )
    # What is read again was bad before.
    if not retry and bad >= FEW and bad > most * (good + bad):
        raise RuntimeError(
            f"{bad:,} of {good + bad:,} spectra are bad, more than ingest.max_bad_share {most:g} (the good "
            "ones are in the store; `distspec quarantine` says what is wrong)"
        )


@contextmanager
def _writing(url: str) -> Generator[None]:
    """Say in one line why a store could not be written, here or by a task: a full disk, a lost bucket."""
    try:
        yield
    except icechunk.IcechunkError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        why = str(cause).strip().partition("\n")[0].removeprefix("x ").strip()
        raise RuntimeError(
            f"{url} could not be written ({why}): all commits before it stand; run this again for the rest"
        ) from error


def _create(url: str, source: Source, listing: pa.Table) -> Store:
    """Choose grid and median slope from the listing and a pilot sample of it, and make the store."""
    sample = pilot(listing)
    spectra = read_runs(source, sample)
    if not spectra:
        first = sample["uri"][0].as_py() if len(sample) else "none"
        raise ValueError(
            f"none of the first {len(sample)} files could be read, the first being {first}: "
            "check --archive.url"
        )
    z = listing["z"].to_numpy()
    known = z[np.isfinite(z)] if np.isfinite(z).any() else np.array([s.z for s in spectra])
    frozen = freeze(spectra, known, source.grid, source.norm, source.config.join_radius, source.archive.kind)
    log.info(
        "new store: %d pixels, %.0f–%.0f Å, UV slope of the sample %.2f",
        frozen.grid.n_pixels,
        frozen.grid.start,
        frozen.grid.stop,
        frozen.sample_slope,
    )
    return create_store(url, frozen)
