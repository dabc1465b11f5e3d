"""Shared by all tests: where real data is, one local Ray, and made-up spectra with known answers."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from distspec.anomaly.score import compute_anomaly_scores
from distspec.archives.base import Archive, SpectrumEntry
from distspec.archives.catalogs import make_absolute_url
from distspec.catalog.build import build_tables
from distspec.catalog.editions import CatalogConfig
from distspec.catalog.runs import build_clustering_table, save_run
from distspec.core import schema
from distspec.core.errors import QuarantineRecord
from distspec.core.records import collect_versions, utc_now_iso
from distspec.core.spectrum import Spectrum, SpectrumBatch, WavelengthGrid, compute_row_checksums
from distspec.io.paths import model_url, run_url
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import open_archive_client
from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS, THRESHOLDS
from distspec.models.latents import append_latents
from distspec.models.serialization import read_model_record
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.store import Store, StoreConfig, create_store
from distspec.store.transactions import Transaction
from tests.helpers import models

DATA = Path(os.environ.get("DISTSPEC_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


def real_data(name: str) -> Path:
    folder = DATA / name
    if not folder.exists():
        pytest.skip(f"no real data at {folder}: set DISTSPEC_TEST_DATA to the folder that holds {name}/")
    return folder


@pytest.fixture
def dja_files() -> Path:
    return real_data("dja")


@pytest.fixture
def spex_files() -> Path:
    return real_data("spex")


@pytest.fixture
def dja_catalogs() -> Path:
    return real_data("catalogs")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray for the whole session: in its own folder, with a short path for its sockets."""
    with (
        tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ray_session(RayConfig(address="local", num_cpus=2, temp_dir=folder)),
    ):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20251123)


def power_law(
    object_id: str = "a.fits",
    z: float = 5.0,
    slope: float = -2.0,
    amplitude: float = 1e-19,
    snr: float = 20.0,
    rng: np.random.Generator | None = None,
) -> Spectrum:
    """f_λ = amplitude (λ_obs / 1 µm)^slope [erg s⁻¹ cm⁻² Å⁻¹], noiseless without a generator."""
    wave = np.geomspace(0.6, 5.3, 400)
    flux = amplitude * wave**slope
    sigma = np.abs(flux) / snr
    noise = rng.normal(size=len(wave)) * sigma if rng is not None else 0.0
    return Spectrum(object_id, wave, flux + noise, sigma**-2.0, "erg s-1 cm-2 AA-1", z)


def batch_of(n: int, n_pixels: int, rng: np.random.Generator, prefix: str = "o") -> SpectrumBatch:
    """Two kinds of spectra, told apart by their slope, a tenth of their pixels masked."""
    x = np.linspace(-1, 1, n_pixels)
    kind = rng.integers(0, 2, n) * 2.0 - 1.0
    flux = np.exp(0.8 * kind[:, None] * x + 0.1 * rng.normal(size=(n, 1))) + 0.1 * rng.normal(
        size=(n, n_pixels)
    )
    flux = flux.astype(np.float32)
    ivar = np.where(rng.random((n, n_pixels)) < 0.1, 0.0, 100.0).astype(np.float32)
    return SpectrumBatch(
        object_id=[f"{prefix}{i:04d}" for i in range(n)],
        flux=flux,
        ivar=ivar,
        norm=np.ones(n),
        norm_err=np.full(n, 0.1),
        norm_snr=np.full(n, 10.0, np.float32),
        slope=np.full(n, -2.0),
        norm_window=np.zeros(n, np.int8),
        snr=np.full(n, 10.0, np.float32),
        n_valid=np.count_nonzero(ivar, axis=1).astype(np.int32),
        ra=np.arange(n) * 1e-2,
        dec=np.zeros(n),
        z=np.full(n, 5.0),
        checksum=compute_row_checksums(flux, ivar),
    )


def append(
    store: Store,
    batch: SpectrumBatch,
    identity: Mapping[str, Sequence[object]],
    rejected: Sequence[QuarantineRecord] = (),
) -> Store:
    """Commit a batch in one process, with the ledger columns that it does not hold."""
    transaction = Transaction(store)
    transaction.write_spectra(store.n_rows, batch.flux, batch.ivar)
    columns = {
        name: identity.get(name, getattr(batch, name, None)) for name in METADATA_COLUMNS if name != "ingest_commit"
    }
    transaction.append_rows(pa.table(columns))
    transaction.append_quarantine(rejected)
    return transaction.commit(f"{len(batch)} spectra")


def read_spectrum(archive: Archive, entry: SpectrumEntry, base: str = "") -> Spectrum:
    """Read one spectrum as ingest does; raise what is wrong with it."""
    place = replace(entry, uri=make_absolute_url(entry.file_url) + entry.uri[len(entry.file_url) :])

    async def read() -> Spectrum:
        async with open_archive_client(base or place.file_url.rpartition("/")[0], AccessConfig()) as files:
            return await archive.read(place, files.get_file(place.file_url))

    return asyncio.run(read())


def identity_of(n: int, prefix: str = "s") -> dict[str, list[object]]:
    text = ("version", "uri", "root", "srcid", "grating", "filter")
    return {
        **{name: [name] * n for name in text},
        "source_id": [f"{prefix}{i}" for i in range(n)],
        "grade": [3] * n,
        "ra": [i * 1e-2 for i in range(n)],
        "dec": [0.0] * n,
        "z": [5.0] * n,
    }


@pytest.fixture
def small_grid() -> WavelengthGrid:
    return WavelengthGrid("log", 1100.0, 8400.0, 32)


@pytest.fixture
def small_store(tmp_path: Path, small_grid: WavelengthGrid, rng: np.random.Generator) -> Store:
    """Sixty spectra of sixty sources."""
    store = create_store(str(tmp_path / "root" / "store"), StoreConfig(small_grid, 1500.0, -2.0))
    return append(store, batch_of(60, small_grid.n_pixels, rng), identity_of(60))


RAW = ("recon", "line", "density", "neighbours", "forest")


def empty(columns: Sequence[schema.Column]) -> pa.Table:
    return schema.build_table({column.name: [] for column in columns}, columns, {})


@pytest.fixture
def run(small_store: Store, rng: np.random.Generator) -> tuple[str, Store, np.ndarray]:
    """A root with a store of sixty, a model (untrained) and a run of three classes and some noise."""
    root = small_store.url.removesuffix("/store")
    models.save(small_store, root)
    latents = {
        "z_mean": rng.normal(size=(60, 3)).astype(np.float32),
        "z_log_var": np.zeros((60, 3), np.float32),
        "amplitude": np.full(60, 2.0, np.float32),
        "recon_mse": rng.random(60).astype(np.float32),
        "recon_chi2_red": rng.random(60).astype(np.float32) + 0.5,
        **{name: np.zeros(60, np.float32) for name in BAD_PIXEL_COLUMNS},
    }
    latents["artefact_edge"][7], latents["artefact_score"][7] = 2.0 * THRESHOLDS["artefact_edge"], 2.0
    latents["artefact_spikes"][9], latents["artefact_score"][9] = 3.0 * THRESHOLDS["artefact_spikes"], 3.0
    store = append_latents(small_store, "m-1", 0, latents)
    labels = np.repeat([0, 1, 2, -1], [30, 20, 7, 3]).astype(np.int32)
    said = {
        "label": labels,
        "prob": np.full((60, 3), 1 / 3),
        "entropy": np.zeros(60),
        "stability": np.ones(60),
    }
    ledger = store.ledger(["object_id", "snr"])
    object_id, snr = ledger["object_id"], ledger["snr"].to_numpy()
    raw = {name: rng.random(60).astype(np.float32) for name in RAW}
    odd = compute_anomaly_scores(raw, snr, labels, latents["artefact_score"])
    parts = {
        "sweep": schema.SWEEP_SCHEMA,
        "null_tests": schema.NULL_TESTS_SCHEMA,
        "confusion": schema.CONFUSION_SCHEMA,
    }
    parts["latent_pairs"] = schema.LATENT_PAIRS_SCHEMA
    found = {name: empty(columns) for name, columns in parts.items()}
    found["clustering"] = build_clustering_table(object_id, rng.normal(size=(60, 2)), said, odd, {}, ())
    model = read_model_record(model_url(root, "m-1"))
    record = {
        "run_id": "r-1",
        "recipe": "made",
        "model_id": "m-1",
        "models": {"m-1": model["checksum"]},
        "snapshot_id": store.snapshot_id,
        "data_digest": store.dataset_checksum(),
        "seed": 0,
        "created": utc_now_iso(),
        "versions": collect_versions(),
        "clustering": {"min_core_stability": 0.9},
        "config": {},
    }
    save_run(run_url(root, "r-1"), found, record)
    return root, store, labels


@pytest.fixture
def tables(run: tuple[str, Store, np.ndarray]) -> dict[str, pa.Table]:
    root, store, _ = run
    return build_tables(root, "r-1", store, CatalogConfig(n_anomalies=10))
