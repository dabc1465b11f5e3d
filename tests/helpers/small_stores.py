"""Small stores with reproducible content, made without Ray and without files."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa

from distspec.core.errors import QuarantineRecord
from distspec.core.spectrum import Floats32, WavelengthGrid, compute_row_checksums
from distspec.io.paths import store_url
from distspec.store.config import StoreConfig
from distspec.store.store import Store, create_store
from distspec.store.transactions import Transaction

GRID = WavelengthGrid("log", 1100.0, 8400.0, 32)


def make_pixels(names: Sequence[str]) -> tuple[Floats32, Floats32]:
    """Return flux and ivar of shape (n, 32), which depend on the names alone."""
    seeds = [int.from_bytes(blake2b(name.encode(), digest_size=4).digest()) for name in names]
    flux = np.array([np.random.default_rng(seed).normal(1.0, 0.1, 32) for seed in seeds], np.float32)
    ivar = np.full_like(flux, 100.0)
    ivar[:, 0] = 0.0
    return flux, ivar


def make_rows(names: Sequence[str], version: str = "v1") -> pa.Table:
    """Return ledger rows for `make_pixels` of the same names, each with a source of its own."""
    flux, ivar = make_pixels(names)
    n = len(names)
    text = {name: [name] * n for name in ("root", "srcid", "grating", "filter")}
    seeds = [int.from_bytes(blake2b(name.encode(), digest_size=2).digest()) for name in names]
    numbers = {
        "ra": np.array(seeds) * 5e-3,
        "dec": np.zeros(n),
        "z": np.full(n, 5.0),
        "norm": np.full(n, 1e-19),
        "norm_err": np.full(n, 1e-20),
        "norm_snr": np.full(n, 10.0, np.float32),
        "slope": np.full(n, -2.0),
        "norm_window": np.zeros(n, np.int8),
        "snr": np.full(n, 10.0, np.float32),
        "n_valid": np.full(n, 31, np.int32),
        "grade": np.full(n, 3, np.int8),
        "checksum": compute_row_checksums(flux, ivar),
    }
    identity = {
        "object_id": list(names),
        "source_id": [f"S {name}" for name in names],
        "version": [version] * n,
        "uri": [f"file:///{name}" for name in names],
    }
    return pa.table(identity | text | numbers)


def new_store(root: Path | str) -> Store:
    """Create an empty store below a root."""
    return create_store(store_url(str(root)), StoreConfig(GRID, 1500.0, -2.0))


def grow(
    store: Store, names: Sequence[str], rejected: Sequence[QuarantineRecord] = (), version: str = "v1"
) -> Store:
    """Commit spectra with some names, and rejected ones."""
    transaction = Transaction(store)
    if names:
        transaction.write_spectra(store.n_rows, *make_pixels(names))
        transaction.append_rows(make_rows(names, version))
    transaction.append_quarantine(rejected)
    return transaction.commit(f"{len(names)} spectra")


def names(first: int, n: int) -> list[str]:
    """Return consecutive names of spectra."""
    return [f"o{i:04d}" for i in range(first, first + n)]
