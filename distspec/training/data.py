"""Batches of training spectra on the device, in the order of `distspec.training.sampler`.

A sample that fits into memory is held on the device. A larger one is streamed: a window of whole chunks of
the store is shuffled at a time, while a thread reads the next. Batches hold flux, ivar and redshift as
stored; the model computes arcsinh and masks on the device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from distspec.core.spectrum import Floats32
from distspec.models.batch import Batch, ModelInput
from distspec.store.store import Store
from distspec.training.sampler import EpochPlan, RowIndices

VALIDATION_BATCH_SIZE = 1024
"""Number of spectra in a batch of validation."""
N_READ_THREADS = 8
"""Number of chunks read at the same time, since each takes a round trip to an object store."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class StoreReader:
    """Reads rows of one snapshot of the store onto a device.

    Parameters
    ----------
    store : Store
        The snapshot.
    device : torch.device
        Device of the batches.
    """

    store: Store
    device: torch.device

    @cached_property
    def z(self) -> NDArray[np.float32]:
        """Redshifts of all rows of the store, shape (n_rows,)."""
        return self.store.ledger(["z"])["z"].to_numpy().astype(np.float32)

    def read(self, rows: RowIndices) -> Batch:
        """Read rows in the given order; each chunk that holds any of them is read once.

        Parameters
        ----------
        rows : ndarray of shape (n_spectra,), int64
            Row numbers in the store.
        """
        flux, ivar = map(torch.from_numpy, self._read_pixels(rows))
        batch = Batch.from_spectra(flux, ivar, torch.from_numpy(self.z[rows]))
        if self.device.type == "cpu":
            return batch
        pinned = {name: ModelInput(*(t.pin_memory() for t in m)) for name, m in batch.inputs.items()}
        return Batch(pinned, batch.z.pin_memory()).to(self.device)

    def _read_pixels(self, rows: RowIndices) -> tuple[Floats32, Floats32]:
        """Return flux and ivar of rows in the given order, read by several threads."""
        size, n_pixels = self.store.chunk_rows, self.store.config.grid.n_pixels
        flux, ivar = (np.empty((len(rows), n_pixels), np.float32) for _ in range(2))
        order = np.argsort(rows)
        cuts = np.flatnonzero(np.diff(rows[order] // size)) + 1

        def fill(part: NDArray[np.int64]) -> None:
            first = int(rows[part[0]])
            start = first - first % size
            chunk = self.store.read_spectra(slice(start, min(start + size, self.store.n_rows)))
            for values, read in zip((flux, ivar), chunk, strict=True):
                values[part] = read[rows[part] - start]

        if len(rows):
            with ThreadPoolExecutor(N_READ_THREADS, "read") as threads:
                list(threads.map(fill, np.split(order, cuts)))
        return flux, ivar


class BatchLoader(Protocol):
    """Source of one worker's training batches."""

    def iter_batches(self, plan: EpochPlan, start_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on.

        Parameters
        ----------
        plan : EpochPlan
            Order of the rows of the epoch.
        start_step : int
            First step to yield; the steps before it are already done.
        """
        ...


@dataclass(frozen=True)
class CachedLoader:
    """Yields batches from spectra that are held on the device.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,), int64
        Row numbers of the spectra, ascending.
    data : Batch
        The spectra of these rows.
    rank : int
        Number of this worker.
    """

    rows: RowIndices
    data: Batch
    rank: int

    def iter_batches(self, plan: EpochPlan, start_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on.

        Parameters
        ----------
        plan : EpochPlan
            Order of the rows of the epoch; all of them must be in `rows`.
        start_step : int
            First step to yield; the steps before it are already done.
        """
        order = np.searchsorted(self.rows, np.concatenate(plan.get_windows(self.rank)))
        positions = torch.from_numpy(order).to(self.data.z.device)
        size = plan.get_local_batch_size(self.rank)
        for step in range(start_step, plan.n_steps):
            yield self.data[positions[step * size : (step + 1) * size]]


@dataclass(frozen=True)
class StreamingLoader:
    """Yields batches that are read from the store window by window.

    Parameters
    ----------
    read_rows : callable
        Reads rows in a given order: `StoreReader.read`.
    rank : int
        Number of this worker.
    prefetch_windows : int
        Number of windows to read ahead.
    """

    read_rows: Callable[[RowIndices], Batch]
    rank: int
    prefetch_windows: int

    def iter_batches(self, plan: EpochPlan, start_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on, without reading the windows before it.

        Parameters
        ----------
        plan : EpochPlan
            Order of the rows of the epoch.
        start_step : int
            First step to yield; the steps before it are already done.
        """
        size = plan.get_local_batch_size(self.rank)
        first, last = start_step * size, plan.n_steps * size
        parts: list[RowIndices] = []
        end = 0
        for window in plan.get_windows(self.rank):
            begin, end = end, end + len(window)
            parts.append(window[max(first - begin, 0) : max(last - begin, 0)])
        return rebatch(
            prefetch_map(self.read_rows, [part for part in parts if len(part)], self.prefetch_windows), size
        )


def stream_batches(
    read_rows: Callable[[RowIndices], Batch], rows: RowIndices, window_rows: int, prefetch_windows: int
) -> Iterator[Batch]:
    """Read rows in their order and yield them in batches for validation.

    Parameters
    ----------
    read_rows : callable
        Reads rows in a given order: `StoreReader.read`.
    rows : ndarray of shape (n_rows,), int64
        The rows.
    window_rows : int
        Number of rows to read at a time.
    prefetch_windows : int
        Number of windows to read ahead.
    """
    parts = [rows[start : start + window_rows] for start in range(0, len(rows), window_rows)]
    for batch in prefetch_map(read_rows, parts, prefetch_windows):
        yield from split_batch(batch)


def split_batch(batch: Batch) -> Iterator[Batch]:
    """Divide spectra in memory into batches of `VALIDATION_BATCH_SIZE`.

    Parameters
    ----------
    batch : Batch
        The spectra; the last of the yielded batches may be smaller than the others.
    """
    for start in range(0, len(batch), VALIDATION_BATCH_SIZE):
        yield batch[start : start + VALIDATION_BATCH_SIZE]


def rebatch(windows: Iterable[Batch], batch_size: int) -> Iterator[Batch]:
    """Divide windows into batches, which may span two windows; an incomplete last batch is dropped.

    Parameters
    ----------
    windows : iterable of Batch
        Spectra in training order.
    batch_size : int
        Number of spectra in each batch.
    """
    remainder: Batch | None = None
    for window in windows:
        start = 0
        if remainder is not None:
            start = batch_size - len(remainder)
            remainder = concatenate_batches(remainder, window[:start])
            if len(remainder) < batch_size:
                continue
            yield remainder
        stop = start + (len(window) - start) // batch_size * batch_size
        for first in range(start, stop, batch_size):
            yield window[first : first + batch_size]
        remainder = window[stop:] if stop < len(window) else None


def concatenate_batches(first: Batch, second: Batch) -> Batch:
    """Return the spectra of one batch followed by those of another.

    Parameters
    ----------
    first, second : Batch
        Batches with the same inputs, on the same device.
    """
    inputs = {
        name: ModelInput(*map(torch.cat, zip(m, second.inputs[name], strict=True)))
        for name, m in first.inputs.items()
    }
    return Batch(inputs, torch.cat([first.z, second.z]))


def prefetch_map(function: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
    """Yield ``function(item)`` of each item in order, computed ahead in a thread.

    Parameters
    ----------
    function : callable
        Applied to each item.
    items : iterable
        The items.
    depth : int
        Number of results to compute ahead.

    Examples
    --------
    >>> list(prefetch_map(lambda x: 2 * x, [1, 2, 3], 2))
    [2, 4, 6]
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(1, "prefetch") as thread:
        try:
            for item in items:
                pending.append(thread.submit(function, item))
                if len(pending) > depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def find_nonfinite(batch: Batch) -> NDArray[np.bool_]:
    """Return which spectra have a redshift or an unmasked value that is not finite.

    Parameters
    ----------
    batch : Batch
        The spectra, on any device.

    Returns
    -------
    ndarray of shape (n_spectra,), bool
    """
    bad = ~batch.z.isfinite()
    for value, ivar in batch.inputs.values():
        bad |= ((ivar != 0) & ~(value.isfinite() & ivar.isfinite())).any(dim=1)
    return bad.cpu().numpy()
