"""State and history of a root: its jobs, its promoted model and its published editions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distspec.catalog.editions import EditionRecord, count_classes, read_current_record
from distspec.catalog.run_record import has_run, read_run_record
from distspec.core.errors import NotFoundError
from distspec.io.job_log import JobRecord, list_jobs, read_events
from distspec.io.lease import LeaseHolder, read_holder
from distspec.io.paths import model_url, run_url, store_url
from distspec.models.pretrained import describe_too_few
from distspec.models.record import has_model, read_model_record
from distspec.models.registry import PromotedModel, read_promoted
from distspec.store.store import open_store


@dataclass(frozen=True)
class JobSummary:
    """One job of a root.

    Attributes
    ----------
    number : int
        Number of the job.
    started : str
        Time at which it started, UTC, ISO 8601.
    operation : str
        Stage, "pipeline" or verb that it ran.
    status : str
        How it ended, or "running" or "killed".
    did_work : bool
        Whether it had anything to do.
    decision : str
        What it decided about the model, and the reason; empty if it decided nothing.
    """

    number: int
    started: str
    operation: str
    status: str
    did_work: bool
    decision: str


@dataclass(frozen=True)
class StoreSummary:
    """Counts of a store.

    Attributes
    ----------
    n_current : int
        Spectra that are neither superseded nor withdrawn.
    n_rows : int
        All rows.
    n_quarantined : int
        Spectra in quarantine.
    catalog : str
        What became of the rows of the archive's catalog when it was last read; "" if not recorded.
    """

    n_current: int
    n_rows: int
    n_quarantined: int
    catalog: str = ""


@dataclass(frozen=True)
class ProjectStatus:
    """State of a root.

    Attributes
    ----------
    holder : LeaseHolder or None
        Job that works on the root now.
    last_job : JobSummary or None
        Job that started last.
    promoted : PromotedModel or None
        Model that the pipeline uses.
    store : StoreSummary or None
        Counts of the store; None before the first ingest.
    published : EditionRecord or None
        Current edition of the catalog.
    verdict : str
        Whether its classes are more distinct than structureless data give, in words, and whether the model
        was trained on too few spectra; empty if not recorded.
    """

    holder: LeaseHolder | None
    last_job: JobSummary | None
    promoted: PromotedModel | None
    store: StoreSummary | None
    published: EditionRecord | None
    verdict: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing under the root: neither a store nor a model nor a record of a job."""
        return (self.holder, self.last_job, self.promoted, self.store, self.published) == (None,) * 5

    def lines(self) -> dict[str, str]:
        """Return the state as text, by topic.

        Returns
        -------
        dict of str to str
            Text by topic.
        """
        lines = {"working": str(self.holder) if self.holder else "no job"}
        if self.last_job is not None:
            lines["last job"] = f"{self.last_job.number}, {self.last_job.operation}: {self.last_job.status}"
        if self.promoted is not None:
            pinned = f"; pinned: {self.promoted.pin_reason}" if self.promoted.pin_reason else ""
            promotion = f"promoted {self.promoted.promoted_at}: {self.promoted.reason}"
            lines["model"] = f"{self.promoted.model_id}, {promotion}{pinned}"
        if self.store is None:
            lines["store"] = "none: run `distspec run RECIPE --root …` to ingest spectra"
        else:
            lines["store"] = f"{self.store.n_current:,} current spectra, {self.store.n_rows:,} rows"
            lines["quarantine"] = f"{self.store.n_quarantined:,} spectra"
            if self.store.catalog:
                lines["catalog"] = self.store.catalog
        if self.published is not None:
            n_spectra = self.published.rows["objects"]
            lines["published"] = f"{self.published.name} at {self.published.published}: {n_spectra:,} spectra"
            if self.verdict:
                lines["classes"] = self.verdict
        return lines

    def __str__(self) -> str:
        lines = self.lines()
        width = max(map(len, lines))
        return "\n".join(f"{topic.ljust(width)}  {text}" for topic, text in lines.items())


def read_status(root: str) -> ProjectStatus:
    """Return the state of a root.

    Parameters
    ----------
    root : str
        Root of the store, models and catalog.

    Returns
    -------
    ProjectStatus
    """
    holder, jobs, published = read_holder(root), list_jobs(root), read_current_record(root)
    return ProjectStatus(
        holder=holder if holder is not None and not holder.is_expired(time.time()) else None,
        last_job=_summarize_job(root, jobs[-1]) if jobs else None,
        promoted=read_promoted(root),
        store=_count_store(root, jobs),
        published=published,
        verdict=read_verdict(root, published) if published is not None else "",
    )


def read_verdict(root: str, record: EditionRecord) -> str:
    """Return whether the classes of an edition are more distinct than structureless data give, in words.

    If the model was trained on too few spectra, that is added.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    record : EditionRecord
        Record of the edition.

    Returns
    -------
    str
        Empty if the run of the edition is not there.
    """
    url = run_url(root, record.run_id)
    if not has_run(url):
        return ""
    run = read_run_record(url)
    verdict = run.clustering.describe_verdict(count_classes(root, record))
    model = model_url(root, run.model_id)
    if not has_model(model):
        return verdict
    trained = read_model_record(model)
    too_few = describe_too_few(trained.metrics.n_train, trained.store_config)
    return f"{verdict} {too_few}." if too_few else verdict


def read_history(root: str, n_jobs: int = 0) -> list[JobSummary]:
    """Return the jobs of a root, oldest first.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    n_jobs : int
        Number of jobs to return, the last ones; 0: all.

    Returns
    -------
    list of JobSummary
        Jobs, oldest first.
    """
    return [_summarize_job(root, job) for job in list_jobs(root)[-n_jobs if n_jobs else 0 :]]


def _count_store(root: str, jobs: Sequence[JobRecord]) -> StoreSummary | None:
    try:
        store = open_store(store_url(root))
    except NotFoundError:
        return None
    events = (event.payload for job in reversed(jobs) for event in read_events(root, job.number))
    ingests = (payload for payload in events if payload.get("stage") == "ingest")
    catalog = next((str(payload["catalog"]) for payload in ingests if "catalog" in payload), "")
    return StoreSummary(len(store.current_rows()), store.n_rows, len(store.read_quarantine()), catalog)


def _summarize_job(root: str, job: JobRecord) -> JobSummary:
    events = {event.event_type: event.payload for event in read_events(root, job.number)}
    return JobSummary(
        number=job.number,
        started=job.started,
        operation=job.operation,
        status=_job_status(root, job),
        did_work=job.did_work,
        decision=_format_decision(events),
    )


def _format_decision(events: Mapping[str, Mapping[str, Any]]) -> str:
    """Return why a model was trained or not, and whether it was promoted."""
    decision = events.get("decision", {}).get("reason", "")
    if promotion := events.get("promotion"):
        outcome = "promoted" if promotion["promote"] else "rejected"
        return f"{decision} → {promotion['candidate']} {outcome}: {promotion['reason']}"
    return decision


def _job_status(root: str, job: JobRecord) -> str:
    """Return how a job ended; a job without an end is still running if it holds the lease."""
    if job.status != "running":
        return f"{job.status}: {job.error}" if job.error else job.status
    holder = read_holder(root)
    holds_lease = holder is not None and holder.token == job.number and not holder.is_expired(time.time())
    return "running" if holds_lease else "killed"
