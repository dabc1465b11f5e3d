"""What an operator asks of a root."""

import json
import sys

import pytest

from distspec.catalog import editions
from distspec.cli.main import main
from distspec.io.job_log import JobLog, list_jobs, track_job
from distspec.io.lease import hold_lease
from distspec.models.registry import promote
from tests.helpers import models


@pytest.fixture
def root(run, tables):
    url, store, _ = run
    editions.publish(url, tables, "r-1", store.snapshot_id, {})
    models.save(store, url, "m-2", seed=1)
    with hold_lease(url, "pipeline") as lease, track_job(JobLog(url, lease, "pipeline", "demo")) as journal:
        journal.did_work = True
        journal.log_event("decision", train=True, reason="12 % more spectra", promoted="m-1")
        journal.log_event("promotion", challenger="m-2", promote=True, reason="χ² × 0.9")
        promote(url, lease, "m-2", "better")
    return url


@pytest.fixture
def distspec(root, monkeypatch, capsys):
    def call(*args):
        monkeypatch.setattr(sys, "argv", ["distspec", *args, "--root", root])
        main()
        return capsys.readouterr().out

    return call


def test_status_says_how_it_stands(root, distspec):
    said = dict(line.split("  ", 1) for line in distspec("status").splitlines())
    said = {name.strip(): words.strip() for name, words in said.items()}
    assert said["works on it"] == "nobody"
    assert said["last job"] == "1, pipeline: done"
    assert said["serves"].startswith("m-2 since")
    assert said["store"] == "60 spectra stand, 60 rows"
    assert "r-1/" in said["published"]
    with hold_lease(root, "ingest"):
        assert "ingest on" in distspec("status")


def test_status_of_an_empty_root(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["distspec", "status", "--root", str(tmp_path)])
    main()
    assert "none: nothing was ingested" in capsys.readouterr().out


def test_history_says_what_was_decided_and_why(root, distspec):
    with hold_lease(root, "train") as lease:
        JobLog(root, lease, "train")  # killed: nobody says how it ended
    lines = distspec("history").splitlines()
    assert "12 % more spectra → m-2 serves: χ² × 0.9" in lines[1]
    assert "killed" in lines[2]
    with hold_lease(root, "train") as lease:
        JobLog(root, lease, "train")
        assert "runs" in distspec("history").splitlines()[3]
    assert [json.loads(line)["event_type"] for line in distspec("history", "--job", "1").splitlines()] == [
        *("started", "decision", "promotion", "ended")
    ]
    assert len(distspec("history", "--n", "1").splitlines()) == 2


def test_rollback_in_one_command(root, distspec):
    assert "m-1 serves, and r-1/" in distspec("rollback", "m-1", "--who", "ann")
    assert "held: rolled back by ann" in distspec("status")
    assert "m-1 serves, until" in distspec("rollback", "--release")
    assert "held" not in distspec("status")
    assert [job.operation for job in list_jobs(root)] == ["pipeline", "rollback", "rollback"]
    with pytest.raises(SystemExit, match="name a model to go back to"):
        distspec("rollback")
    with pytest.raises(SystemExit, match="m-9"):
        distspec("rollback", "m-9")
    assert list_jobs(root)[-1].status == "failed"
