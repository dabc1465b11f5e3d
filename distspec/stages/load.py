"""Loading on Ray: tasks of a size in bytes read and preprocess; those that die are halved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from distspec.archives.base import Archive
from distspec.core import memory
from distspec.core import memory as memory_module
from distspec.core.errors import Reason, Rejected
from distspec.core.spectrum import Floats32, Spectrum
from distspec.ingest.read import PILOT_RUN, Loaded, entries, load, read
from distspec.ingest.source import Source
from distspec.io.remote.config import AccessConfig
from distspec.preprocessing.normalization import NormConfig
from distspec.stages.pool import done_in_order
from distspec.stages.session import places, two_a_cpu
from distspec.store.store import Frozen


class Told(NamedTuple):
    """A batch without its spectra, which stay where they were made."""

    rows: pa.Table
    rejected: list[Rejected]
    n_bytes: int


@ray.remote(num_cpus=1, num_returns=2)
def load_task(
    archive: Archive, access: AccessConfig, listing: pa.Table, frozen: Frozen, norm: NormConfig
) -> tuple[tuple[Floats32, Floats32], Told]:
    """Read and preprocess a batch: its spectra, and what is said of them."""
    loaded = load(archive, access, listing, frozen.grid, norm, frozen.sample_slope)
    return loaded.block, Told(loaded.rows, loaded.rejected, loaded.n_bytes)


def loaded_in_order(source: Source, frozen: Frozen, todo: pa.Table) -> Iterator[Loaded]:
    """Yield what batches of a listing became, in its order, their blocks as Ray's objects."""
    archive, config = source.archive, source.config
    size = config.batch_size(archive)
    shared = ray.put(archive)
    memory = memory_module.loading(size * archive.spectrum_bytes)
    places("a task of ingest", {"CPU": 1.0, "memory": memory}, "lower --ingest.task-mb")
    task: Any = load_task.options(memory=memory)
    blocks: dict[Any, Any] = {}

    def submit(batch: slice) -> ray.ObjectRef[Any]:
        # Taken, not sliced: a slice would travel with the whole table.
        rows = todo.take(pa.array(np.arange(batch.start, batch.stop)))
        made: Any = task.remote(shared, source.access, rows, frozen, source.norm)
        block, told = made
        blocks[told] = block
        return told

    batches = (slice(start, min(start + size, len(todo))) for start in range(0, len(todo), size))
    for batch, told in done_in_order(submit, batches, lambda: config.in_flight or two_a_cpu()):
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
        # It has been tried often enough for bad luck.
        memory = memory_module.loading(len(half) * source.archive.spectrum_bytes)
        once_more: Any = load_task.options(memory=memory, max_retries=1)
        made: Any = once_more.remote(source.archive, source.access, half, frozen, source.norm)
        block, told = made
        try:
            yield Loaded(block, *ray.get(told))
        except (WorkerCrashedError, OutOfMemoryError, RayTaskError) as again:
            yield from _one_by_one(source, frozen, half, again)


@ray.remote(num_cpus=1, memory=memory.WORKER, max_retries=1)
def read_task(archive: Archive, access: AccessConfig, listing: pa.Table) -> list[Spectrum]:
    """Read some rows of a listing, those that can be."""
    return [s for s in read(archive, access, entries(listing)) if isinstance(s, Spectrum)]


def read_runs(source: Source, sample: pa.Table) -> list[Spectrum]:
    """Read a pilot sample, each run of neighbours in a task of its own: one that dies costs no other."""
    starts = range(0, len(sample), PILOT_RUN)
    runs = [sample.take(pa.array(np.arange(start, min(start + PILOT_RUN, len(sample))))) for start in starts]
    reads = [read_task.remote(source.archive, source.access, run) for run in runs]
    return [spectrum for task in reads for spectrum in _if_it_lives(task)]


def _if_it_lives(task: ray.ObjectRef[list[Spectrum]]) -> list[Spectrum]:
    """Return what a pilot's task read; nothing where a file ends its worker, which ingest finds out later."""
    try:
        return ray.get(task)
    except (WorkerCrashedError, OutOfMemoryError, RayTaskError):
        return []
