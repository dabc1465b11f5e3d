"""Whatever breaks, the catalogue is the one that an undisturbed archive's pipeline publishes."""

import os
import subprocess
import sys

import pytest

from tests.cluster.nodes import REPOSITORY


def soaked(*flags: str) -> str:
    """Run it in a process of its own, whose Ray and whose S3 are nobody else's; return what it says."""
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


def test_a_night():
    """The job is stopped on its way, submitted again, and a last time for nothing."""
    said = soaked("--runs", "1", "--kinds", "job stopped", "--latest", "12")
    assert "job stopped after" in said
    assert "was stopped; nothing" in said
    assert "at 1 editions, 0 failed" in said


@pytest.mark.slow
def test_forty_nights():
    """Something at random befalls each."""
    assert "40 runs" in soaked("--runs", "40")
