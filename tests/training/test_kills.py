"""Whatever is killed, and when: the model is the one of a training that nothing befell, weight for weight."""

from __future__ import annotations

import signal

import pytest

from distspec.stages.train import train
from tests.training.build_store import SMALL, same
from tests.training.conftest import drive, finished, kept
from tests.training.driver import SEED, config, marks


@pytest.mark.slow
def test_a_worker_and_then_the_driver_in_a_checkpoint(root, expected, local_ray):
    """The worker dies, and training goes on from step 16; the driver dies before step 32 has its JSON."""
    points = ("worker@20", "driver in checkpoint@32")
    ended = drive(root, 1, "streamed", *points)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-3000:]
    assert marks(root) == set(points)
    assert kept(root) == {16: True, 24: True, 32: False}
    assert "training resumes at step 16" in ended.stdout + ended.stderr
    outcome = train(root, SMALL, config(1, "streamed"), SEED)
    assert outcome.counts["n_epochs"] == 10
    assert same(finished(root), expected(1, "streamed"))
    assert not train(root, SMALL, config(1, "streamed"), SEED).did_work


@pytest.mark.slow
@pytest.mark.parametrize("order", ["cached", "streamed"])
@pytest.mark.parametrize(
    "point",
    [
        "worker@3",
        "worker@13",
        "other worker@17",
        "other worker@41",
        "worker in checkpoint@8",
        "worker in checkpoint@24",
    ],
)
def test_a_worker(root, expected, local_ray, point, order):
    """Before the first checkpoint, between two, at an epoch's end, inside one; the driver looks on."""
    ended = drive(root, 2, order, point)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert marks(root) == {point}
    assert same(finished(root), expected(2, order))


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "order"), [(1, "cached"), (2, "cached"), (2, "streamed")])
@pytest.mark.parametrize(
    "point", ["driver@5", "driver@20", "driver@31", "driver at checkpoint@16", "driver in checkpoint@8"]
)
def test_the_driver(root, expected, local_ray, point, workers, order):
    """Between checkpoints and inside them."""
    ended = drive(root, workers, order, point)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-3000:]
    assert marks(root) == {point}
    train(root, SMALL, config(workers, order), SEED)
    assert same(finished(root), expected(workers, order))
