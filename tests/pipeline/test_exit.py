"""A job that is told to end ends soon, says so, and lets the root go; the next goes on where it was."""

import os
import signal
import subprocess
import sys
import time

import pytest

from distspec.io.job_log import list_jobs, read_events
from distspec.io.lease import hold_lease, read_holder
from distspec.pipeline.exit import EXIT_LEASE_HELD, EXIT_TERMINATED

SMALL = ("--synthetic.n-spectra", "80", "--grid.n-pixels", "64", "--training.max-epochs", "400")


def pipeline(root, *flags):
    command = [sys.executable, "-m", "jobs.pipeline", "demo", "--root", str(root), *SMALL, *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


@pytest.mark.slow  # `tests/cluster` stops a submitted job
def test_a_stopped_job_lets_go_and_the_next_goes_on(tmp_path):
    with pipeline(tmp_path) as job:
        for line in job.stderr:
            if "ingest " in line:
                break
        time.sleep(1.0)  # amid training's beginnings
        job.send_signal(signal.SIGTERM)
        start = time.monotonic()
        assert job.wait(30) == EXIT_TERMINATED
        job.stderr.close()
    assert read_holder(str(tmp_path)).released
    assert time.monotonic() - start < 30
    [last] = list_jobs(str(tmp_path))
    assert (last.status, last.error) == ("stopped", "stopped from outside")
    assert [e.payload["stage"] for e in read_events(str(tmp_path), 1) if e.event_type == "stage"] == [
        "synthesize",
        "ingest",
    ]
    with hold_lease(str(tmp_path), "a test"):
        pass


def test_who_comes_second_leaves_with_a_status_of_its_own(tmp_path):
    with hold_lease(str(tmp_path), "another"), pipeline(tmp_path) as job:
        said = job.communicate(timeout=120)[1]
    assert job.returncode == EXIT_LEASE_HELD
    assert "is held by another on" in said
    assert "Traceback" not in said
    assert list_jobs(str(tmp_path)) == []
