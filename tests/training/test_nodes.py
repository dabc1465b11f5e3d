"""A node is lost: the training finishes on another node, or with fewer workers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from distspec.io.files import list_files, read_json
from distspec.io.paths import join_url
from tests.training.build_store import make_store, state_dicts_equal
from tests.training.conftest import REPOSITORY, compute_best_losses, load_only_model
from tests.training.driver import N_SPECTRA
from tests.training.gloo import run_workers


def run_on_nodes(root: str, workers: int, min_workers: int, n_nodes: int) -> str:
    """Run `tests.training.nodes` to its end."""
    command = [sys.executable, "-m", "tests.training.nodes", root, *map(str, (workers, min_workers, n_nodes))]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    process = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "a node is lost" in process.stdout
    assert "training resumes at step 16" in process.stdout + process.stderr
    return process.stdout


@pytest.mark.slow  # `tests/soak` loses a node as well
@pytest.mark.parametrize("workers", [1, 2])
def test_another_node_replaces_the_lost_one(root, expected_weights, workers):
    run_on_nodes(root, workers=workers, min_workers=0, n_nodes=workers + 1)
    assert state_dicts_equal(load_only_model(root), expected_weights(workers))


@pytest.mark.slow
def test_fewer_workers_reach_the_same_loss(root, tmp_path_factory):
    """With one of two workers left, the validation loss lies within the spread of four seeds."""
    run_on_nodes(root, workers=2, min_workers=1, n_nodes=2)
    folder = tmp_path_factory.mktemp("seeds")
    make_store(folder, N_SPECTRA)
    losses = run_workers(2, compute_best_losses, folder)[0]["losses"].tolist()
    (record,) = [name for name in list_files(join_url(root, "models")) if name.endswith("model.json")]
    metrics = read_json(join_url(root, "models", record))["metrics"]
    spread = max(losses) - min(losses)
    assert min(losses) - spread < metrics["val_recon"] < max(losses) + spread
    assert metrics["n_epochs"] == 10
