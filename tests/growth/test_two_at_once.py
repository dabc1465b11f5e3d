"""Two jobs at the same time on one local root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import ray

from distspec.io.lease import hold_lease
from distspec.io.paths import store_url
from distspec.pipeline.exit import EXIT_LEASE_HELD
from distspec.store.store import store_exists
from distspec.store.verify import verify_store
from tests.growth.archives import GrowingArchive
from tests.growth.conftest import REPOSITORY

N_FILES = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = GrowingArchive.create(tmp_path_factory.mktemp("archive"), N_FILES)
    archive.write_catalog(sorted(archive.rows))
    return archive.folder


def start_job(root: str, folder: Path) -> subprocess.Popen[str]:
    """Start `jobs.ingest`, on this session's Ray."""
    flags = {"--root": root, "--archive.url": str(folder), "--archive.catalog": f"{folder}/catalog.csv"}
    flags |= {"--ray.address": ray.get_runtime_context().gcs_address, "--grid.n-pixels": "48"}
    command = [sys.executable, "-m", "jobs.ingest", "dja", *(word for flag in flags.items() for word in flag)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.slow  # leases are acquired at once in tests/io/test_lease.py, a job refused in tests/pipeline
def test_one_job_works_and_the_other_reports_the_holder(folder, tmp_path, local_ray):
    root = str(tmp_path)
    jobs = [start_job(root, folder) for _ in range(2)]
    ended = [job.communicate(timeout=180)[1] for job in jobs]
    codes = [job.returncode for job in jobs]
    assert sorted(codes) == [0, EXIT_LEASE_HELD], ended
    loser = codes.index(EXIT_LEASE_HELD)
    winner = jobs[1 - loser].pid
    message = ended[loser]
    assert "is held by ingest on " in message or "was acquired by another job at the same time" in message
    assert f"process {winner}, since" in message or "at the same time" in message
    assert "Traceback" not in message
    store, problems = verify_store(root)
    assert problems == []
    assert store.n_rows == N_FILES
    assert store.n_ingest_commits == 1


@pytest.mark.slow
def test_a_job_without_the_lease_writes_nothing(folder, tmp_path, local_ray):
    root = str(tmp_path)
    with hold_lease(root, "gc"):
        job = start_job(root, folder)
        message = job.communicate(timeout=180)[1]
    assert job.returncode == EXIT_LEASE_HELD
    assert "is held by gc on " in message
    assert not store_exists(store_url(root))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lease.json.lock", "lease.json"]


@pytest.mark.slow
def test_a_failed_job_releases_the_lease(folder, tmp_path, local_ray):
    root = str(tmp_path)
    job = start_job(root, tmp_path / "nowhere")
    message = job.communicate(timeout=180)[1]
    assert job.returncode == 1
    assert "catalogue" in message
    assert "Traceback" not in message
    with hold_lease(root, "next") as lease:
        assert lease.token == 2
