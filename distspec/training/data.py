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
from distspec.models.vae import Batch, Measured
from distspec.store.store import Store
from distspec.training.sampler import Epoch, Rows

VALIDATION_BATCH = 1024
READS = 8
"""Chunks read at a time: on an object store each takes its round trip."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Reader:
    """Reads rows of one state of the store onto a device."""

    store: Store
    device: torch.device

    @cached_property
    def z(self) -> NDArray[np.float32]:
        """Redshifts of all rows."""
        return self.store.ledger(["z"])["z"].to_numpy().astype(np.float32)

    def read(self, rows: Rows) -> Batch:
        """Return rows in the order given; each chunk that holds some is read once, whole."""
        flux, ivar = map(torch.from_numpy, self._pixels(rows))
        batch = Batch.of_spectra(flux, ivar, torch.from_numpy(self.z[rows]))
        if self.device.type == "cpu":
            return batch
        pinned = {name: Measured(*(t.pin_memory() for t in m)) for name, m in batch.inputs.items()}
        return Batch(pinned, batch.z.pin_memory()).to(self.device)

    def _pixels(self, rows: Rows) -> tuple[Floats32, Floats32]:
        """Return flux and ivar of rows in any order."""
        size, n_pixels = self.store.chunk_rows, self.store.frozen.grid.n_pixels
        flux, ivar = (np.empty((len(rows), n_pixels), np.float32) for _ in range(2))
        order = np.argsort(rows)
        cuts = np.flatnonzero(np.diff(rows[order] // size)) + 1

        def fill(part: NDArray[np.int64]) -> None:
            first = int(rows[part[0]])
            start = first - first % size
            there = self.store.spectra(slice(start, min(start + size, self.store.n_rows)))
            for values, read in zip((flux, ivar), there, strict=True):
                values[part] = read[rows[part] - start]

        if len(rows):
            with ThreadPoolExecutor(READS, "read") as threads:
                list(threads.map(fill, np.split(order, cuts)))
        return flux, ivar


class Feed(Protocol):
    """Gives one worker its batches."""

    def batches(self, epoch: Epoch, start: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on."""
        ...


@dataclass(frozen=True)
class Cached:
    """Gives batches of rows that lie on the device.

    Parameters
    ----------
    rows : (n,) int64, ascending
    held : those rows
    rank : int
    """

    rows: Rows
    held: Batch
    rank: int

    def batches(self, epoch: Epoch, start: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on."""
        order = np.searchsorted(self.rows, np.concatenate(epoch.windows(self.rank)))
        places, size = torch.from_numpy(order).to(self.held.z.device), epoch.share(self.rank)
        for step in range(start, epoch.n_steps):
            yield self.held[places[step * size : (step + 1) * size]]


@dataclass(frozen=True)
class Streamed:
    """Gives batches of rows that are read when their turn comes.

    Parameters
    ----------
    read : gives rows in the order asked for
    rank : int
    prefetch : int
        Windows read ahead.
    """

    read: Callable[[Rows], Batch]
    rank: int
    prefetch: int

    def batches(self, epoch: Epoch, start: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on; no window that lies before it is read."""
        size = epoch.share(self.rank)
        first, last = start * size, epoch.n_steps * size
        parts: list[Rows] = []
        end = 0
        for window in epoch.windows(self.rank):
            begin, end = end, end + len(window)
            parts.append(window[max(first - begin, 0) : max(last - begin, 0)])
        return cut(ahead(self.read, [part for part in parts if len(part)], self.prefetch), size)


def sweep(read: Callable[[Rows], Batch], rows: Rows, window: int, prefetch: int) -> Iterator[Batch]:
    """Yield rows in their order, for validation, `window` of them read at a time."""
    parts = [rows[start : start + window] for start in range(0, len(rows), window)]
    for batch in ahead(read, parts, prefetch):
        yield from slices(batch)


def slices(batch: Batch) -> Iterator[Batch]:
    """Cut objects at hand into batches for validation."""
    for start in range(0, len(batch), VALIDATION_BATCH):
        yield batch[start : start + VALIDATION_BATCH]


def cut(windows: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Cut windows into batches of `size`, over their borders; what does not fill a last one is left out."""
    over: Batch | None = None
    for window in windows:
        start = 0
        if over is not None:
            start = size - len(over)
            over = joined(over, window[:start])
            if len(over) < size:
                continue
            yield over
        stop = start + (len(window) - start) // size * size
        for at in range(start, stop, size):
            yield window[at : at + size]
        over = window[stop:] if stop < len(window) else None


def joined(a: Batch, b: Batch) -> Batch:
    """Return the objects of one batch and then those of another."""
    inputs = {
        name: Measured(*map(torch.cat, zip(m, b.inputs[name], strict=True))) for name, m in a.inputs.items()
    }
    return Batch(inputs, torch.cat([a.z, b.z]))


def ahead(function: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
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


def not_finite(batch: Batch) -> NDArray[np.bool_]:
    """Tell which objects hold a value that is not finite where it counts."""
    bad = ~batch.z.isfinite()
    for value, ivar in batch.inputs.values():
        bad |= ((ivar != 0) & ~(value.isfinite() & ivar.isfinite())).any(dim=1)
    return bad.cpu().numpy()
