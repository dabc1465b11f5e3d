"""Jobs submitted with `ray job submit` to two machines with a token; all data are on S3."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from distspec.catalog import editions
from distspec.io.job_log import list_jobs, read_events
from distspec.io.lease import hold_lease, read_holder
from distspec.io.paths import model_url, store_url
from distspec.models.record import read_model_record
from distspec.models.registry import read_promoted
from distspec.pipeline.runner import STAGES
from distspec.store.store import open_store
from tests.cluster.nodes import Machines, machines
from tests.helpers.seaweed import S3, seaweed
from tests.soak.archive import Archive

__all__ = ["seaweed"]
TIMEOUT = 120.0
"""Longest time to wait for a condition [s]."""


@pytest.fixture(scope="module")
def server(seaweed) -> Iterator[S3]:
    """An object store, and a prefix in it."""
    found = S3(*seaweed, uuid.uuid4().hex[:12])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def cluster(server: S3) -> Iterator[Machines]:
    """Two machines that share only the object store; on one computer, none is reclaimed."""
    with machines((1, 1), **server.environment, RAY_TRAIN_ENABLE_PREEMPTION_WATCHER="0") as found:
        yield found


@pytest.fixture(scope="module")
def arguments(server: S3) -> list[str]:
    """Arguments of recipe `soak` with an archive of 75 spectra, four of which are invalid."""
    archive = Archive.create(server, 1, seed=0)
    archive.grow(0)
    # Without null data, which are not tested here and would take most of the time.
    return ["soak", *archive.arguments(), "--clustering.n-null-draws", "0", "--root"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def list_finished_stages(root: str) -> list[str]:
    """Return the stages that the last job has finished."""
    known = list_jobs(root)
    return (
        [
            event.payload["stage"]
            for event in read_events(root, known[-1].number)
            if event.event_type == "stage"
        ]
        if known
        else []
    )


def stop_in_training(cluster: Machines, root: str, arguments: list[str], job: str) -> None:
    """Submit the pipeline, and stop it when its ingest has ended."""
    cluster.submit(job, "python", "-m", "jobs.pipeline", *arguments, root, wait=False)
    wait_for(lambda: "ingest" in list_finished_stages(root))
    stopped = cluster.ray("job", "stop", job)
    assert "was stopped" in stopped.stdout + stopped.stderr
    assert cluster.status(job) == "STOPPED"
    wait_for(lambda: read_holder(root).released)
    assert list_jobs(root)[0].status == "stopped"


def test_stopped_job_is_resumed_by_the_next(cluster, server, arguments, monkeypatch):
    """The second submission trains the model; `test_stopped_pipeline_is_finished_by_the_next` finishes it."""
    monkeypatch.setattr(cluster, "has_code", True)  # every uploaded copy of the code would be compiled again
    root = server.url("root")
    stop_in_training(cluster, root, arguments, "first")
    second = cluster.submit("second", "python", "-m", "jobs.train", *arguments, root)
    assert second.returncode == 0, second.stdout[-3000:]
    assert cluster.status("second") == "SUCCEEDED"
    assert list_finished_stages(root) == ["train"]
    assert " INFO train " in second.stdout
    store = open_store(store_url(root))
    metrics = read_model_record(model_url(root, read_promoted(root).model_id)).metrics
    assert metrics.n_train + metrics.n_validation == store.n_rows
    assert store.n_rows + len(store.read_quarantine()) == 75


@pytest.mark.slow
def test_stopped_pipeline_is_finished_by_the_next(cluster, server, arguments, monkeypatch):
    """The second submission finishes the pipeline; tests/soak compares its catalog with another one."""
    monkeypatch.setattr(cluster, "has_code", True)
    root = server.url("finished")
    stop_in_training(cluster, root, arguments, "third")
    second = cluster.submit("fourth", "python", "-m", "jobs.pipeline", *arguments, root)
    assert second.returncode == 0, second.stdout[-3000:]
    assert cluster.status("fourth") == "SUCCEEDED"
    assert list_finished_stages(root) == list(STAGES)
    assert [f" INFO {name} " in second.stdout for name in STAGES] == [True] * len(STAGES)
    assert "ingest" in second.stdout.partition("nothing to do")[2], "the ingest was repeated"
    published = editions.find_record(root)
    quarantine = editions.open_record_tables(root, published)["quarantine"].to_table()
    assert published.rows["objects"] + len(quarantine) == 75


def test_failed_jobs_have_exit_statuses(cluster, server, arguments, monkeypatch):
    root = server.url("held")
    with hold_lease(root, "another"), monkeypatch.context() as patch:
        patch.setattr(cluster, "has_code", True)
        held = cluster.submit("held", "python", "-m", "jobs.ingest", *arguments, root)
    wrong = cluster.submit("wrong", "python", "-m", "jobs.ingest", *arguments, root, "--ingest.nonsense", "1")
    assert "failed with exit code 75" in held.stdout
    assert "is held by another" in held.stdout
    assert "failed with exit code 2" in wrong.stdout
    assert "nonsense" in wrong.stdout
    assert held.returncode
    assert wrong.returncode


def test_requests_without_a_token_are_refused(cluster):
    for environment in (
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_TOKEN": "0" * 64, "RAY_AUTH_TOKEN_PATH": ""},
    ):
        refused = cluster.ray("job", "submit", "--submission-id", "unauthorized", "--", "true", **environment)
        assert refused.returncode
        assert "token" in (refused.stdout + refused.stderr).lower()
    assert "unauthorized" not in [job["submission_id"] for job in cluster.call_job_server()]


@pytest.mark.slow
def test_every_stage_is_a_job(cluster, server, arguments):
    """Stages that are submitted one by one give the result of the pipeline."""
    root = server.url("stages")
    for name in STAGES:
        ended = cluster.submit(f"stage-{name}", "python", "-m", f"jobs.{name}", *arguments, root)
        assert ended.returncode == 0, ended.stdout[-3000:]
    assert [job.operation for job in list_jobs(root)] == list(STAGES)
    pipeline_root = server.url("pipeline")
    ended = cluster.submit("pipeline", "python", "-m", "jobs.pipeline", *arguments, pipeline_root)
    assert ended.returncode == 0, ended.stdout[-3000:]
    one, two = (
        editions.open_tables(url)["objects"].to_table().sort_by("object_id").drop_columns("anomaly_rank")
        for url in (root, pipeline_root)
    )
    assert editions.find_record(root).run_id == editions.find_record(pipeline_root).run_id
    assert one["class_id"].equals(two["class_id"])
