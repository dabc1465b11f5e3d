"""The log of the jobs that ran on a root: one folder per job, with its events and its outcome.

    ROOT/jobs/<number>/events.jsonl     events in order, one JSON object per line
    ROOT/jobs/<number>/job.json         the job's record, written at its start and again at its end
    ROOT/jobs/<number>/ray.log          warnings of Ray, if there are any

The number is the token of the lease that the job held, so it increases from job to job.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from distspec.core.errors import StorageError
from distspec.core.records import JsonRecord, collect_versions, encode_value, utc_now_iso
from distspec.io.files import list_files, read_bytes, read_json, url_exists, write_bytes, write_json
from distspec.io.lease import Lease
from distspec.io.paths import join_url

MAX_ERROR_LENGTH = 1000
"""Characters of an error message that are recorded."""
EventType = Literal["started", "stage", "decision", "promotion", "rollback", "ended"]
JobStatus = Literal["running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class JobEvent:
    """One event of a job.

    Attributes
    ----------
    event_type : str
        One of `EventType`.
    time : str
        Time of the event (UTC, ISO 8601).
    payload : mapping
        Values that belong to the event, by name; they depend on its type.
    """

    event_type: EventType
    time: str
    payload: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the event as one flat JSON object."""
        return {"time": self.time, "event_type": self.event_type, **encode_value(self.payload)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> JobEvent:
        """Build an event from its JSON object.

        Parameters
        ----------
        record : mapping of str to Any
            Content of a line of the log.

        Returns
        -------
        JobEvent
        """
        payload = {name: value for name, value in record.items() if name not in ("time", "event_type")}
        return cls(record["event_type"], record["time"], payload)


@dataclass(frozen=True)
class JobRecord(JsonRecord):
    """A job and its outcome.

    Attributes
    ----------
    number : int
        Token of the lease that the job held.
    operation : str
        Stage that it ran, "pipeline" for all stages, or the command.
    recipe : str
        Name of the recipe; empty for commands without one.
    started, ended : str
        Times (UTC, ISO 8601); ``ended`` is empty while the job runs.
    status : {"running", "done", "failed", "stopped"}
        A job that was killed keeps ``running``, although the root has been released.
    did_work : bool
        Whether any stage had something to do.
    error : str
        Why the job failed or was stopped; empty otherwise.
    versions : mapping
        Versions of the code and of the packages that it uses.
    """

    record_name = "job.json"

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
    """Writes the events and the outcome of the running job.

    Parameters
    ----------
    root : str
        URL of the root.
    lease : Lease
        The job's lease of the root.
    operation : str
        Stage, "pipeline" or command.
    recipe : str
        Name of the recipe, if any.

    Attributes
    ----------
    lease : Lease
        The job's lease of the root.
    did_work : bool
        Whether any stage has had something to do; set by whoever runs the stages.
    """

    def __init__(self, root: str, lease: Lease, operation: str, recipe: str = "") -> None:
        self._url, self.lease = _job_url(root, lease.token), lease
        self._lines: list[str] = []
        self.did_work = False
        self.record = JobRecord(lease.token, operation, recipe, utc_now_iso(), versions=collect_versions())
        self._write_record()
        self.log_event("started", operation=operation, recipe=recipe)

    def log_event(self, event_type: EventType, **payload: Any) -> None:
        """Record an event.

        Parameters
        ----------
        event_type : str
            One of `EventType`.
        **payload
            JSON values that belong to the event.
        """
        event = JobEvent(event_type, utc_now_iso(), payload)
        self._lines.append(json.dumps(event.to_json(), ensure_ascii=False) + "\n")
        write_bytes(join_url(self._url, "events.jsonl"), "".join(self._lines).encode())

    def finish(self, status: JobStatus, error: str = "") -> None:
        """Record the outcome of the job.

        Parameters
        ----------
        status : {"done", "failed", "stopped"}
            Outcome of the job.
        error : str
            Why the job failed or was stopped.
        """
        self.log_event("ended", status=status, did_work=self.did_work, error=error)
        self.record = replace(
            self.record, ended=utc_now_iso(), status=status, did_work=self.did_work, error=error
        )
        self._write_record()

    @contextmanager
    def capture_messages(self, logger_name: str) -> Generator[None]:
        """Write the messages of a package to a file of the job instead of the terminal within the block.

        Parameters
        ----------
        logger_name : str
            Name of the package's logger; the file has its name and the ending ``.log``.
        """
        logger = logging.getLogger(logger_name)
        handler = _FileHandler(join_url(self._url, f"{logger_name}.log"))
        previous: list[logging.Handler] = logger.handlers
        logger.handlers = [handler]
        propagates, logger.propagate = logger.propagate, False
        try:
            yield
        finally:
            logger.handlers, logger.propagate = previous, propagates

    def _write_record(self) -> None:
        write_json(join_url(self._url, "job.json"), self.record.to_json())


class _FileHandler(logging.Handler):
    """Writes messages to a file, which may be in a bucket: whole after each of the few messages."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url, self._lines = url, list[str]()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        self._lines.append(self.format(record) + "\n")
        with suppress(StorageError):  # the job continues without its log
            write_bytes(self._url, "".join(self._lines).encode())


@contextmanager
def track_job(job_log: JobLog) -> Generator[JobLog]:
    """Record how the block ends as the outcome of the job.

    Parameters
    ----------
    job_log : JobLog
        Log of the running job; its status becomes done, failed (an exception) or stopped (a signal).
    """
    try:
        yield job_log
    except BaseException as error:
        failed = isinstance(error, Exception)
        message = f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH] if failed else "stopped by a signal"
        with suppress(StorageError):  # the error of the block tells more
            job_log.finish("failed" if failed else "stopped", message)
        raise
    job_log.finish("done")


def list_jobs(root: str) -> list[JobRecord]:
    """Return the records of all jobs of a root, oldest first.

    Parameters
    ----------
    root : str
        Root of the project.

    Returns
    -------
    list of JobRecord
    """
    url = join_url(root, "jobs")
    records = [read_json(join_url(url, name)) for name in list_files(url) if name.endswith("/job.json")]
    return sorted((JobRecord.from_json(record) for record in records), key=lambda job: job.number)


def read_events(root: str, job_number: int) -> list[JobEvent]:
    """Return the events of a job in order; empty if there is no such job.

    Parameters
    ----------
    root : str
        Root of the project.
    job_number : int
        Number of the job.

    Returns
    -------
    list of JobEvent
    """
    url = join_url(_job_url(root, job_number), "events.jsonl")
    if not url_exists(url):
        return []
    return [JobEvent.from_json(json.loads(line)) for line in read_bytes(url).decode().splitlines()]


def _job_url(root: str, number: int) -> str:
    return join_url(root, "jobs", f"{number:06d}")
