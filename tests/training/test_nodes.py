"""A machine that goes: the others finish, with as many workers elsewhere, or with fewer."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from distspec.io.files import list_files, read_json
from distspec.io.paths import join_url
from tests.training.build_store import same, small_store
from tests.training.conftest import REPOSITORY, finished, losses
from tests.training.driver import N_SPECTRA
from tests.training.gloo import together


def on_nodes(root: str, workers: int, min_workers: int, n_nodes: int) -> str:
    """Run `tests.training.nodes` to its end."""
    command = [sys.executable, "-m", "tests.training.nodes", root, *map(str, (workers, min_workers, n_nodes))]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "a node is lost" in ended.stdout
    assert "training resumes at step 16" in ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow  # `tests/soak` loses a machine, too
@pytest.mark.parametrize("workers", [1, 2])
def test_another_node_takes_over(root, expected, workers):
    on_nodes(root, workers=workers, min_workers=0, n_nodes=workers + 1)
    assert same(finished(root), expected(workers))


@pytest.mark.slow
def test_with_fewer_workers_the_model_is_as_good(root, tmp_path_factory):
    """One of two workers is left: the validation loss lies within the spread of four seeds of two."""
    on_nodes(root, workers=2, min_workers=1, n_nodes=2)
    folder = tmp_path_factory.mktemp("seeds")
    small_store(folder, N_SPECTRA)
    of_seeds = together(2, losses, folder)[0]["losses"].tolist()
    (record,) = [name for name in list_files(join_url(root, "models")) if name.endswith("model.json")]
    metrics = read_json(join_url(root, "models", record))["metrics"]
    spread = max(of_seeds) - min(of_seeds)
    assert min(of_seeds) - spread < metrics["val_recon"] < max(of_seeds) + spread
    assert metrics["n_epochs"] == 10
