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
from distspec.ingest.commit import BlockSlice, Committer, concatenate_slices
from distspec.ingest.diff import compare_listing
from distspec.ingest.read import check_store_config, is_outage, make_store_config, select_pilot_sample
from distspec.ingest.source import ArchiveSource
from distspec.io.lease import Lease
from distspec.io.paths import store_url
from distspec.stages.load import iter_loaded_batches, read_pilot_sample
from distspec.stages.metrics import (
    BYTES_READ,
    QUARANTINE_FRACTION,
    SPECTRA_QUARANTINED,
    increment_counter,
    set_gauge,
)
from distspec.stages.progress import Progress
from distspec.stages.result import StageResult
from distspec.store.store import Store, create_store, open_store, store_exists
from distspec.store.transactions import Transaction, write_chunks_to_fork

log = logging.getLogger(__name__)
CHUNKS_PER_TASK = 4
MIN_REJECTED_TO_FAIL = 2
"""Fewer bad spectra never fail a run, whatever their share: all that is new may be one bad file."""


@ray.remote(num_cpus=1, memory=memory.WORKER_BYTES)
def write_chunks_task(
    fork: icechunk.ForkSession,
    n_total_rows: int,
    chunks: Sequence[tuple[int, Sequence[BlockSlice]]],
    *blocks: Any,
) -> icechunk.ForkSession:
    """Write chunks; a piece's block is a number among `blocks`."""
    for start, pieces in chunks:
        here = [piece._replace(block=blocks[piece.block]) for piece in pieces]
        fork = write_chunks_to_fork(fork, start, n_total_rows, *concatenate_slices(here))
    return fork


class RayWriter:
    """Blocks are objects of Ray's; tasks write chunks where the blocks are."""

    def fetch_block(self, block: Any) -> tuple[Floats32, Floats32]:
        """Return a block."""
        return ray.get(block)

    def write_chunks(
        self, transaction: Transaction, chunks: Sequence[tuple[int, Sequence[BlockSlice]]], n_total_rows: int
    ) -> Sequence[icechunk.ForkSession]:
        """Write chunks, `CHUNKS_PER_TASK` a task."""
        tasks: list[ray.ObjectRef[Any]] = []
        for first in range(0, len(chunks), CHUNKS_PER_TASK):
            group = chunks[first : first + CHUNKS_PER_TASK]
            blocks = list(dict.fromkeys(piece.block for _, pieces in group for piece in pieces))
            number = {block: i for i, block in enumerate(blocks)}
            numbered = [
                (start, [p._replace(block=number[p.block]) for p in pieces]) for start, pieces in group
            ]
            tasks.append(
                write_chunks_task.remote(transaction.session.fork(), n_total_rows, numbered, *blocks)
            )
        return ray.get(tasks)


def ingest(
    root: str, archive_source: ArchiveSource, lease: Lease | None = None, retry_transient: bool = False
) -> StageResult:
    """Bring the store up to what the archive lists.

    Parameters
    ----------
    root : str
    archive_source : Source
        Grid and normalisation are frozen with a new store; an old one must have been made with the same.
    lease : Lease, optional
        Checked before each commit.
    retry_transient : bool
        Read again, too, what is in quarantine for a passing cause.

    Raises
    ------
    ValueError
        When the store was made with other settings, or there is nothing to make one of.
    RuntimeError
        When too much of what was read is bad, or the archive's server is down: what was good is in the store.
    """
    url, archive, config = store_url(root), archive_source.archive, archive_source.config
    listing = archive.list_spectra(archive_source.access)
    if not len(listing):
        raise ValueError("the archive lists no spectrum that the selection keeps: check --archive.*")
    store = open_store(url) if store_exists(url) else None
    if store is not None:
        check_store_config(
            store.config, archive_source.grid, archive_source.norm, config.join_radius, archive.name
        )
    todo = compare_listing(listing, store, retry_transient)
    if store is not None and todo.is_empty:
        return StageResult({"listed": len(listing), "in_store": store.n_rows}, did_work=False)
    n_listed = len(listing)
    del listing
    pa.default_memory_pool().release_unused()  # what comparing took is needed no more, and is as large
    if store is None:
        with _translate_write_errors(url):
            store = _create_from_pilot(url, archive_source, todo.to_read)
    made_by = {"distspec": "ingest", "archive": archive.name, "lease": lease.token if lease else 0}
    committer = Committer(
        store, config.commit_rows, RayWriter(), made_by, lease.check_held if lease else lambda: None
    )
    outage = False
    with (
        _translate_write_errors(url),
        Progress("ingest", len(todo.to_read), "spectrum") as progress,
    ):
        for loaded in iter_loaded_batches(archive_source, store.config, todo.to_read):
            outage = is_outage(loaded)
            if outage:
                break
            committer.add(loaded)
            progress.advance(len(loaded.rows) + len(loaded.rejected), f"{committer.n_rejected:,} quarantined")
            increment_counter(BYTES_READ, loaded.n_bytes)
            for row in loaded.rejected:
                increment_counter(SPECTRA_QUARANTINED, 1, reason=str(row.reason))
        committer.finish(todo)
    bad = len(committer.store.read_quarantine())
    set_gauge(QUARANTINE_FRACTION, bad / max(1, bad + committer.store.n_rows))
    counts = {
        "listed": n_listed,
        "new": len(todo.to_read),
        "stored": committer.n_committed,
        "quarantined": committer.n_rejected,
        "withdrawn": len(todo.withdrawn_rows),
        "returned": len(todo.restored_rows),
        "in_store": committer.store.n_rows,
    }
    _raise_on_failure(committer, archive_source, outage, retry_transient)
    return StageResult(counts)


def _raise_on_failure(
    committer: Committer, archive_source: ArchiveSource, outage: bool, retry_transient: bool
) -> None:
    """Fail a run whose archive is down, or of which too much is bad: what is good has been committed."""
    good, bad, most = committer.n_committed, committer.n_rejected, archive_source.config.max_bad_share
    if outage:
        raise RuntimeError(
            f"a whole batch of files could not be had: {archive_source.archive.url} seems to be down or to refuse "
            f"us; {good:,} spectra are in the store, run this again for the rest"
        )
    # What is read again was bad before.
    if not retry_transient and bad >= MIN_REJECTED_TO_FAIL and bad > most * (good + bad):
        raise RuntimeError(
            f"{bad:,} of {good + bad:,} spectra are bad, more than ingest.max_bad_share {most:g} (the good "
            "ones are in the store; `distspec quarantine` says what is wrong)"
        )


@contextmanager
def _translate_write_errors(url: str) -> Generator[None]:
    """Say in one line why a store could not be written, here or by a task: a full disk, a lost bucket."""
    try:
        yield
    except icechunk.IcechunkError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        why = str(cause).strip().partition("\n")[0].removeprefix("x ").strip()
        raise RuntimeError(
            f"{url} could not be written ({why}): all commits before it stand; run this again for the rest"
        ) from error


def _create_from_pilot(url: str, archive_source: ArchiveSource, listing: pa.Table) -> Store:
    """Choose grid and median slope from the listing and a pilot sample of it, and make the store."""
    sample = select_pilot_sample(listing)
    spectra = read_pilot_sample(archive_source, sample)
    if not spectra:
        first = sample["uri"][0].as_py() if len(sample) else "none"
        raise ValueError(
            f"none of the first {len(sample)} files could be read, the first being {first}: "
            "check --archive.url"
        )
    z = listing["z"].to_numpy()
    known = z[np.isfinite(z)] if np.isfinite(z).any() else np.array([s.z for s in spectra])
    frozen = make_store_config(
        spectra,
        known,
        archive_source.grid,
        archive_source.norm,
        archive_source.config.join_radius,
        archive_source.archive.name,
    )
    log.info(
        "new store: %d pixels, %.0f–%.0f Å, UV slope of the sample %.2f",
        frozen.grid.n_pixels,
        frozen.grid.start,
        frozen.grid.stop,
        frozen.default_slope,
    )
    return create_store(url, frozen)
