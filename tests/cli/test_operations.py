"""The verbs status, history and rollback."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from distspec.catalog import editions
from distspec.catalog.run_record import read_run_record
from distspec.io.files import write_json
from distspec.io.job_log import JobLog, list_jobs, track_job
from distspec.io.lease import hold_lease
from distspec.io.paths import join_url, run_url
from distspec.models.registry import promote
from distspec.pipeline.recipes import parse
from tests.helpers import models


@pytest.fixture
def root(run, tables):
    url, store, _ = run
    editions.publish(url, tables, "r-1", store.snapshot_id, {})
    models.save(store, url, "m-2", seed=1)
    with hold_lease(url, "pipeline") as lease, track_job(JobLog(url, lease, "pipeline", "demo")) as job_log:
        job_log.did_work = True
        job_log.log_event("decision", train=True, reason="12 % more spectra", promoted="m-1")
        job_log.log_event("promotion", candidate="m-2", promote=True, reason="χ² × 0.9")
        promote(url, lease, "m-2", "better")
    return url


@pytest.fixture
def command(root, distspec):
    return distspec.at(root)


def test_status_of_a_root(root, command):
    lines = [line.split("  ", 1) for line in command("status").splitlines()]
    status = {topic.strip(): text.strip() for topic, text in lines}
    assert status["working"] == "no job"
    assert status["last job"] == "1, pipeline: done"
    assert status["model"].startswith("m-2, promoted")
    assert status["store"] == "60 current spectra, 60 rows"
    assert "r-1/" in status["published"]
    with hold_lease(root, "ingest"):
        assert "ingest on" in command("status")


def test_status_of_nothing_fails_with_the_remedy(tmp_path, distspec):
    for root in (tmp_path, tmp_path / "absent"):
        match = f"nothing under {root}: `distspec run RECIPE --root {root}`"
        distspec.at(str(root)).fails("status", match=match, status=1)


def test_status_says_in_words_whether_the_classes_beat_structureless_data(root, command):
    url = run_url(root, "r-1")
    record = read_run_record(url)
    for beats_null, text in ((False, "No distinct classes were found"), (True, "3 classes, more distinct")):
        clustering = replace(record.clustering, setting="gmm", beats_null=beats_null)
        write_json(join_url(url, "run.json"), replace(record, clustering=clustering).to_json())
        status = command("status")
        assert text in status
        assert ("3 classes" in status) is beats_null
        assert "spectra are too few to train a model on" in status
        assert json.loads(command("status", "--format", "json"))["verdict"].startswith(text)


def test_the_root_is_that_of_the_environment_by_default(root, distspec, monkeypatch):
    distspec.fails("status", match="--root", status=2)
    monkeypatch.setenv("DISTSPEC_ROOT", root)
    assert "r-1/" in distspec("status")
    assert parse(["demo"]).root == root


def test_history_has_decisions_with_reasons(root, command):
    with hold_lease(root, "train") as lease:
        JobLog(root, lease, "train")  # a killed job records no end
    lines = command("history").splitlines()
    assert "12 % more spectra → m-2 promoted: χ² × 0.9" in lines[1]
    assert "killed" in lines[2]
    with hold_lease(root, "train") as lease:
        JobLog(root, lease, "train")
        assert "running" in command("history").splitlines()[3]
    events = [json.loads(line) for line in command("history", "--job", "1").splitlines()]
    assert [event["event_type"] for event in events] == ["started", "decision", "promotion", "ended"]
    assert len(command("history", "--n", "1").splitlines()) == 2


def test_rollback_and_unpin(root, command):
    assert "m-1 is promoted and pinned; current: r-1/" in command("rollback", "m-1", "--who", "ann")
    assert "pinned: rolled back by ann" in command("status")
    assert "m-1 was promoted already; it is now pinned" in command("rollback", "m-1")
    assert "m-1 is promoted until" in command("rollback", "--unpin")
    assert "pinned: " not in command("status")
    assert [job.operation for job in list_jobs(root)] == ["pipeline", *["rollback"] * 3]
    command.fails("rollback", match="name the model to go back to", status=2)
    command.fails("rollback", "m-9", match="m-9", status=1)
    assert list_jobs(root)[-1].status == "failed"


def test_unlock_shows_the_holder_and_takes_the_root_only_by_force(root, command):
    assert command("unlock").strip() == "no job holds this root"
    with hold_lease(root, "train") as lease:
        assert "held by train on" in command("unlock")
        lease.check_held()
        assert "released; it was held by train on" in command("unlock", "--force")
        with hold_lease(root, "gc"):
            assert "held by gc on" in command("unlock")


def test_verify_and_provenance(root, command):
    assert "all editions, runs and models match their checksums" in command("verify")
    assert "file  uri" in command("provenance", "o0007")
    lines = command("provenance", "o0007", "--format", "json").splitlines()
    assert [json.loads(line)["entity_type"] for line in lines][-1] == "file"
    shutil.rmtree(Path(root) / "runs")
    command.fails("verify", match="problems", status=1)


def test_snapshots_can_be_tagged(root, command):
    assert "release-1" in command("snapshots", "--tag", "release-1")
    assert "tags" in command("gc")
    assert command("quarantine").strip() == "no spectrum is in quarantine"
    assert "no spectrum is in quarantine with" in command("quarantine", "--reason", "flagged")
    command.fails("quarantine", "--reason", "foo", match="no reason 'foo': choose from not_found", status=2)
