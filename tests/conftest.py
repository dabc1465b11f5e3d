"""Fixtures of all tests: real data, one local Ray, and simulated spectra with known properties."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from filelock import FileLock
from hypothesis import settings

from distspec.archives.base import Archive, SpectrumEntry
from distspec.archives.catalogs import make_absolute_url
from distspec.core.errors import QuarantineRecord
from distspec.core.spectrum import Spectrum, SpectrumBatch, WavelengthGrid, compute_row_checksums
from distspec.io.paths import store_url
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import open_archive_client
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.config import StoreConfig
from distspec.store.store import Store, create_store, open_store
from distspec.store.transactions import Transaction

DATA = Path(os.environ.get("DISTSPEC_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")

LONGEST_FILES = (
    "docs/test_code_blocks.py",
    "explorer/test_page.py",
    "cluster/test_jobs.py",
    "stages/test_cluster.py",
    "pipeline/test_runner.py",
    "growth/test_kills.py",
    "faults/test_service.py",
    "growth/test_s3.py",
    "ingest/test_commit.py",
    "clustering/test_umap.py",
    "store/test_verify.py",
    "stages/test_embed.py",
    "stages/test_promote.py",
    "stages/test_train.py",
    "inference/test_predict.py",
    "stages/test_pool.py",
    "clustering/test_selection.py",
    "training/test_distributed.py",
    "report/test_page.py",
)
"""Files of tests that take half a minute or more, in the order in which they begin.

In a new environment numba compiles the functions of distspec in the first file, for `demo_folder`. The second
needs next to none of them, or two processes would compile the same ones at the same time.
"""

settings.register_profile("distspec", deadline=None)  # speed is measured by benchmarks, not by tests
settings.load_profile("distspec")


def pytest_configure(config: pytest.Config) -> None:
    """Distribute the tests over processes that may crash; see `tests.helpers.crashes`."""
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        from tests.helpers.crashes import CrashPlugin  # it needs xdist

        config.pluginmanager.register(CrashPlugin())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that parallel processes end at about the same time."""
    rank = {f"tests/{name}": number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


def real_data(name: str) -> Path:
    """Return a folder of real files; skip the test if it is not there."""
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
    """One local Ray for the test session; the path of its folder is short, because sockets are in it.

    Ray Train checks its workers ten times as often as by default, which shortens trainings of a second.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
        ray_session(RayConfig(address="local", num_cpus=2, temp_dir=folder)),
    ):
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        yield


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str, local_ray: None) -> Path:
    """A folder with ``out/demo``, a complete small run of recipe demo. Tests copy it and never change it.

    The first of the parallel test processes makes it, and the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "demo"
    complete = folder / "complete"
    with FileLock(f"{folder}.lock"):
        if not complete.exists():
            from distspec.pipeline.runner import STAGES, run_stages  # few tests need what they import
            from tests.helpers.small_demo import small_demo

            run_stages(small_demo(folder / "out" / "demo"), list(STAGES))
            complete.touch()
    return folder


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
    """Return a spectrum f_λ = amplitude (λ_obs / 1 µm)^slope [erg s⁻¹ cm⁻² Å⁻¹], noise-free without `rng`."""
    wave = np.geomspace(0.6, 5.3, 400)
    flux = amplitude * wave**slope
    sigma = np.abs(flux) / snr
    noise = rng.normal(size=len(wave)) * sigma if rng is not None else 0.0
    return Spectrum(object_id, wave, flux + noise, sigma**-2.0, "erg s-1 cm-2 AA-1", z)


def batch_of(n: int, n_pixels: int, rng: np.random.Generator, prefix: str = "o") -> SpectrumBatch:
    """Return spectra of two types that differ in slope, with a tenth of the pixels masked."""
    x = np.linspace(-1, 1, n_pixels)
    slope_sign = rng.integers(0, 2, n) * 2.0 - 1.0
    flux = np.exp(0.8 * slope_sign[:, None] * x + 0.1 * rng.normal(size=(n, 1))) + 0.1 * rng.normal(
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
    """Commit a batch to a store; `identity` has the ledger columns that the batch lacks."""
    transaction = Transaction(store)
    transaction.write_spectra(store.n_rows, batch.flux, batch.ivar)
    columns = {
        name: identity.get(name, getattr(batch, name, None))
        for name in METADATA_COLUMNS
        if name != "ingest_commit"
    }
    transaction.append_rows(pa.table(columns))
    transaction.append_quarantine(rejected)
    return transaction.commit(f"{len(batch)} spectra")


def read_spectrum(archive: Archive, entry: SpectrumEntry, base: str = "") -> Spectrum:
    """Read one spectrum as ingest does, and raise its error."""
    absolute = replace(entry, uri=make_absolute_url(entry.file_url) + entry.uri[len(entry.file_url) :])

    async def read() -> Spectrum:
        async with open_archive_client(
            base or absolute.file_url.rpartition("/")[0], AccessConfig()
        ) as client:
            return await archive.read(absolute, client.get_file(absolute.file_url))

    return asyncio.run(read())


def identity_of(n: int, prefix: str = "s") -> dict[str, list[object]]:
    """Return ledger columns of `n` spectra of as many sources."""
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
    """A store with sixty spectra of sixty sources."""
    store = create_store(str(tmp_path / "root" / "store"), StoreConfig(small_grid, 1500.0, -2.0))
    return append(store, batch_of(60, small_grid.n_pixels, rng), identity_of(60))


@pytest.fixture(scope="session")
def saved_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray]:
    """A root with sixty spectra, an untrained model and a run with three classes, and labels; see `run`."""
    from tests.helpers.small_run import save_small_run  # few tests need what it imports

    rng, grid = np.random.default_rng(20251123), WavelengthGrid("log", 1100.0, 8400.0, 32)
    url = str(tmp_path_factory.mktemp("saved") / "root" / "store")
    store = create_store(url, StoreConfig(grid, 1500.0, -2.0))
    root, _, labels = save_small_run(append(store, batch_of(60, grid.n_pixels, rng), identity_of(60)), rng)
    return root, labels


@pytest.fixture
def run(saved_run: tuple[str, np.ndarray], tmp_path: Path) -> tuple[str, Store, np.ndarray]:
    """A copy of `saved_run` for one test: its root, its store, and the labels."""
    root = str(shutil.copytree(saved_run[0], tmp_path / "root"))
    return root, open_store(store_url(root)), saved_run[1]


@pytest.fixture(scope="session")
def saved_tables(saved_run: tuple[str, np.ndarray]) -> dict[str, pa.Table]:
    """The catalog tables of `saved_run`."""
    from distspec.catalog.build import build_tables
    from distspec.catalog.config import CatalogConfig

    root = saved_run[0]
    return build_tables(root, "r-1", open_store(store_url(root)), CatalogConfig(n_anomalies=10))


@pytest.fixture
def tables(saved_tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The catalog tables of `run`."""
    return dict(saved_tables)
