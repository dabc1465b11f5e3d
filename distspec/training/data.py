"""Feeding the model: batches of training spectra on the device, in the order of `distspec.training.sampler`.

A set that fits is held whole on the device. A larger one is streamed: whole chunks of the store, a window of
them shuffled at a time, the next ones read meanwhile by a thread. What is read is flux, ivar and redshift as
stored; arcsinh and masks are made on the device, by the model.
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
N_READ_THREADS = 8
"""Chunks read at a time: on an object store each takes its round trip."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class StoreReader:
    """Reads rows of one state of the store onto a device."""

    store: Store
    device: torch.device

    @cached_property
    def z(self) -> NDArray[np.float32]:
        """Redshifts of all rows."""
        return self.store.ledger(["z"])["z"].to_numpy().astype(np.float32)

    def read(self, rows: RowIndices) -> Batch:
        """Return rows in the order given; each chunk that holds some is read once, whole."""
        flux, ivar = map(torch.from_numpy, self._read_pixels(rows))
        batch = Batch.from_spectra(flux, ivar, torch.from_numpy(self.z[rows]))
        if self.device.type == "cpu":
            return batch
        pinned = {name: ModelInput(*(t.pin_memory() for t in m)) for name, m in batch.inputs.items()}
        return Batch(pinned, batch.z.pin_memory()).to(self.device)

    def _read_pixels(self, rows: RowIndices) -> tuple[Floats32, Floats32]:
        """Return flux and ivar of rows in any order."""
        size, n_pixels = self.store.chunk_rows, self.store.config.grid.n_pixels
        flux, ivar = (np.empty((len(rows), n_pixels), np.float32) for _ in range(2))
        order = np.argsort(rows)
        cuts = np.flatnonzero(np.diff(rows[order] // size)) + 1

        def fill(part: NDArray[np.int64]) -> None:
            first = int(rows[part[0]])
            start = first - first % size
            there = self.store.read_spectra(slice(start, min(start + size, self.store.n_rows)))
            for values, read in zip((flux, ivar), there, strict=True):
                values[part] = read[rows[part] - start]

        if len(rows):
            with ThreadPoolExecutor(N_READ_THREADS, "read") as threads:
                list(threads.map(fill, np.split(order, cuts)))
        return flux, ivar


class BatchLoader(Protocol):
    """Gives one worker its batches."""

    def iter_batches(self, plan: EpochPlan, start_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on."""
        ...


@dataclass(frozen=True)
class CachedLoader:
    """Gives batches of rows that lie on the device.

    Parameters
    ----------
    rows : (n,) int64, ascending
    data : those rows
    rank : int
    """

    rows: RowIndices
    data: Batch
    rank: int

    def iter_batches(self, plan: EpochPlan, start_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on."""
        order = np.searchsorted(self.rows, np.concatenate(plan.get_windows(self.rank)))
        places, size = torch.from_numpy(order).to(self.data.z.device), plan.get_local_batch_size(self.rank)
        for step in range(start_step, plan.n_steps):
            yield self.data[places[step * size : (step + 1) * size]]


@dataclass(frozen=True)
class StreamingLoader:
    """Gives batches of rows that are read when their turn comes.

    Parameters
    ----------
    read_rows : gives rows in the order asked for
    rank : int
    prefetch_windows : int
        Windows read ahead.
    """

    read_rows: Callable[[RowIndices], Batch]
    rank: int
    prefetch_windows: int

    def iter_batches(self, plan: EpochPlan, start_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on; no window that lies before it is read."""
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
    """Yield rows in their order, for validation, `window_rows` of them read at a time."""
    parts = [rows[start : start + window_rows] for start in range(0, len(rows), window_rows)]
    for batch in prefetch_map(read_rows, parts, prefetch_windows):
        yield from split_batch(batch)


def split_batch(batch: Batch) -> Iterator[Batch]:
    """Cut objects at hand into batches for validation."""
    for start in range(0, len(batch), VALIDATION_BATCH_SIZE):
        yield batch[start : start + VALIDATION_BATCH_SIZE]


def rebatch(windows: Iterable[Batch], batch_size: int) -> Iterator[Batch]:
    """Cut windows into batches of `batch_size`, over their borders; what does not fill a last one is left out."""
    over: Batch | None = None
    for window in windows:
        start = 0
        if over is not None:
            start = batch_size - len(over)
            over = concatenate_batches(over, window[:start])
            if len(over) < batch_size:
                continue
            yield over
        stop = start + (len(window) - start) // batch_size * batch_size
        for at in range(start, stop, batch_size):
            yield window[at : at + batch_size]
        over = window[stop:] if stop < len(window) else None


def concatenate_batches(first: Batch, second: Batch) -> Batch:
    """Return the objects of one batch and then those of another."""
    inputs = {
        name: ModelInput(*map(torch.cat, zip(m, second.inputs[name], strict=True)))
        for name, m in first.inputs.items()
    }
    return Batch(inputs, torch.cat([first.z, second.z]))


def prefetch_map(function: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
    """Yield function(item) of each item in turn, `depth` of them computed ahead by a thread.

    Examples
    --------
    >>> list(ahead(lambda x: 2 * x, [1, 2, 3], 2))
    [2, 4, 6]
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(1, "feed") as thread:
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
    """Tell which objects hold a value that is not finite where it counts."""
    bad = ~batch.z.isfinite()
    for value, ivar in batch.inputs.values():
        bad |= ((ivar != 0) & ~(value.isfinite() & ivar.isfinite())).any(dim=1)
    return bad.cpu().numpy()
