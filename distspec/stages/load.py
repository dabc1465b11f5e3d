"""Reading and preprocessing by Ray tasks; the batch of a task that dies is bisected to isolate the cause."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from distspec.archives.base import Archive
from distspec.core import memory as memory_module
from distspec.core.errors import QuarantineReason, QuarantineRecord
from distspec.core.spectrum import Floats32, Spectrum
from distspec.ingest.read import LoadedBatch, listing_to_entries, load_batch, read_archive_spectra
from distspec.ingest.source import ArchiveSource
from distspec.ingest.store_config import PILOT_GROUP_SIZE
from distspec.io.remote.config import AccessConfig
from distspec.io.storage import is_disk_full
from distspec.preprocessing.normalization import NormConfig
from distspec.stages.pool import (
    count_retries,
    get_result,
    get_retry_number,
    map_ordered_refs,
    report_retries,
)
from distspec.stages.session import (
    OBJECT_STORE_FAILURES,
    default_max_in_flight,
    require_worker_slots,
)
from distspec.store.config import StoreConfig

log = logging.getLogger("distspec")
TASK_FAILURES = (WorkerCrashedError, OutOfMemoryError, RayTaskError)


@dataclass(frozen=True)
class BatchSummary:
    """A `LoadedBatch` without its block, which stays on the node where it was made."""

    rows: pa.Table
    """Ledger columns that are known before the commit, one row for each good spectrum."""
    rejected: list[QuarantineRecord]
    """The other spectra of the batch."""
    n_bytes: int
    """Number of bytes that were read from the archive."""
    n_retries: int
    """Number of earlier attempts, each of which ended with its process or node."""


@dataclass(frozen=True)
class BatchRefs:
    """Ray references to the results of `load_batch_task`.

    Parameters
    ----------
    block : ObjectRef
        Flux and ivar, each an ndarray of shape (n_rows, n_pixels).
    summary : ObjectRef
        A `BatchSummary`.
    """

    block: Any
    summary: Any

    def fetch(self, listing: pa.Table) -> LoadedBatch:
        """Return the batch with its block as a reference; raise one of `TASK_FAILURES` if the task failed.

        Parameters
        ----------
        listing : pyarrow.Table
            Rows of the batch, which the log names if the task was repeated.
        """
        summary: BatchSummary = ray.get(self.summary)
        report_retries(_describe_reading(listing), summary.n_retries)
        return LoadedBatch(self.block, summary.rows, summary.rejected, summary.n_bytes)


@ray.remote(num_cpus=1, num_returns=2)
def load_batch_task(
    archive: Archive, access: AccessConfig, listing: pa.Table, store_config: StoreConfig, norm: NormConfig
) -> tuple[tuple[Floats32, Floats32], BatchSummary]:
    """Read and preprocess a batch of a listing; return its block and its summary."""
    loaded = load_batch(archive, access, listing, store_config.grid, norm, store_config.default_slope)
    return loaded.block, BatchSummary(loaded.rows, loaded.rejected, loaded.n_bytes, get_retry_number())


def iter_loaded_batches(
    source: ArchiveSource, store_config: StoreConfig, listing: pa.Table
) -> Iterator[LoadedBatch]:
    """Yield the loaded batches of a listing, in its order.

    Parameters
    ----------
    source : ArchiveSource
        Archive and settings.
    store_config : StoreConfig
        Settings of the store.
    listing : pyarrow.Table
        Rows to read.

    Yields
    ------
    LoadedBatch
        Its block is a Ray reference.

    Raises
    ------
    ConfigError
        If no node has enough memory for a task.
    """
    archive, config = source.archive, source.config
    size = config.batch_size(archive)
    archive_ref = ray.put(archive)
    memory = memory_module.estimate_loading_memory(size * archive.spectrum_bytes)
    require_worker_slots("a task of ingest", {"CPU": 1.0, "memory": memory}, "lower --ingest.task-mb")
    task: Any = load_batch_task.options(memory=memory)
    blocks: dict[Any, Any] = {}

    def submit(batch: slice) -> ray.ObjectRef[Any]:
        # Rows are taken and not sliced: Ray would send the complete table with a slice.
        rows = listing.take(pa.array(np.arange(batch.start, batch.stop)))
        refs: Any = task.remote(archive_ref, source.access, rows, store_config, source.norm)
        block, summary = refs
        blocks[summary] = block
        return summary

    batches = (slice(start, min(start + size, len(listing))) for start in range(0, len(listing), size))
    for batch, summary in map_ordered_refs(
        submit, batches, lambda: config.in_flight or default_max_in_flight()
    ):
        rows = listing.slice(batch.start, batch.stop - batch.start)
        try:
            yield BatchRefs(blocks.pop(summary), summary).fetch(rows)
        except TASK_FAILURES as error:
            yield from _bisect_batch(source, store_config, rows, error)


def _bisect_batch(
    source: ArchiveSource, store_config: StoreConfig, listing: pa.Table, error: Exception
) -> Iterator[LoadedBatch]:
    """Load each half of a batch whose task failed; a single spectrum whose task fails is rejected."""
    _raise_host_failure(error)
    n = len(listing)
    if n == 1:
        yield _reject_entry(listing, store_config, error)
        return
    log.warning("%s failed (%s): each half is read by itself", _describe_reading(listing), _last_line(error))
    for half in (listing.slice(0, n // 2), listing.slice(n // 2)):
        half = half.take(pa.array(np.arange(len(half))))
        memory = memory_module.estimate_loading_memory(len(half) * source.archive.spectrum_bytes)
        # One retry is enough: the batch has been tried several times.
        task: Any = load_batch_task.options(memory=memory, max_retries=1)
        refs: Any = task.remote(source.archive, source.access, half, store_config, source.norm)
        try:
            yield BatchRefs(*refs).fetch(half)
        except TASK_FAILURES as half_error:
            yield from _bisect_batch(source, store_config, half, half_error)


def _reject_entry(listing: pa.Table, store_config: StoreConfig, error: Exception) -> LoadedBatch:
    """Return the batch of a single spectrum that ended its task."""
    entry = listing_to_entries(listing)[0]
    reason = QuarantineReason.UNREADABLE if isinstance(error, RayTaskError) else QuarantineReason.CRASHED
    detail = f"{type(error).__name__}: {_last_line(error)}"
    empty = np.zeros((0, store_config.grid.n_pixels), np.float32)
    rejected = [QuarantineRecord(entry.object_id, entry.version, entry.uri, reason, detail)]
    return LoadedBatch(ray.put((empty, empty)), listing.slice(0, 0), rejected)


def _raise_host_failure(error: Exception) -> None:
    """Raise the error of a failed task again if its node lacks room, for which no spectrum is to blame."""
    if isinstance(error, OBJECT_STORE_FAILURES) or is_disk_full(error):
        raise error


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:300]


def _describe_reading(listing: pa.Table) -> str:
    return f"reading of {len(listing)} spectra from {listing['object_id'][0]} on"


@ray.remote(num_cpus=1, memory=memory_module.WORKER_BYTES, max_retries=1)
@count_retries
def read_pilot_task(archive: Archive, access: AccessConfig, listing: pa.Table) -> list[Spectrum]:
    """Return the spectra of a listing that can be read."""
    return [
        outcome
        for outcome in read_archive_spectra(
            archive, access, listing_to_entries(listing), archive.requires_position
        )
        if isinstance(outcome, Spectrum)
    ]


def read_pilot_sample(source: ArchiveSource, sample: pa.Table) -> list[Spectrum]:
    """Read a pilot sample, one task for each group of neighbors, so that a failed task costs only its group.

    Parameters
    ----------
    source : ArchiveSource
        Archive and settings.
    sample : pyarrow.Table
        Rows that `distspec.ingest.store_config.select_pilot_sample` selected.

    Returns
    -------
    list of Spectrum
        The spectra that can be read.
    """
    starts = range(0, len(sample), PILOT_GROUP_SIZE)
    groups = [
        sample.take(pa.array(np.arange(start, min(start + PILOT_GROUP_SIZE, len(sample)))))
        for start in starts
    ]
    tasks = [read_pilot_task.remote(source.archive, source.access, group) for group in groups]
    return [spectrum for task in tasks for spectrum in _get_or_empty(task)]


def _get_or_empty(task: ray.ObjectRef[Any]) -> list[Spectrum]:
    """Return the result of a pilot task, nothing if it failed: ingest reads and reports its files later."""
    try:
        return get_result(task, "of the pilot sample")
    except TASK_FAILURES as error:
        _raise_host_failure(error)
        return []
