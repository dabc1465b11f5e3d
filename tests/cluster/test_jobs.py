"""Jobs submitted with `ray job submit` to three machines with a token; all data are on S3."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from distspec.catalog import editions
from distspec.io.job_log import list_jobs, read_events
from distspec.io.lease import hold_lease, read_holder
from distspec.pipeline.runner import STAGES
from tests.cluster.nodes import Machines, machines
from tests.helpers.seaweed import S3, seaweed
from tests.soak.archive import Archive

__all__ = ["seaweed"]
PATIENCE = 120.0
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
def there(server: S3) -> Iterator[Machines]:
    """Three machines that share only the object store."""
    with machines(**server.environment) as found:
        yield found


@pytest.fixture(scope="module")
def arguments(server: S3) -> list[str]:
    """Arguments of recipe `soak` with an archive of 75 spectra, four of which are invalid."""
    archive = Archive.create(server, 1, seed=0)
    archive.grow(0)
    return ["soak", *archive.arguments(), "--root"]


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until
        time.sleep(0.3)


def stages(root: str) -> list[str]:
    """Return the stages that the last job has finished."""
    known = list_jobs(root)
    return (
        [each.payload["stage"] for each in read_events(root, known[-1].number) if each.event_type == "stage"]
        if known
        else []
    )


@pytest.mark.slow  # the short form of the soak does the same
def test_a_stopped_job_is_resumed_by_the_next(there, server, arguments):
    """A second submission finishes what was stopped; a third has nothing to do."""
    root = server.url("root")
    pipeline = ["python", "-m", "jobs.pipeline", *arguments, root]
    there.submit("first", *pipeline, wait=False)
    wait_for(lambda: "ingest" in stages(root))
    stopped = there.ray("job", "stop", "first")
    assert "was stopped" in stopped.stdout + stopped.stderr
    assert "STOPPED" in there.status("first").upper()
    wait_for(lambda: read_holder(root).released)
    assert list_jobs(root)[0].status == "stopped"

    second = there.submit("second", *pipeline)
    assert second.returncode == 0, second.stdout[-3000:]
    assert "SUCCEEDED" in there.status("second").upper()
    assert stages(root) == list(STAGES)
    assert [f" INFO {name} " in second.stdout for name in STAGES] == [True] * len(STAGES)
    assert "ingest" in second.stdout.partition("nothing to do")[2], "the ingest is not repeated"
    published = editions.find_record(root)
    quarantine = editions.open_record_tables(root, published)["quarantine"].to_table()
    assert published.rows["objects"] + len(quarantine) == 75

    third = there.submit("third", *pipeline)
    assert third.returncode == 0, third.stdout[-3000:]
    assert "Nothing to do: the catalog is up to date" in third.stdout
    assert editions.find_record(root) == published
    assert not list_jobs(root)[-1].did_work


def test_failed_jobs_have_exit_statuses(there, server, arguments):
    root = server.url("held")
    with hold_lease(root, "another"):
        held = there.submit("held", "python", "-m", "jobs.ingest", *arguments, root)
    wrong = there.submit("wrong", "python", "-m", "jobs.ingest", *arguments, root, "--ingest.nonsense", "1")
    assert "failed with exit code 75" in held.stdout
    assert "is held by another" in held.stdout
    assert "failed with exit code 2" in wrong.stdout
    assert "nonsense" in wrong.stdout
    assert held.returncode
    assert wrong.returncode


def test_requests_without_a_token_are_refused(there):
    for environment in (
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_TOKEN": "0" * 64, "RAY_AUTH_TOKEN_PATH": ""},
    ):
        refused = there.ray("job", "submit", "--submission-id", "stranger", "--", "true", **environment)
        assert refused.returncode
        assert "token" in (refused.stdout + refused.stderr).lower()
    assert "stranger" not in there.ray("job", "list").stdout


@pytest.mark.slow
def test_every_stage_is_a_job(there, server, arguments):
    """The stages, submitted one by one, give what the pipeline gives."""
    root = server.url("stages")
    for name in STAGES:
        ended = there.submit(f"stage-{name}", "python", "-m", f"jobs.{name}", *arguments, root)
        assert ended.returncode == 0, ended.stdout[-3000:]
    assert [job.operation for job in list_jobs(root)] == list(STAGES)
    whole = server.url("whole")
    ended = there.submit("whole", "python", "-m", "jobs.pipeline", *arguments, whole)
    assert ended.returncode == 0, ended.stdout[-3000:]
    one, two = (
        editions.open_tables(each)["objects"].to_table().sort_by("object_id").drop_columns("anomaly_rank")
        for each in (root, whole)
    )
    assert editions.find_record(root).run_id == editions.find_record(whole).run_id
    assert one["class_id"].equals(two["class_id"])
