"""Trainings without interruption and without Ray, and drivers that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import ray
import torch
from safetensors.torch import load
from torch import Tensor

from distspec.io.files import list_files, read_bytes
from distspec.io.paths import join_url, store_url
from distspec.models.config import SPECTRUM_KEY
from distspec.models.vae import SpectrumVAE
from distspec.store.store import open_store
from distspec.training.distributed import ProcessGroup
from distspec.training.setup import build_trainer, split_rows
from distspec.training.state import EarlyStopping
from distspec.training.steps import init_training_state
from distspec.training.trainer import fit
from tests.training.build_store import SMALL, make_store
from tests.training.driver import N_SPECTRA, SEED, make_config
from tests.training.gloo import run_workers

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A root with a new store, which has the same rows each time."""
    make_store(tmp_path, N_SPECTRA)
    return str(tmp_path)


@pytest.fixture(autouse=True)
def fast_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray Train check its workers ten times as often, and give a group of workers 15 s to start, not 60.

    A group on a node that was just lost never starts: Ray Train waits this long before it tries again.
    """
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "15")


def train_without_ray(order: str, seed: int, process_group: ProcessGroup, folder: str) -> EarlyStopping:
    """Train as the workers of the train stage do, but without Ray."""
    settings = make_config(process_group.world_size, order)
    store = open_store(store_url(folder))
    torch.manual_seed(seed)
    grid = store.config.grid
    state = init_training_state(SpectrumVAE({SPECTRUM_KEY: grid.n_pixels}, SMALL, grid.wave_rest), settings)
    rows = split_rows(store, settings)
    return fit(
        state, build_trainer(store, rows, settings, seed, process_group, "", lambda: False, lambda row: None)
    )


def train_best_weights(order: str, process_group: ProcessGroup, folder: str) -> dict[str, Tensor]:
    """Return the best weights."""
    return train_without_ray(order, SEED, process_group, folder).best_state_dict


def compute_best_losses(process_group: ProcessGroup, folder: str) -> dict[str, Tensor]:
    """Return the best validation losses of four seeds."""
    return {
        "losses": torch.tensor(
            [train_without_ray("cached", SEED + i, process_group, folder).best_loss for i in range(4)]
        )
    }


@pytest.fixture(scope="session")
def expected_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Tensor]]:
    """Return a function that gives the best weights of an uninterrupted training by some workers."""

    @cache
    def weights(workers: int, order: str = "cached") -> dict[str, Tensor]:
        folder, train = tmp_path_factory.mktemp("uninterrupted"), partial(train_best_weights, order)
        make_store(folder, N_SPECTRA)
        if workers > 1:
            return run_workers(workers, train, folder)[0]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # two threads add in another order than one
        best = train(ProcessGroup(), str(folder))
        torch.set_num_threads(threads)
        return best

    return weights


def run_driver(root: str, workers: int, order: str, *faults: str) -> subprocess.CompletedProcess[str]:
    """Run `tests.training.driver` on the Ray of this session."""
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    command = [sys.executable, "-m", "tests.training.driver", root, str(workers), order, *faults]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=180, check=False
    )


def load_only_model(root: str) -> dict[str, Tensor]:
    """Return the weights of the only model of a root, after asserting that no checkpoint is left."""
    files = list_files(join_url(root, "models"))
    (weights,) = [name for name in files if name.endswith("weights.safetensors")]
    assert not [name for name in files if "checkpoints" in name]
    return load(read_bytes(join_url(root, "models", weights)))


def list_checkpoints(root: str) -> dict[int, bool]:
    """Return the steps for which a checkpoint's files exist, and whether its JSON is among them."""
    found: dict[int, bool] = {}
    for name in list_files(join_url(root, "models")):
        parts = name.split("/")
        if parts[1] == "checkpoints":
            found[int(parts[2])] = found.get(int(parts[2]), False) or parts[3] == "checkpoint.json"
    return found
