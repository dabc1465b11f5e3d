"""Jobs of commands that use Ray."""

import logging
from contextlib import nullcontext

from distspec.io.job_log import list_jobs
from distspec.io.lease import read_holder
from distspec.stages import job
from distspec.stages.config import RayConfig


def test_messages_of_ray_are_in_a_file_of_the_job(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(job, "ray_session", lambda config: nullcontext())
    logger = logging.getLogger("ray")
    before = logger.handlers
    with job.ray_job(str(tmp_path), "retry", RayConfig()) as log:
        assert read_holder(str(tmp_path)).token == log.lease.token
        logging.getLogger("ray._private.services").warning("token authentication")
        log.did_work = True
    assert "".join(capfd.readouterr()) == ""
    assert "WARNING ray._private.services: token" in (tmp_path / "jobs/000001/ray.log").read_text()
    assert logger.handlers is before
    [record] = list_jobs(str(tmp_path))
    assert (record.operation, record.status, record.did_work) == ("retry", "done", True)
