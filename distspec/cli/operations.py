"""Verbs for whoever looks after a schedule: status, history, rollback."""

from __future__ import annotations

import getpass
import json
import time
from dataclasses import dataclass, field

import pyarrow as pa
import tyro

from distspec.catalog.editions import current, edition_name
from distspec.cli.base import Rooted
from distspec.core.text import format_table
from distspec.io.job_log import Job, Journal, events, jobs, kept
from distspec.io.lease import hold, holder
from distspec.io.paths import store_url
from distspec.models.registry import champion
from distspec.operations.rollback import let_go, roll_back
from distspec.store.store import open_store


@dataclass(frozen=True)
class Status(Rooted):
    """Say how a root stands: who works on it, what serves, what is published, how the last job ended."""

    def run(self) -> None:
        """Print it."""
        there = holder(self.root)
        busy = there is not None and not there.is_gone(time.time())
        serves, published, known = champion(self.root), current(self.root), jobs(self.root)
        lines = {"works on it": str(there) if busy else "nobody"}
        if known:
            last = known[-1]
            lines["last job"] = f"{last.number}, {last.what}: {_ended(self.root, last)}"
        if serves is not None:
            held = f"; held: {serves.held}" if serves.held else ""
            lines["serves"] = f"{serves.model_id} since {serves.since}: {serves.why}{held}"
        try:
            store = open_store(store_url(self.root))
            lines["store"] = f"{len(store.standing()):,} spectra stand, {store.n_rows:,} rows"
            lines["quarantine"] = f"{len(store.quarantine()):,} spectra"
        except FileNotFoundError:
            lines["store"] = "none: nothing was ingested"
        if published is not None:
            rows = published["rows"]
            lines["published"] = (
                f"{edition_name(published)} at {published['published']}: {rows['objects']:,} spectra in "
                f"{rows['classes']:,} classes"
            )
        width = max(map(len, lines))
        print("\n".join(f"{name.ljust(width)}  {said}" for name, said in lines.items()))


@dataclass(frozen=True)
class History(Rooted):
    """List what was done under a root, job by job: what was decided, and why."""

    job: int = 0
    """Print the events of this job, a line of JSON each."""
    n: int = 20
    """The last so many jobs; 0: all."""

    def run(self) -> None:
        """Print it."""
        if self.job:
            for event in events(self.root, self.job):
                print(json.dumps(event, ensure_ascii=False))
            return
        rows = [self._row(job) for job in jobs(self.root)[-self.n if self.n else 0 :]]
        print(format_table(pa.Table.from_pylist(rows)) if rows else "nothing was done yet")

    def _row(self, job: Job) -> dict[str, str]:
        said = {event["kind"]: event for event in events(self.root, job.number)}
        decided = said.get("decision", {}).get("why", "")
        if verdict := said.get("verdict"):
            word = "serves" if verdict["promote"] else "refused"
            decided = f"{decided} → {verdict['challenger']} {word}: {verdict['why']}"
        return {
            "job": str(job.number),
            "started": job.started,
            "what": job.what,
            "ended": _ended(self.root, job),
            "worked": "yes" if job.worked else "",
            "model": decided,
        }


@dataclass(frozen=True)
class Rollback(Rooted):
    """Let a model serve that served before, and publish the last catalogue of it, until it is let go."""

    model: tyro.conf.Positional[str] = ""
    """Its name (`distspec history`)."""
    release: bool = False
    """Let go of the model that is held: the schedule may follow it with a better one again."""
    who: str = field(default_factory=getpass.getuser)
    """Who wants it, for the record."""

    def run(self) -> None:
        """Do it, and print what serves."""
        if bool(self.model) == self.release:
            raise ValueError("name a model to go back to, or --release to let go of the one that is held")
        with hold(self.root, "rollback") as lease, kept(Journal(self.root, lease, "rollback")) as journal:
            if self.release:
                name = let_go(self.root, self.who, lease)
                journal.say("rollback", model=name, held=False, who=self.who)
                print(f"{name} serves, until a better one does")
                return
            record = roll_back(self.root, self.model, self.who, lease)
            journal.worked = True
            journal.say("rollback", model=self.model, held=True, who=self.who)
        if record is None:
            print(f"{self.model} serves; it has no catalogue yet: the next run makes one")
        else:
            print(f"{self.model} serves, and {edition_name(record)} is published")


def _ended(root: str, job: Job) -> str:
    """Say how a job ended; of one that says nothing of it, whether it still runs."""
    if job.status == "running":
        there = holder(root)
        runs = there is not None and there.token == job.number and not there.is_gone(time.time())
        return "runs" if runs else "killed"
    return f"{job.status}: {job.why}" if job.why else job.status
