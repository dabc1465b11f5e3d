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
from distspec.core.errors import QuarantineReason, QuarantineRecord
from distspec.core.spectrum import Floats32, Spectrum
from distspec.ingest.read import (
    PILOT_GROUP_SIZE,
    LoadedBatch,
    listing_to_entries,
    load_batch,
    read_archive_spectra,
)
from distspec.ingest.source import ArchiveSource
from distspec.io.remote.config import AccessConfig
from distspec.preprocessing.normalization import NormConfig
from distspec.stages.pool import map_ordered_refs
from distspec.stages.session import default_max_in_flight, require_worker_slots
from distspec.store.store import StoreConfig


class BatchSummary(NamedTuple):
    """A batch without its spectra, which stay where they were made."""

    rows: pa.Table
    rejected: list[QuarantineRecord]
    n_bytes: int


@ray.remote(num_cpus=1, num_returns=2)
def load_batch_task(
    archive: Archive, access: AccessConfig, listing: pa.Table, store_config: StoreConfig, norm: NormConfig
) -> tuple[tuple[Floats32, Floats32], BatchSummary]:
    """Read and preprocess a batch: its spectra, and what is said of them."""
    loaded = load_batch(archive, access, listing, store_config.grid, norm, store_config.default_slope)
    return loaded.block, BatchSummary(loaded.rows, loaded.rejected, loaded.n_bytes)


def iter_loaded_batches(
    archive_source: ArchiveSource, store_config: StoreConfig, listing: pa.Table
) -> Iterator[LoadedBatch]:
    """Yield what batches of a listing became, in its order, their blocks as Ray's objects."""
    archive, config = archive_source.archive, archive_source.config
    size = config.batch_size(archive)
    shared = ray.put(archive)
    memory = memory_module.estimate_loading_memory(size * archive.spectrum_bytes)
    require_worker_slots("a task of ingest", {"CPU": 1.0, "memory": memory}, "lower --ingest.task-mb")
    task: Any = load_batch_task.options(memory=memory)
    blocks: dict[Any, Any] = {}

    def submit(batch: slice) -> ray.ObjectRef[Any]:
        # Taken, not sliced: a slice would travel with the whole table.
        rows = listing.take(pa.array(np.arange(batch.start, batch.stop)))
        made: Any = task.remote(shared, archive_source.access, rows, store_config, archive_source.norm)
        block, told = made
        blocks[told] = block
        return told

    batches = (slice(start, min(start + size, len(listing))) for start in range(0, len(listing), size))
    for batch, told in map_ordered_refs(submit, batches, lambda: config.in_flight or default_max_in_flight()):
        block = blocks.pop(told)
        try:
            yield LoadedBatch(block, *ray.get(told))
        except (WorkerCrashedError, OutOfMemoryError, RayTaskError) as error:
            yield from _bisect_batch(
                archive_source, store_config, listing.slice(batch.start, batch.stop - batch.start), error
            )


def _bisect_batch(
    archive_source: ArchiveSource, store_config: StoreConfig, listing: pa.Table, error: Exception
) -> Iterator[LoadedBatch]:
    """Halve a batch that ends its worker until what does so stands alone."""
    n = len(listing)
    if n == 1:
        entry = listing_to_entries(listing)[0]
        reason = QuarantineReason.UNREADABLE if isinstance(error, RayTaskError) else QuarantineReason.CRASHED
        seen = f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:300]}"
        nothing = np.zeros((0, store_config.grid.n_pixels), np.float32)
        rejected = [QuarantineRecord(entry.object_id, entry.version, entry.uri, reason, seen)]
        yield LoadedBatch(ray.put((nothing, nothing)), listing.slice(0, 0), rejected)
        return
    for half in (listing.slice(0, n // 2), listing.slice(n // 2)):
        half = half.take(pa.array(np.arange(len(half))))
        # It has been tried often enough for bad luck.
        memory = memory_module.estimate_loading_memory(len(half) * archive_source.archive.spectrum_bytes)
        once_more: Any = load_batch_task.options(memory=memory, max_retries=1)
        made: Any = once_more.remote(
            archive_source.archive, archive_source.access, half, store_config, archive_source.norm
        )
        block, told = made
        try:
            yield LoadedBatch(block, *ray.get(told))
        except (WorkerCrashedError, OutOfMemoryError, RayTaskError) as again:
            yield from _bisect_batch(archive_source, store_config, half, again)


@ray.remote(num_cpus=1, memory=memory.WORKER_BYTES, max_retries=1)
def read_pilot_task(archive: Archive, access: AccessConfig, listing: pa.Table) -> list[Spectrum]:
    """Read some rows of a listing, those that can be."""
    return [
        s
        for s in read_archive_spectra(archive, access, listing_to_entries(listing))
        if isinstance(s, Spectrum)
    ]


def read_pilot_sample(archive_source: ArchiveSource, sample: pa.Table) -> list[Spectrum]:
    """Read a pilot sample, each run of neighbours in a task of its own: one that dies costs no other."""
    starts = range(0, len(sample), PILOT_GROUP_SIZE)
    runs = [
        sample.take(pa.array(np.arange(start, min(start + PILOT_GROUP_SIZE, len(sample)))))
        for start in starts
    ]
    reads = [read_pilot_task.remote(archive_source.archive, archive_source.access, run) for run in runs]
    return [spectrum for task in reads for spectrum in _get_or_empty(task)]


def _get_or_empty(task: ray.ObjectRef[list[Spectrum]]) -> list[Spectrum]:
    """Return what a pilot's task read; nothing where a file ends its worker, which ingest finds out later."""
    try:
        return ray.get(task)
    except (WorkerCrashedError, OutOfMemoryError, RayTaskError):
        return []
