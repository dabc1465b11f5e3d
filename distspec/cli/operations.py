"""Verbs that look after a root: status, history, rollback, quarantine, retry, snapshots, gc."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

import pyarrow as pa
import tyro

from distspec.cli.base import RootCommand, TableCommand, print_table
from distspec.core.errors import ConfigError, NotFoundError
from distspec.core.records import encode_value
from distspec.core.user import user_name
from distspec.stages.config import RayConfig
from distspec.store.snapshots import RETENTION


@dataclass(frozen=True)
class StatusCommand(RootCommand):
    """Show running job, promoted model, store and catalog."""

    format: Annotated[Literal["text", "json"], tyro.conf.arg(aliases=["-f"])] = "text"
    """text: for reading; json: one JSON object."""

    def run(self) -> None:
        """Print the status; end with status 1 if there is nothing under the root."""
        project = self.project
        status = project.status()
        if status.is_empty:
            raise NotFoundError(
                f"nothing under {project.root}: `distspec run RECIPE --root {project.root}` ingests spectra"
            )
        print(
            status if self.format == "text" else json.dumps(encode_value(asdict(status)), ensure_ascii=False)
        )


@dataclass(frozen=True)
class HistoryCommand(TableCommand):
    """List the jobs of a root and their decisions."""

    job: int = 0
    """Print the events of this job instead, one JSON object per line."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20
    """Number of jobs to list, the last ones; 0: all."""

    def run(self) -> None:
        """Print the jobs or the events."""
        if self.job:
            for event in self.project.events(self.job):
                print(json.dumps(event.to_json(), ensure_ascii=False))
            return
        rows = [
            {
                "job": job.number,
                "started": job.started,
                "operation": job.operation,
                "status": job.status,
                "did_work": job.did_work,
                "model": job.decision,
            }
            for job in self.project.history(self.n)
        ]
        print_table(pa.Table.from_pylist(rows), self.format, "no job has run yet")


@dataclass(frozen=True)
class RollbackCommand(RootCommand):
    """Promote an earlier model with its last catalog.

    The model stays pinned until `distspec rollback --unpin`.
    """

    model_id: tyro.conf.Positional[str] = ""
    """Id of the model (`distspec history`)."""
    unpin: bool = False
    """Allow scheduled runs to replace the pinned model again."""
    who: str = field(default_factory=user_name)
    """Who asks for it, for the record."""

    def run(self) -> None:
        """Promote or unpin, and print the promoted model."""
        if bool(self.model_id) == self.unpin:
            raise ConfigError("name the model to go back to, or set --unpin to release the pinned one")
        if self.unpin:
            print(f"{self.project.unpin(self.who)} is promoted until a better model replaces it")
            return
        project = self.project
        promoted = project.promoted()
        record = project.rollback(self.model_id, self.who)
        catalog = (
            "it has no catalog yet: the next run makes one" if record is None else f"current: {record.name}"
        )
        if promoted is not None and promoted.model_id == self.model_id:
            print(
                f"{self.model_id} was promoted already; it is now pinned: no run replaces it until "
                f"`distspec rollback --unpin`; {catalog}"
            )
        else:
            print(f"{self.model_id} is promoted and pinned; {catalog}")


@dataclass(frozen=True)
class UnlockCommand(RootCommand):
    """Show which job holds the root, or release it.

    A job that ended without releasing the root needs no unlocking: the next job waits a minute and starts.
    A job that still runs and loses the root ends with an error at its next commit; what it had committed
    stays, and the next run continues from there.
    """

    force: bool = False
    """Release the root although its holder has not released it."""

    def run(self) -> None:
        """Print the holder, and release the root if asked to."""
        holder = self.project.unlock(self.force)
        if holder is None:
            print("no job holds this root")
        elif self.force:
            print(f"released; it was held by {holder}. If that job still runs, it ends at its next commit")
        else:
            print(f"held by {holder}. `distspec unlock --force` takes the root from it")


@dataclass(frozen=True)
class QuarantineCommand(TableCommand):
    """List the spectra that could not be used, and why."""

    reason: str = ""
    """List the spectra with this reason; empty: count the spectra of each reason."""

    def run(self) -> None:
        """Print the spectra or the counts."""
        table = self.project.quarantine(self.reason).table
        if self.reason:
            columns = table.select(["object_id", "version", "uri", "detail"])
            print_table(columns, self.format, f"no spectrum is in quarantine with the reason {self.reason}")
            return
        counts = table.group_by("reason").aggregate([("reason", "count")]).sort_by("reason")
        print_table(counts.rename_columns(["reason", "spectra"]), self.format, "no spectrum is in quarantine")


@dataclass(frozen=True)
class RetryCommand(RootCommand):
    """Read spectra again whose failure may have been transient.

    Ingests with the settings of the last run.
    """

    ray: RayConfig = field(default_factory=RayConfig)
    """Settings of the connection to Ray."""

    def run(self) -> None:
        """Print the result of the ingest."""
        print(self.project.retry(self.ray))


@dataclass(frozen=True)
class SnapshotsCommand(TableCommand):
    """List the snapshots of the store, or tag one."""

    tag: str = ""
    """Name to give to a snapshot, which protects it from garbage collection."""
    snapshot_id: str = ""
    """Id of the snapshot to tag; empty: the newest."""

    def run(self) -> None:
        """Tag the snapshot, and print all of them."""
        if self.tag:
            self.project.tag(self.tag, self.snapshot_id)
        print_table(self.project.snapshots().table, self.format)


@dataclass(frozen=True)
class GarbageCollectCommand(RootCommand):
    """Delete old snapshots that have no tag.

    The data that only they need is deleted, too.
    """

    keep_days: float = RETENTION.total_seconds() / 86_400
    """Age up to which a snapshot without a tag is kept [d]."""

    def run(self) -> None:
        """Print the numbers of deleted items."""
        counts = asdict(self.project.gc(self.keep_days))
        print(", ".join(f"{name.removeprefix('n_')} {n:,}" for name, n in counts.items()))
