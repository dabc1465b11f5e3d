"""What jobs did: events in order, a record that is whole at any time."""

import json

import pytest

from distspec.io.job_log import JobLog, list_jobs, read_events, track_job
from distspec.io.lease import hold_lease


def test_events_come_as_they_happen_and_the_record_says_how_it_ended(tmp_path):
    root = str(tmp_path)
    with hold_lease(root, "pipeline") as lease, track_job(JobLog(root, lease, "pipeline", "demo")) as journal:
        [running] = list_jobs(root)
        assert (running.status, running.ended, running.number) == ("running", "", 1)
        journal.log_event("stage", stage="ingest", seconds=1.5, worked=True, stored=3)
        assert [event["kind"] for event in read_events(root, 1)] == ["started", "stage"]
        journal.did_work = True
    [job] = list_jobs(root)
    assert (job.status, job.did_work, job.recipe, job.error) == ("done", True, "demo", "")
    assert job.started <= job.ended
    found = read_events(root, 1)
    assert [event["kind"] for event in found] == ["started", "stage", "ended"]
    assert found[1]["stored"] == 3
    assert all(event["time"] for event in found)


def test_what_failed_and_what_was_stopped_is_told_apart(tmp_path):
    root = str(tmp_path)
    for error, status, why in (
        (ValueError("no such folder"), "failed", "ValueError: no such folder"),
        (KeyboardInterrupt(), "stopped", "stopped from outside"),
        (SystemExit(143), "stopped", "stopped from outside"),
    ):
        with (
            pytest.raises(type(error)),
            hold_lease(root, "train") as lease,
            track_job(JobLog(root, lease, "train")),
        ):
            raise error
        assert (list_jobs(root)[-1].status, list_jobs(root)[-1].error) == (status, why)
    assert [job.number for job in list_jobs(root)] == [1, 2, 3]


def test_a_line_is_json_whatever_it_says(tmp_path):
    root = str(tmp_path)
    with hold_lease(root, "train") as lease, track_job(JobLog(root, lease, "train")) as journal:
        journal.log_event("decision", why='10 % of "µ"\nand more')
    lines = (tmp_path / "jobs" / "000001" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["started", "decision", "ended"]


def test_a_root_without_jobs_has_none(tmp_path):
    assert list_jobs(str(tmp_path)) == []
    assert read_events(str(tmp_path), 4) == []
