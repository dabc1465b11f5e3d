"""Jobs of commands that use Ray."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from distspec.io.job_log import JobLog, track_job
from distspec.io.lease import hold_lease
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session


@contextmanager
def ray_job(root: str, operation: str, ray: RayConfig, recipe: str = "") -> Generator[JobLog]:
    """Hold the lease of a root, record a job, and be connected to Ray within the block.

    Messages of Ray are written to a file of the job, and not printed.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    operation : str
        Stage, "pipeline" or command.
    ray : RayConfig
        Ray cluster to use.
    recipe : str
        Name of the recipe, if any.
    """
    with (
        hold_lease(root, operation) as lease,
        track_job(JobLog(root, lease, operation, recipe)) as job_log,
        job_log.capture_messages("ray"),
        ray_session(ray),
    ):
        yield job_log
