"""After a worker or the driver was killed, the weights equal those of an uninterrupted training."""

from __future__ import annotations

import signal
import time

import pytest
import ray

from distspec.stages import train_workers
from distspec.stages.train import train
from tests.training.build_store import SMALL, state_dicts_equal
from tests.training.conftest import list_checkpoints, load_only_model, run_driver
from tests.training.driver import SEED, inject_faults, make_config, read_marks


def list_remaining() -> list[str]:
    """Return the placement groups that are not removed, and the living actors of trainings."""
    groups = ray.util.placement_group_table().values()
    actors = ray._private.state.actors().values()
    return [f"placement group {group['state']}" for group in groups if group["state"] != "REMOVED"] + [
        actor["ActorClassName"]
        for actor in actors
        if actor["State"] != "DEAD"
        and any(name in actor["ActorClassName"] for name in ("Train", "PlacementGroup"))
    ]


def assert_nothing_remains() -> None:
    """Wait at most 30 s until Ray has ended what belonged to a job."""
    deadline = time.monotonic() + 30.0
    while remaining := list_remaining():
        assert time.monotonic() < deadline, remaining
        time.sleep(0.2)


def test_the_only_worker_is_killed(root, expected_weights, local_ray, monkeypatch):
    """On a local Ray it is a task, which Ray repeats; it resumes from the checkpoint of step 16."""
    monkeypatch.setattr(train_workers, "train_worker", inject_faults(["worker@20"]))
    train(root, SMALL, make_config(1), SEED)
    assert read_marks(root) == {"worker@20"}
    assert state_dicts_equal(load_only_model(root), expected_weights(1))


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.03, 0.3])
def test_driver_terminated_as_its_controller_starts(root, local_ray, delay):
    """Ray Train's own cleaner of placement groups, a detached actor, stayed after such a SIGTERM."""
    process = run_driver(root, 1, "cached", f"controller@{delay}")
    assert process.returncode == -signal.SIGTERM, process.stderr[-3000:]
    assert_nothing_remains()


@pytest.mark.slow
def test_worker_killed_and_then_the_driver_in_a_checkpoint(root, expected_weights, local_ray):
    """The training resumes at step 16; the driver dies before the checkpoint of step 32 has its JSON."""
    faults = ("worker@20", "driver in checkpoint@32")
    process = run_driver(root, 1, "streamed", *faults)
    assert process.returncode == -signal.SIGKILL, process.stderr[-3000:]
    assert read_marks(root) == set(faults)
    assert list_checkpoints(root) == {16: True, 24: True, 32: False}
    assert "training resumes at step 16" in process.stdout + process.stderr
    result = train(root, SMALL, make_config(1, "streamed"), SEED)
    assert result.summary["n_epochs"] == 10
    assert state_dicts_equal(load_only_model(root), expected_weights(1, "streamed"))
    assert not train(root, SMALL, make_config(1, "streamed"), SEED).did_work


@pytest.mark.slow
@pytest.mark.parametrize("order", ["cached", "streamed"])
@pytest.mark.parametrize(
    "fault",
    [
        "worker@3",
        "worker@13",
        "other worker@17",
        "other worker@41",
        "worker in checkpoint@8",
        "worker in checkpoint@24",
    ],
)
def test_worker_killed(root, expected_weights, local_ray, fault, order):
    """Before the first checkpoint, between two, at the end of an epoch, and while one is written."""
    process = run_driver(root, 2, order, fault)
    assert process.returncode == 0, process.stderr[-3000:]
    assert read_marks(root) == {fault}
    assert state_dicts_equal(load_only_model(root), expected_weights(2, order))


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "order"), [(1, "cached"), (2, "cached"), (2, "streamed")])
@pytest.mark.parametrize(
    "fault", ["driver@5", "driver@20", "driver@31", "driver at checkpoint@16", "driver in checkpoint@8"]
)
def test_driver_killed(root, expected_weights, local_ray, fault, workers, order):
    """Between checkpoints and while one is written; no actor or placement group is left."""
    process = run_driver(root, workers, order, fault)
    assert process.returncode == -signal.SIGKILL, process.stderr[-3000:]
    assert read_marks(root) == {fault}
    assert_nothing_remains()
    train(root, SMALL, make_config(workers, order), SEED)
    assert state_dicts_equal(load_only_model(root), expected_weights(workers, order))
