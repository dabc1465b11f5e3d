"""The store on local disk: 8,192 rows of 640 pixels of noise, flux and ivar, in one commit and back.

Appending to a new, empty store against `np.save` of the same arrays; whole chunks, one a read, against
random rows, 64 a read. Reads come from the page cache.
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
from tests.benchmarks.timing import Row, paired, rate
from tests.conftest import append, batch_of, identity_of

N_ROWS, N_RANDOM, BATCH, REPEATS = 8192, 1024, 64, 5


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        rows, store = _append(Path(folder))
        return [*rows, *_read(store())]


def _append(folder: Path) -> tuple[list[Row], Callable[[], Store]]:
    grid = GridConfig().resolve(np.array([5.0]))
    batch, identity = batch_of(N_ROWS, grid.n_pixels, np.random.default_rng(0)), identity_of(N_ROWS)
    numbers = count()
    empty = [
        create_store(str(folder / f"store{next(numbers)}"), StoreConfig(grid, 1500.0, -2.0))
        for _ in range(REPEATS + 2)
    ]

    def into_next() -> Store:
        return append(empty.pop(), batch, identity)

    def save() -> None:
        np.save(folder / "flux.npy", batch.flux)
        np.save(folder / "ivar.npy", batch.ivar)

    ours, theirs = paired(into_next, save, REPEATS)
    bare = rate("np.save of flux and ivar", N_ROWS, "rows", theirs)
    return [rate("append and commit", N_ROWS, "rows", ours).run_null_test(bare), bare], into_next


def _read(store: Store) -> list[Row]:
    rng = np.random.default_rng(0)

    def chunks() -> None:
        for start in range(0, N_ROWS, store.chunk_rows):
            store.read_spectra(slice(start, start + store.chunk_rows))

    def random_rows() -> None:
        for _ in range(N_RANDOM // BATCH):
            store.read_spectra(rng.choice(N_ROWS, BATCH, replace=False))

    whole, scattered = paired(chunks, random_rows, REPEATS)
    at_random = rate(f"random rows, {BATCH} a read", N_RANDOM, "rows", scattered)
    return [rate("whole chunks", N_ROWS, "rows", whole).run_null_test(at_random), at_random]
