"""The store on local disk: 8,192 rows of 640 pixels of noise, written in one commit and read again.

Appending to a new, empty store is compared with `np.save` of the same arrays; reading whole chunks, one at a
time, with reading random rows, 64 at a time. Reads come from the page cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from distspec.preprocessing.resampling import GridConfig
from distspec.store.config import StoreConfig
from distspec.store.store import Store, create_store
from tests.benchmarks.timing import Row, rate_row, time_pair
from tests.conftest import append, batch_of, identity_of

N_ROWS, N_RANDOM_ROWS, BATCH_SIZE, REPEATS = 8192, 1024, 64, 5


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        rows, append_to_next = _time_append(Path(folder))
        return [*rows, *_time_reading(append_to_next())]


def _time_append(folder: Path) -> tuple[list[Row], Callable[[], Store]]:
    """Return rows, and a function that appends to another empty store."""
    grid = GridConfig().resolve(np.array([5.0]))
    batch, identity = batch_of(N_ROWS, grid.n_pixels, np.random.default_rng(0)), identity_of(N_ROWS)
    numbers = count()
    empty_stores = [
        create_store(str(folder / f"store{next(numbers)}"), StoreConfig(grid, 1500.0, -2.0))
        for _ in range(REPEATS + 2)
    ]

    def append_to_next() -> Store:
        return append(empty_stores.pop(), batch, identity)

    def save() -> None:
        np.save(folder / "flux.npy", batch.flux)
        np.save(folder / "ivar.npy", batch.ivar)

    append_seconds, save_seconds = time_pair(append_to_next, save, REPEATS)
    reference = rate_row("np.save of flux and ivar", N_ROWS, "rows", save_seconds)
    row = rate_row("append and commit", N_ROWS, "rows", append_seconds)
    return [row.relative_to(reference), reference], append_to_next


def _time_reading(store: Store) -> list[Row]:
    rng = np.random.default_rng(0)

    def read_chunks() -> None:
        for start in range(0, N_ROWS, store.chunk_rows):
            store.read_spectra(slice(start, start + store.chunk_rows))

    def read_random_rows() -> None:
        for _ in range(N_RANDOM_ROWS // BATCH_SIZE):
            store.read_spectra(rng.choice(N_ROWS, BATCH_SIZE, replace=False))

    chunk_seconds, random_seconds = time_pair(read_chunks, read_random_rows, REPEATS)
    reference = rate_row(f"random rows, {BATCH_SIZE} at a time", N_RANDOM_ROWS, "rows", random_seconds)
    return [rate_row("whole chunks", N_ROWS, "rows", chunk_seconds).relative_to(reference), reference]
