"""Soak test: despite faults, the catalog equals that of an undisturbed pipeline on the same archive."""

import os
import subprocess
import sys

import pytest

from tests.cluster.nodes import REPOSITORY


def run_soak(*flags: str) -> str:
    """Run `tests.soak` in a process with its own Ray and its own S3 server, and return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.soak", *flags],
        cwd=REPOSITORY,
        env={**environment, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-1500:] + ended.stderr[-3000:]
    return ended.stdout


@pytest.mark.slow  # tests/cluster/test_jobs.py stops a job and resumes it
def test_one_run_with_a_stopped_job():
    """The job is stopped, submitted again, and submitted once more when there is nothing to do."""
    output = run_soak("--runs", "1", "--faults", "job stopped", "--max-delay", "12")
    assert "job stopped after" in output
    assert "was stopped; nothing" in output
    assert "of 1 editions, 0 failed" in output


@pytest.mark.slow
def test_forty_runs_with_random_faults():
    assert "40 runs" in run_soak("--runs", "40")
