"""Verbs for whoever looks after a schedule: status, history, rollback."""

from __future__ import annotations

import getpass
import json
import time
from dataclasses import dataclass, field

import pyarrow as pa
import tyro

from distspec.catalog.editions import read_current_record
from distspec.cli.base import RootCommand
from distspec.core.text import format_table
from distspec.io.job_log import JobLog, JobRecord, list_jobs, read_events, track_job
from distspec.io.lease import hold_lease, read_holder
from distspec.io.paths import store_url
from distspec.models.registry import read_promoted
from distspec.operations.rollback import roll_back, unpin_model
from distspec.store.store import open_store


@dataclass(frozen=True)
class StatusCommand(RootCommand):
    """Say how a root stands: who works on it, what serves, what is published, how the last job ended."""

    def run(self) -> None:
        """Print it."""
        there = read_holder(self.root)
        busy = there is not None and not there.is_expired(time.time())
        serves, published, known = (
            read_promoted(self.root),
            read_current_record(self.root),
            list_jobs(self.root),
        )
        lines = {"works on it": str(there) if busy else "nobody"}
        if known:
            last = known[-1]
            lines["last job"] = f"{last.number}, {last.operation}: {_format_job_status(self.root, last)}"
        if serves is not None:
            held = f"; held: {serves.pin_reason}" if serves.pin_reason else ""
            lines["serves"] = f"{serves.model_id} since {serves.promoted_at}: {serves.reason}{held}"
        try:
            store = open_store(store_url(self.root))
            lines["store"] = f"{len(store.current_rows()):,} spectra stand, {store.n_rows:,} rows"
            lines["quarantine"] = f"{len(store.read_quarantine()):,} spectra"
        except FileNotFoundError:
            lines["store"] = "none: nothing was ingested"
        if published is not None:
            rows = published.rows
            lines["published"] = (
                f"{published.name} at {published.published}: {rows['objects']:,} spectra in "
                f"{rows['classes']:,} classes"
            )
        width = max(map(len, lines))
        print("\n".join(f"{name.ljust(width)}  {said}" for name, said in lines.items()))


@dataclass(frozen=True)
class HistoryCommand(RootCommand):
    """List what was done under a root, job by job: what was decided, and why."""

    job: int = 0
    """Print the events of this job, a line of JSON each."""
    n: int = 20
    """The last so many jobs; 0: all."""

    def run(self) -> None:
        """Print it."""
        if self.job:
            for event in read_events(self.root, self.job):
                print(json.dumps(event.to_json(), ensure_ascii=False))
            return
        rows = [self._format_job(job) for job in list_jobs(self.root)[-self.n if self.n else 0 :]]
        print(format_table(pa.Table.from_pylist(rows)) if rows else "nothing was done yet")

    def _format_job(self, job: JobRecord) -> dict[str, str]:
        said = {event.event_type: event.payload for event in read_events(self.root, job.number)}
        decided = said.get("decision", {}).get("reason", "")
        if verdict := said.get("promotion"):
            word = "serves" if verdict["promote"] else "refused"
            decided = f"{decided} → {verdict['challenger']} {word}: {verdict['reason']}"
        return {
            "job": str(job.number),
            "started": job.started,
            "what": job.operation,
            "ended": _format_job_status(self.root, job),
            "worked": "yes" if job.did_work else "",
            "model": decided,
        }


@dataclass(frozen=True)
class RollbackCommand(RootCommand):
    """Let a model serve that served before, and publish the last catalogue of it, until it is let go."""

    model_id: tyro.conf.Positional[str] = ""
    """Its name (`distspec history`)."""
    unpin: bool = False
    """Let go of the model that is held: the schedule may follow it with a better one again."""
    who: str = field(default_factory=getpass.getuser)
    """Who wants it, for the record."""

    def run(self) -> None:
        """Do it, and print what serves."""
        if bool(self.model_id) == self.unpin:
            raise ValueError("name a model to go back to, or --release to let go of the one that is held")
        with (
            hold_lease(self.root, "rollback") as lease,
            track_job(JobLog(self.root, lease, "rollback")) as journal,
        ):
            if self.unpin:
                name = unpin_model(self.root, self.who, lease)
                journal.log_event("rollback", model=name, held=False, who=self.who)
                print(f"{name} serves, until a better one does")
                return
            record = roll_back(self.root, self.model_id, self.who, lease)
            journal.did_work = True
            journal.log_event("rollback", model=self.model_id, held=True, who=self.who)
        if record is None:
            print(f"{self.model_id} serves; it has no catalogue yet: the next run makes one")
        else:
            print(f"{self.model_id} serves, and {record.name} is published")


def _format_job_status(root: str, job: JobRecord) -> str:
    """Say how a job ended; of one that says nothing of it, whether it still runs."""
    if job.status == "running":
        there = read_holder(root)
        runs = there is not None and there.token == job.number and not there.is_expired(time.time())
        return "runs" if runs else "killed"
    return f"{job.status}: {job.error}" if job.error else job.status
