"""What jobs did under a root: a folder a job, events as they come, and a record that is whole at any time.

    ROOT/jobs/<number>/events.jsonl     an event a line, in order; only ever added to
    ROOT/jobs/<number>/job.json         what job it is, and what came of it

The number is the token of the lease under which it ran: each is larger than the one before.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from distspec.core.records import collect_versions, utc_now_iso
from distspec.io.files import list_files, read_bytes, read_json, url_exists, write_bytes, write_json
from distspec.io.lease import Lease
from distspec.io.paths import join_url

MAX_ERROR_LENGTH = 1000
"""Characters of what ended a job."""
EventType = Literal["started", "stage", "decision", "verdict", "rollback", "ended"]
JobStatus = Literal["running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class JobEvent:
    """Something that happened.

    Attributes
    ----------
    event_type : str
    time : str
        UTC, ISO 8601.
    payload : mapping
    """

    event_type: EventType
    time: str
    payload: Mapping[str, Any]

    def to_json(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps({"time": self.time, "kind": self.event_type, **self.payload}, ensure_ascii=False)


@dataclass(frozen=True)
class JobRecord:
    """What job it is, and what came of it.

    Attributes
    ----------
    number : int
    operation : str
        The stages it ran, or the verb.
    recipe : str
    started, ended : str
        UTC, ISO 8601; ended is empty while it runs.
    status : str
        A job that was killed stays ``running``: another has the root by then.
    did_work : bool
        Whether any stage had something to do.
    error : str
        What ended it, where it is not ``done``.
    """

    number: int
    operation: str
    recipe: str
    started: str
    ended: str = ""
    status: JobStatus = "running"
    did_work: bool = False
    error: str = ""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])


class JobLog:
    """The events of one job, kept as they come."""

    def __init__(self, root: str, lease: Lease, operation: str, recipe: str = "") -> None:
        self._url = _job_url(root, lease.token)
        self._lines: list[str] = []
        self.did_work = False
        """Whether any stage had something to do."""
        self.record = JobRecord(lease.token, operation, recipe, utc_now_iso(), versions=collect_versions())
        write_json(join_url(self._url, "job.json"), asdict(self.record))
        self.log_event("started", what=operation, recipe=recipe)

    def log_event(self, event_type: EventType, **payload: Any) -> None:
        """Keep an event."""
        self._lines.append(JobEvent(event_type, utc_now_iso(), payload).to_json())
        write_bytes(
            join_url(self._url, "events.jsonl"), "".join(f"{line}\n" for line in self._lines).encode()
        )

    def finish(self, status: JobStatus, error: str = "") -> None:
        """Keep what came of the job."""
        self.log_event("ended", status=status, worked=self.did_work, error=error)
        self.record = replace(
            self.record, ended=utc_now_iso(), status=status, did_work=self.did_work, error=error
        )
        write_json(join_url(self._url, "job.json"), asdict(self.record))


@contextmanager
def track_job(job_log: JobLog) -> Generator[JobLog]:
    """Keep a journal while a job runs, and how it ended."""
    try:
        yield job_log
    except Exception as error:
        job_log.finish("failed", f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH])
        raise
    except BaseException:
        job_log.finish("stopped", "stopped from outside")
        raise
    job_log.finish("done")


def list_jobs(root: str) -> list[JobRecord]:
    """Return all jobs of a root, the first first."""
    found = [name for name in list_files(join_url(root, "jobs")) if name.endswith("/job.json")]
    records = [read_json(join_url(root, "jobs", name)) for name in found]
    known = JobRecord.__dataclass_fields__
    return sorted(
        (JobRecord(**{name: value for name, value in record.items() if name in known}) for record in records),
        key=lambda job: job.number,
    )


def read_events(root: str, job_number: int) -> list[dict[str, Any]]:
    """Return the events of a job in order; none where it has none."""
    url = join_url(_job_url(root, job_number), "events.jsonl")
    return [json.loads(line) for line in read_bytes(url).decode().splitlines()] if url_exists(url) else []


def _job_url(root: str, number: int) -> str:
    return join_url(root, "jobs", f"{number:06d}")
