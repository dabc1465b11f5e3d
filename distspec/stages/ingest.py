"""Ingest on Ray: tasks read and preprocess, others write whole chunks, the driver commits in order."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import icechunk
import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError
from tqdm import tqdm

from distspec.access import AccessConfig
from distspec.archives.protocol import Archive
from distspec.committing import Committer, Piece, join
from distspec.growth import difference
from distspec.ingestion import (
    PILOT_RUN,
    IngestConfig,
    Loaded,
    check_settings,
    entries,
    freeze,
    is_outage,
    load,
    pilot,
    read,
)
from distspec.lease import Lease
from distspec.outcome import Outcome
from distspec.places import store_url
from distspec.preprocessing import GridConfig, NormConfig
from distspec.spectrum import Floats32, Reason, Rejected, Spectrum
from distspec.stages.bounded import done_in_order
from distspec.stages.session import n_cpus
from distspec.store import Frozen, Store, create_store, open_store, store_exists
from distspec.transactions import Transaction, write_chunks

log = logging.getLogger(__name__)

CHUNKS_A_TASK = 4
WORKER_BYTES = 400e6
"""What a worker needs beside the spectra it holds: Python and its libraries."""
FEW = 8
"""So few bad spectra never fail a run, whatever their share: all that is new may be one bad file."""
HELD = 6.0
"""A task holds its files' bytes about so many times: as read, as spectra, on the grid, as sent."""


@dataclass(frozen=True)
class Source:
    """Where spectra come from and how they are read."""

    archive: Archive
    access: AccessConfig = field(default_factory=AccessConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    config: IngestConfig = field(default_factory=IngestConfig)


class Told(NamedTuple):
    """A batch without its spectra, which stay where they were made."""

    rows: pa.Table
    rejected: list[Rejected]


@ray.remote(num_cpus=1, num_returns=2)
def load_task(
    archive: Archive, access: AccessConfig, listing: pa.Table, frozen: Frozen, norm: NormConfig
) -> tuple[tuple[Floats32, Floats32], Told]:
    """Read and preprocess a batch: its spectra, and what is said of them."""
    loaded = load(archive, access, listing, frozen.grid, norm, frozen.sample_slope)
    return loaded.block, Told(loaded.rows, loaded.rejected)


@ray.remote(num_cpus=1)
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
        tqdm(total=len(todo.todo), desc="ingest", unit="spectrum", disable=None) as bar,
    ):
        for loaded in _loaded(source, store.frozen, todo.todo):
            outage = is_outage(loaded)
            if outage:
                break
            committer.add(loaded)
            bar.update(len(loaded.rows) + len(loaded.rejected))
        committer.finish(todo)
    counts = {
        "listed": n_listed,
        "new": len(todo.todo),
        "stored": committer.n_rows,
        "quarantined": committer.n_rejected,
        "withdrawn": len(todo.withdrawn),
        "returned": len(todo.returned),
        "in_store": committer.store.n_rows,
    }
    if outage:
        raise RuntimeError(
            f"a whole batch of files could not be had: {archive.url} seems to be down or to refuse us; "
            f"{committer.n_rows:,} spectra are in the store, run this again for the rest"
        )
    bad = committer.n_rejected / max(1, committer.n_rows + committer.n_rejected)
    # What is read again was bad before, and a share of next to nothing says nothing.
    if not retry and committer.n_rejected >= FEW and bad > config.max_bad_share:
        raise RuntimeError(
            f"{committer.n_rejected:,} of {committer.n_rows + committer.n_rejected:,} spectra are bad, more "
            f"than ingest.max_bad_share {config.max_bad_share:g} (the good ones are in the store; "
            "`distspec quarantine` says what is wrong)"
        )
    return Outcome(counts)


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


def _loaded(source: Source, frozen: Frozen, todo: pa.Table) -> Iterator[Loaded]:
    """Yield what batches of a listing became, in its order, their blocks as Ray's objects."""
    archive, config = source.archive, source.config
    size = config.batch_size(archive)
    shared = ray.put(archive)
    memory = min(WORKER_BYTES + HELD * size * archive.spectrum_bytes, _memory_of_a_cpu())
    task = load_task.options(memory=memory)
    blocks: dict[Any, Any] = {}

    def submit(batch: slice) -> ray.ObjectRef[Any]:
        # Taken, not sliced: a slice would travel with the whole table.
        rows = todo.take(pa.array(np.arange(batch.start, batch.stop)))
        made: Any = task.remote(shared, source.access, rows, frozen, source.norm)
        block, told = made
        blocks[told] = block
        return told

    batches = (slice(start, min(start + size, len(todo))) for start in range(0, len(todo), size))
    for batch, told in done_in_order(submit, batches, config.in_flight or 2 * n_cpus()):
        block = blocks.pop(told)
        try:
            yield Loaded(block, *ray.get(told))
        except (WorkerCrashedError, OutOfMemoryError, RayTaskError) as error:
            yield from _one_by_one(source, frozen, todo.slice(batch.start, batch.stop - batch.start), error)


def _one_by_one(source: Source, frozen: Frozen, rows: pa.Table, error: Exception) -> Iterator[Loaded]:
    """Halve a batch that ends its worker until what does so stands alone."""
    n = len(rows)
    if n == 1:
        entry = entries(rows)[0]
        reason = Reason.UNREADABLE if isinstance(error, RayTaskError) else Reason.CRASHED
        seen = f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:300]}"
        nothing = np.zeros((0, frozen.grid.n_pixels), np.float32)
        rejected = [Rejected(entry.object_id, entry.version, entry.uri, reason, seen)]
        yield Loaded(ray.put((nothing, nothing)), rows.slice(0, 0), rejected)
        return
    for half in (rows.slice(0, n // 2), rows.slice(n // 2)):
        half = half.take(pa.array(np.arange(len(half))))
        once_more: Any = load_task.options(max_retries=1)  # it has been tried often enough for bad luck
        made: Any = once_more.remote(source.archive, source.access, half, frozen, source.norm)
        block, told = made
        try:
            yield Loaded(block, *ray.get(told))
        except (WorkerCrashedError, OutOfMemoryError, RayTaskError) as again:
            yield from _one_by_one(source, frozen, half, again)


def _memory_of_a_cpu() -> float:
    """Return the cluster's memory for each of its CPUs [bytes]: more would never be granted to all."""
    return float(ray.cluster_resources().get("memory", 4e9)) / n_cpus()


@ray.remote(num_cpus=1, max_retries=1)
def read_task(archive: Archive, access: AccessConfig, listing: pa.Table) -> list[Spectrum]:
    """Read some rows of a listing, those that can be."""
    return [s for s in read(archive, access, entries(listing)) if isinstance(s, Spectrum)]


def _if_it_lives(task: ray.ObjectRef[list[Spectrum]]) -> list[Spectrum]:
    """Return what a pilot's task read; nothing where a file ends its worker, which ingest finds out later."""
    try:
        return ray.get(task)
    except (WorkerCrashedError, OutOfMemoryError, RayTaskError):
        return []


def _create(url: str, source: Source, listing: pa.Table) -> Store:
    """Choose grid and median slope from the listing and a pilot sample of it, and make the store."""
    sample = pilot(listing)
    starts = range(0, len(sample), PILOT_RUN)
    runs = [sample.take(pa.array(np.arange(start, min(start + PILOT_RUN, len(sample))))) for start in starts]
    reads = [read_task.remote(source.archive, source.access, run) for run in runs]
    spectra = [spectrum for task in reads for spectrum in _if_it_lives(task)]
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
