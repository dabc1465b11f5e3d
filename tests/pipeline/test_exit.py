"""How commands end: stopped by a signal, refused by a lease, with a user's error or an internal one."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from obstore.exceptions import PermissionDeniedError

from distspec.core.errors import ConfigError, StorageError, StoreError
from distspec.io.job_log import list_jobs, read_events
from distspec.io.lease import hold_lease, read_holder
from distspec.pipeline.exit import (
    EXIT_LEASE_HELD,
    EXIT_TERMINATED,
    find_user_error,
    format_error,
    report_errors,
)

SMALL = ("--synthetic.n-spectra", "80", "--grid.n-pixels", "64", "--training.max-epochs", "400")


def start_pipeline(root, *flags):
    command = [sys.executable, "-m", "jobs.pipeline", "demo", "--root", str(root), *SMALL, *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


@pytest.mark.slow  # `tests/cluster` stops a submitted job
def test_a_stopped_job_releases_the_root(tmp_path):
    with start_pipeline(tmp_path) as job:
        for line in job.stderr:
            if "ingest " in line:
                break
        time.sleep(1.0)  # the training is about to start
        job.send_signal(signal.SIGTERM)
        start = time.monotonic()
        assert job.wait(30) == EXIT_TERMINATED
        job.stderr.close()
    assert read_holder(str(tmp_path)).released
    assert time.monotonic() - start < 30
    [last] = list_jobs(str(tmp_path))
    assert (last.status, last.error) == ("stopped", "stopped by a signal")
    assert [e.payload["stage"] for e in read_events(str(tmp_path), 1) if e.event_type == "stage"] == [
        "synthesize",
        "ingest",
    ]
    with hold_lease(str(tmp_path), "a test"):
        pass


def test_a_root_in_use_has_an_exit_status_of_its_own(tmp_path):
    with hold_lease(str(tmp_path), "another"), start_pipeline(tmp_path) as job:
        output = job.communicate(timeout=120)[1]
    assert job.returncode == EXIT_LEASE_HELD
    assert "is held by another on" in output
    assert "Traceback" not in output
    assert list_jobs(str(tmp_path)) == []


def test_a_user_error_is_one_line_with_its_status(capsys):
    for error, status in ((ConfigError("seed -1\nis negative"), 2), (StoreError("no store"), 1)):
        with pytest.raises(SystemExit) as stopped, report_errors():
            raise error
        assert stopped.value.code == status
        assert capsys.readouterr().err == f"error: {' '.join(str(error).split())}\n"


def test_an_internal_error_keeps_its_traceback():
    for error in (ValueError("wrong"), RuntimeError("wrong"), OSError("wrong"), KeyError("wrong")):
        with pytest.raises(type(error)), report_errors():
            raise error


def test_errors_of_workers_and_of_object_stores_are_recognized():
    worker_error = ConfigError("in a worker")
    assert find_user_error(RuntimeError("plain")) is None
    wrapped = RuntimeError("ray")
    wrapped.cause = worker_error
    assert find_user_error(wrapped) is worker_error
    found = find_user_error(PermissionDeniedError("denied\n\nDebug source: 1"))
    assert isinstance(found, StorageError)
    assert format_error(found) == "error: denied"


def test_a_full_disk_is_a_user_error_with_the_name_of_the_file():
    found = find_user_error(OSError(errno.ENOSPC, "No space left on device", "/disk/file"))
    assert isinstance(found, StorageError)
    assert found.exit_status == 1
    assert str(found).startswith("/disk/file: No space left on device: free some space")
