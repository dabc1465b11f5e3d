"""Test that a job log holds its events in order, and its record at any time."""

import json
import logging

import pytest

from distspec.core.errors import StorageError, StoreError
from distspec.io.job_log import JobLog, JobRecord, list_jobs, read_events, track_job
from distspec.io.lease import hold_lease


def event_types(events):
    return [event.event_type for event in events]


def test_events_are_readable_while_the_job_runs_and_the_record_holds_its_outcome(tmp_path):
    root = str(tmp_path)
    with hold_lease(root, "pipeline") as lease, track_job(JobLog(root, lease, "pipeline", "demo")) as job_log:
        [running] = list_jobs(root)
        assert (running.status, running.ended, running.number) == ("running", "", 1)
        job_log.log_event("stage", stage="ingest", seconds=1.5, did_work=True, stored=3)
        assert event_types(read_events(root, 1)) == ["started", "stage"]
        job_log.did_work = True
    [job] = list_jobs(root)
    assert (job.status, job.did_work, job.recipe, job.error) == ("done", True, "demo", "")
    assert job.started <= job.ended
    events = read_events(root, 1)
    assert event_types(events) == ["started", "stage", "ended"]
    assert events[1].payload["stored"] == 3
    assert all(event.time for event in events)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no such folder"), "failed", "ValueError: no such folder"),
        (KeyboardInterrupt(), "stopped", "stopped by a signal"),
        (SystemExit(143), "stopped", "stopped by a signal"),
    ],
)
def test_the_record_distinguishes_failed_from_stopped_jobs(tmp_path, error, status, message):
    root = str(tmp_path)
    with (
        pytest.raises(type(error)),
        hold_lease(root, "train") as lease,
        track_job(JobLog(root, lease, "train")),
    ):
        raise error
    [job] = list_jobs(root)
    assert (job.status, job.error) == (status, message)


def test_the_error_of_a_job_is_not_replaced_by_that_of_its_record(tmp_path, monkeypatch):
    def fail(*_):
        raise StorageError("of job.json")

    with hold_lease(str(tmp_path), "train") as lease:
        job_log = JobLog(str(tmp_path), lease, "train")
        monkeypatch.setattr(JobLog, "finish", fail)
        with pytest.raises(StorageError, match="of the store"), track_job(job_log):
            raise StorageError("of the store")


def test_jobs_are_numbered_in_order(tmp_path):
    root = str(tmp_path)
    for _ in range(3):
        with hold_lease(root, "train") as lease, track_job(JobLog(root, lease, "train")):
            pass
    assert [job.number for job in list_jobs(root)] == [1, 2, 3]


def test_each_line_is_one_json_object_whatever_its_text(tmp_path):
    root = str(tmp_path)
    with hold_lease(root, "train") as lease, track_job(JobLog(root, lease, "train")) as job_log:
        job_log.log_event("decision", reason='10 % of "µ"\nand more')
    lines = (tmp_path / "jobs" / "000001" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event_type"] for line in lines] == ["started", "decision", "ended"]


def test_a_record_of_another_version_is_refused_with_the_remedy():
    with pytest.raises(StoreError, match=r"job\.json: no operation: .* use a new --root"):
        JobRecord.from_json({"number": 1, "what": "train", "recipe": "", "started": ""})


def test_a_root_without_jobs_has_an_empty_log(tmp_path):
    assert list_jobs(str(tmp_path)) == []
    assert read_events(str(tmp_path), 4) == []


def test_messages_of_a_package_are_in_the_folder_of_the_job_and_not_on_the_screen(tmp_path, capfd):
    logger = logging.getLogger("some_package")
    logger.addHandler(logging.StreamHandler())
    try:
        with hold_lease(str(tmp_path), "ingest") as lease:
            with JobLog(str(tmp_path), lease, "ingest").capture_messages("some_package"):
                logging.getLogger("some_package.part").warning("token authentication is %s", "enabled")
            logger.warning("afterwards")
    finally:
        logger.handlers.clear()
    assert "enabled" in (tmp_path / "jobs" / "000001" / "some_package.log").read_text()
    assert capfd.readouterr().err == "afterwards\n"
