"""The embed stage gives the bits of one process, also after growth, lost actors and killed drivers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from distspec.core.errors import ModelError, NotFoundError
from distspec.core.spectrum import WavelengthGrid
from distspec.io.paths import model_url, store_url
from distspec.models.latents import count_embedded, get_column_names, read_latents
from distspec.models.model import load_model
from distspec.models.serialization import import_model
from distspec.stages import embed as stage
from distspec.stages.embed import embed_span, embed_spans, embed_store, start_embedder_pool
from distspec.store.config import StoreConfig
from distspec.store.store import Store, create_store, open_repository, open_store
from distspec.store.transactions import split_at_chunks
from tests.conftest import append, batch_of, identity_of
from tests.helpers import models

GRID = WavelengthGrid("log", 1100.0, 8400.0, 64)
ROWS, N = 16, 150


@pytest.fixture
def root(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of 150 spectra, of an archive with Lyα measurements, and a model; small spans and commits."""
    monkeypatch.setattr(stage, "rows_per_span", lambda store: ROWS)
    monkeypatch.setattr(stage, "SPANS_PER_COMMIT", 2)
    return make_root(tmp_path / "root", rng)


def make_root(folder: Path, rng: np.random.Generator) -> str:
    store = create_store(store_url(str(folder)), StoreConfig(GRID, 1500.0, -2.0, archive_name="dja"))
    store = append(store, batch_of(N, 64, rng), identity_of(N))
    models.save(store, str(folder))
    return str(folder)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def embed_in_one_process(root: str) -> Mapping[str, np.ndarray]:
    """Return the columns of the whole store, computed in this process."""
    store = open_store(store_url(root))
    return embed_span(store, load_model(model_url(root, "m-1")), (0, store.n_rows))


def assert_complete(root: str) -> Store:
    store = open_store(store_url(root))
    found, expected = read_latents(store, "m-1"), embed_in_one_process(root)
    assert count_embedded(store, "m-1") == store.n_rows
    assert found.keys() == expected.keys() == set(get_column_names(store))
    for name, values in expected.items():
        assert np.array_equal(found[name], values, equal_nan=True), name
    assert np.isfinite(found["lya_ew"]).any()
    return store


def test_interruption_and_growth_change_no_bit(root, rng, local_ray, one_thread, monkeypatch):
    """The driver is interrupted after its first commit; then the store grows, and the stage runs again."""
    monkeypatch.setattr(stage, "require_worker_slots", lambda *_: 1)  # one actor starts sooner than two
    append_latents = stage.append_latents

    def append_once(store, model_id, start_row, latents):
        if start_row:
            raise KeyboardInterrupt
        return append_latents(store, model_id, start_row, latents)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "append_latents", append_once)
        with pytest.raises(KeyboardInterrupt):
            embed_store(root, "m-1")
    store = open_store(store_url(root))
    assert count_embedded(store, "m-1") == 32
    append(store, batch_of(37, 64, rng, "p"), identity_of(37))
    assert embed_store(root, "m-1").summary["embedded"] == N + 37 - 32
    store = assert_complete(root)
    done = [info.metadata.get("embedded") for info in open_repository(store.url).ancestry(branch="main")]
    assert [n for n in done[::-1] if n] == [32, 64, 96, 128, 160, 187]
    assert not embed_store(root, "m-1").did_work


def test_one_span_is_embedded_in_a_task(root, local_ray, one_thread, monkeypatch):
    """It has the bits of one process; no actor is started for it."""
    monkeypatch.setattr(stage, "rows_per_span", lambda store: N)
    monkeypatch.setattr(stage, "start_embedder_pool", None)
    assert embed_store(root, "m-1").summary["embedded"] == N
    assert_complete(root)


@pytest.mark.slow  # `test_pool` replaces a dead actor as well
def test_dead_actor_is_replaced(root, local_ray, one_thread):
    store = open_store(store_url(root))
    pool = start_embedder_pool(store, model_url(root, "m-1"), 10)
    spans = split_at_chunks(0, N, ROWS)
    pids = [ray.get(actor.__ray_call__.remote(lambda self: os.getpid())) for actor in pool.wait_ready()]
    results = []
    for result in embed_spans(pool, spans):
        results.append(result)
        if len(results) == 1:
            os.kill(pids[0], signal.SIGKILL)
    expected = embed_in_one_process(root)
    for name, values in expected.items():
        joined = np.concatenate([result[name] for result in results])
        assert np.array_equal(joined, values, equal_nan=True), name
    after = [ray.get(actor.__ray_call__.remote(lambda self: os.getpid())) for actor in pool.wait_ready()]
    assert set(after) != set(pids), "the actor was replaced"


def test_store_on_another_grid_is_refused(root, tmp_path, local_ray):
    other = str(tmp_path / "other")
    store = create_store(
        store_url(other), StoreConfig(WavelengthGrid("log", 1100.0, 8400.0, 32), 1500.0, -2.0)
    )
    store = append(store, batch_of(5, 32, np.random.default_rng(0)), identity_of(5))
    import_model(other, model_url(root, "m-1"))
    with pytest.raises(ModelError, match=r"takes 64 log pixels.*holds 32 log pixels"):
        embed_store(other, "m-1")
    assert open_store(store.url).snapshot_id == store.snapshot_id


def test_missing_model_is_named(root):
    with pytest.raises(NotFoundError, match=r"models/m-9.*distspec run train"):
        embed_store(root, "m-9")


DRIVER = """
import os, signal, sys
from distspec.stages import embed as stage
from distspec.stages.session import RayConfig, ray_session
root, number, temp_dir = sys.argv[1], int(sys.argv[2]), sys.argv[3]
stage.rows_per_span, stage.SPANS_PER_COMMIT = lambda store: 16, 2
append_latents, calls = stage.append_latents, iter(range(10**6))
def append_or_die(*args):
    if next(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return append_latents(*args)
stage.append_latents = append_or_die
with ray_session(RayConfig(address="local", num_cpus=2, temp_dir=temp_dir)):
    stage.embed_store(root, "m-1")
"""


@pytest.mark.slow
def test_killed_driver_is_resumed(tmp_path, rng, one_thread):
    """The driver is killed before its third commit, and the next one before its second."""
    root = make_root(tmp_path / "root", rng)
    env = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    for number, rows in ((2, 64), (1, 96), (99, N)):
        with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as temp_dir:
            command = [sys.executable, "-c", DRIVER, root, str(number), temp_dir]
            process = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
        assert process.returncode == (0 if number == 99 else -signal.SIGKILL), process.stderr[-2000:]
        assert count_embedded(open_store(store_url(root)), "m-1") == rows
    assert_complete(root)
