"""Methods of a project that look after it over time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from distspec.catalog.editions import (
    EditionRecord,
)
from distspec.core.errors import ConfigError
from distspec.core.user import user_name
from distspec.io.job_log import JobEvent, JobLog, read_events, track_job
from distspec.io.lease import LeaseHolder, force_release, hold_lease, read_holder
from distspec.io.storage import resolve_root
from distspec.store.snapshots import RETENTION, collect_garbage

if TYPE_CHECKING:
    from distspec.models.registry import PromotedModel
    from distspec.operations.status import JobSummary, ProjectStatus
    from distspec.pipeline.reproduce import Reproduction
    from distspec.stages.config import RayConfig
    from distspec.stages.result import StageResult
    from distspec.store.snapshots import GarbageSummary


from distspec.project.base import ProjectBase, with_storage


class OperationMethods(ProjectBase):
    """Methods of a project that look after it over time."""

    @with_storage
    def status(self) -> ProjectStatus:
        """Return the jobs on the root, the promoted model and the published edition."""
        from distspec.operations.status import read_status

        return read_status(self.root)

    @with_storage
    def history(self, n: int = 0) -> list[JobSummary]:
        """Return the results of jobs, oldest first.

        Parameters
        ----------
        n : int
            Number of jobs to return, the last ones; 0: all.
        """
        from distspec.operations.status import read_history

        return read_history(self.root, n)

    @with_storage
    def events(self, job: int) -> list[JobEvent]:
        """Return the events of a job by its number.

        Parameters
        ----------
        job : int
            Number of the job.

        Returns
        -------
        list of JobEvent
        """
        return read_events(self.root, job)

    @with_storage
    def promoted(self) -> PromotedModel | None:
        """Return the record of the promoted model; None before the first training."""
        from distspec.models.registry import read_promoted

        return read_promoted(self.root)

    @with_storage
    def rollback(self, model_id: str, user: str = "") -> EditionRecord | None:
        """Promote and pin an earlier model, and publish its last catalog again.

        Parameters
        ----------
        model_id : str
            Id of the model.
        user : str
            Who asks for it, for the record; empty: the name of the operating system's user.

        Returns
        -------
        EditionRecord or None
            Record of the current edition; None if no catalog was ever made with this model.
        """
        from distspec.operations.rollback import roll_back

        who = user or user_name()
        with (
            hold_lease(self.root, "rollback") as lease,
            track_job(JobLog(self.root, lease, "rollback")) as log,
        ):
            record = roll_back(self.root, model_id, who, lease)
            log.did_work = True
            log.log_event("rollback", model_id=model_id, pinned=True, user=who)
        return record

    @with_storage
    def unpin(self, user: str = "") -> str:
        """Allow scheduled runs to replace the promoted model again, and return its id.

        Parameters
        ----------
        user : str
            Who asks for it, for the record; empty: the name of the operating system's user.
        """
        from distspec.operations.rollback import unpin_model

        who = user or user_name()
        with (
            hold_lease(self.root, "rollback") as lease,
            track_job(JobLog(self.root, lease, "rollback")) as log,
        ):
            model_id = unpin_model(self.root, who, lease)
            log.log_event("rollback", model_id=model_id, pinned=False, user=who)
        return model_id

    @with_storage
    def unlock(self, force: bool = False) -> LeaseHolder | None:
        """Return the job that holds the root, or None; optionally release the root.

        Parameters
        ----------
        force : bool
            Whether to release the root. A holder that still runs fails at its next commit.
        """
        if force:
            return force_release(self.root)
        holder = read_holder(self.root)
        return None if holder is None or holder.released else holder

    @with_storage
    def gc(self, keep_days: float = RETENTION.total_seconds() / 86_400) -> GarbageSummary:
        """Delete old snapshots without a tag, and the data that only they need.

        Parameters
        ----------
        keep_days : float
            Age that a snapshot without a tag reaches [d].
        """
        if keep_days < 0:
            raise ConfigError(f"keep_days {keep_days} is negative: give 0 or more days")
        with hold_lease(self.root, "gc"):
            return collect_garbage(self.root, timedelta(days=keep_days))

    @with_storage
    def retry(self, ray: RayConfig | None = None) -> StageResult:
        """Ingest as the last run did, and read spectra again whose failure may have been transient.

        Parameters
        ----------
        ray : RayConfig, optional
            Ray cluster to use.
        """
        from distspec.ingest.source import read_source
        from distspec.stages.config import RayConfig
        from distspec.stages.ingest import ingest
        from distspec.stages.job import ray_job

        source = read_source(self.root)
        with ray_job(self.root, "retry", ray or RayConfig()) as job_log:
            result = ingest(self.root, source, job_log.lease, retry_transient=True)
            job_log.log_event("stage", stage="ingest", did_work=result.did_work, **result.summary)
            job_log.did_work = result.did_work
        return result

    @with_storage
    def reproduce(
        self, model_or_run_id: str, target_root: str | Path, ray: RayConfig | None = None
    ) -> Reproduction:
        """Make a model or a run again from its record in another root, and compare the results.

        Parameters
        ----------
        model_or_run_id : str
            Id of a model (m-…) or of a run (r-…).
        target_root : str or path-like
            Folder or bucket URL of a root that does not exist yet.
        ray : RayConfig, optional
            Ray cluster to use.
        """
        from distspec.pipeline.reproduce import reproduce
        from distspec.stages.config import RayConfig

        return reproduce(self.root, model_or_run_id, resolve_root(target_root), ray or RayConfig())
