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

from distspec.core.records import now, versions
from distspec.io.files import exists, get, get_json, names, put, put_json
from distspec.io.lease import Lease
from distspec.io.paths import join

MAX_WHY = 1000
"""Characters of what ended a job."""
Kind = Literal["started", "stage", "decision", "verdict", "rollback", "ended"]
Status = Literal["running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes
    ----------
    kind : str
    time : str
        UTC, ISO 8601.
    facts : mapping
    """

    kind: Kind
    time: str
    facts: Mapping[str, Any]

    def line(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps({"time": self.time, "kind": self.kind, **self.facts}, ensure_ascii=False)


@dataclass(frozen=True)
class Job:
    """What job it is, and what came of it.

    Attributes
    ----------
    number : int
    what : str
        The stages it ran, or the verb.
    recipe : str
    started, ended : str
        UTC, ISO 8601; ended is empty while it runs.
    status : str
        A job that was killed stays ``running``: another has the root by then.
    worked : bool
        Whether any stage had something to do.
    why : str
        What ended it, where it is not ``done``.
    """

    number: int
    what: str
    recipe: str
    started: str
    ended: str = ""
    status: Status = "running"
    worked: bool = False
    why: str = ""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])


class Journal:
    """The events of one job, kept as they come."""

    def __init__(self, root: str, lease: Lease, what: str, recipe: str = "") -> None:
        self._url = _url(root, lease.token)
        self._lines: list[str] = []
        self.worked = False
        """Whether any stage had something to do."""
        self.job = Job(lease.token, what, recipe, now(), versions=versions())
        put_json(join(self._url, "job.json"), asdict(self.job))
        self.say("started", what=what, recipe=recipe)

    def say(self, kind: Kind, **facts: Any) -> None:
        """Keep an event."""
        self._lines.append(Event(kind, now(), facts).line())
        put(join(self._url, "events.jsonl"), "".join(f"{line}\n" for line in self._lines).encode())

    def end(self, status: Status, why: str = "") -> None:
        """Keep what came of the job."""
        self.say("ended", status=status, worked=self.worked, why=why)
        self.job = replace(self.job, ended=now(), status=status, worked=self.worked, why=why)
        put_json(join(self._url, "job.json"), asdict(self.job))


@contextmanager
def kept(journal: Journal) -> Generator[Journal]:
    """Keep a journal while a job runs, and how it ended."""
    try:
        yield journal
    except Exception as error:
        journal.end("failed", f"{type(error).__name__}: {error}"[:MAX_WHY])
        raise
    except BaseException:
        journal.end("stopped", "stopped from outside")
        raise
    journal.end("done")


def jobs(root: str) -> list[Job]:
    """Return all jobs of a root, the first first."""
    found = [name for name in names(join(root, "jobs")) if name.endswith("/job.json")]
    records = [get_json(join(root, "jobs", name)) for name in found]
    known = Job.__dataclass_fields__
    return sorted(
        (Job(**{name: value for name, value in record.items() if name in known}) for record in records),
        key=lambda job: job.number,
    )


def events(root: str, number: int) -> list[dict[str, Any]]:
    """Return the events of a job in order; none where it has none."""
    url = join(_url(root, number), "events.jsonl")
    return [json.loads(line) for line in get(url).decode().splitlines()] if exists(url) else []


def _url(root: str, number: int) -> str:
    return join(root, "jobs", f"{number:06d}")
