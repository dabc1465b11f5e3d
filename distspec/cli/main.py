"""The command ``distspec``: everything that is not a stage."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any

import tyro

from distspec.cli.base import Rooted
from distspec.cli.catalog import Columns, Export, Query, Runs
from distspec.cli.explore import Explore
from distspec.cli.inference import Place, Similar
from distspec.cli.labels import Classify, Label, Labels
from distspec.cli.operations import History, Rollback, Status
from distspec.cli.plan import Plan
from distspec.cli.provenance import Lineage, Remake, Verify
from distspec.cli.rerank import Rerank
from distspec.core.arrow import pc
from distspec.core.text import format_table
from distspec.ingest.source import recall
from distspec.io.lease import hold
from distspec.io.paths import store_url
from distspec.pipeline.exit import FAILURES, ending
from distspec.stages.config import RayConfig
from distspec.stages.ingest import ingest
from distspec.stages.session import session
from distspec.store.snapshots import KEEP, collect_garbage, list_snapshots, tag
from distspec.store.store import open_store


@dataclass(frozen=True)
class Quarantine(Rooted):
    """Say what could not be used, and why."""

    reason: str = ""
    """Only this one, with every spectrum; empty: how many there are of each."""

    def run(self) -> None:
        """Print it."""
        table = open_store(store_url(self.root)).quarantine()
        if self.reason:
            rows = table.filter(pc.field("reason") == self.reason)
            print(format_table(rows.select(["object_id", "version", "uri", "seen"])))
        else:
            counts = table.group_by("reason").aggregate([("reason", "count")]).sort_by("reason")
            print(format_table(counts.rename_columns(["reason", "spectra"])))


@dataclass(frozen=True)
class Retry(Rooted):
    """Ingest as the last run did, and read again what is in quarantine for a cause that may have passed."""

    ray: RayConfig = field(default_factory=RayConfig)

    def run(self) -> None:
        """Print what came of it."""
        source = recall(self.root)
        with hold(self.root, "retry") as lease, session(self.ray, self.storage.environment()):
            print(ingest(self.root, source, lease, retry=True))


@dataclass(frozen=True)
class Snapshots(Rooted):
    """List the store's snapshots, newest first, or give one a name that keeps it."""

    name: str = ""
    """Name to give, as to a data release."""
    snapshot: str = ""
    """The snapshot's id; empty: the newest."""

    def run(self) -> None:
        """Print them."""
        if self.name:
            store = open_store(store_url(self.root), self.snapshot)
            tag(self.root, self.name, store.snapshot_id)
        print(format_table(list_snapshots(self.root)))


@dataclass(frozen=True)
class GC(Rooted):
    """Let snapshots go that are old and have no name, and the space that only they need."""

    keep_days: float = KEEP.total_seconds() / 86_400
    """A snapshot without a name may be read for so long [d]."""

    def run(self) -> None:
        """Print what went."""
        with hold(self.root, "gc"):
            counts = collect_garbage(self.root, timedelta(days=self.keep_days))
        print(", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items()))


def main() -> None:
    """Run ``distspec VERB``."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `distspec … | head` ends quietly
    verbs = (
        Annotated[Query, tyro.conf.subcommand("query")]
        | Annotated[Columns, tyro.conf.subcommand("columns")]
        | Annotated[Runs, tyro.conf.subcommand("runs")]
        | Annotated[Verify, tyro.conf.subcommand("verify")]
        | Annotated[Lineage, tyro.conf.subcommand("lineage")]
        | Annotated[Remake, tyro.conf.subcommand("remake")]
        | Annotated[Quarantine, tyro.conf.subcommand("quarantine")]
        | Annotated[Retry, tyro.conf.subcommand("retry")]
        | Annotated[Snapshots, tyro.conf.subcommand("snapshots")]
        | Annotated[GC, tyro.conf.subcommand("gc")]
        | Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[Similar, tyro.conf.subcommand("similar")]
        | Annotated[Place, tyro.conf.subcommand("place")]
        | Annotated[Rerank, tyro.conf.subcommand("rerank")]
        | Annotated[Label, tyro.conf.subcommand("label")]
        | Annotated[Labels, tyro.conf.subcommand("labels")]
        | Annotated[Classify, tyro.conf.subcommand("classify")]
        | Annotated[Status, tyro.conf.subcommand("status")]
        | Annotated[History, tyro.conf.subcommand("history")]
        | Annotated[Rollback, tyro.conf.subcommand("rollback")]
        | Annotated[Plan, tyro.conf.subcommand("plan")]
        | Annotated[Explore, tyro.conf.subcommand("explore")]
    )
    verb: Any = tyro.cli(verbs, prog="distspec", description="Look after a root and query what it published.")
    os.environ.update(verb.storage.environment())
    run: Callable[[], None] = verb.run
    try:
        run()
    except FAILURES as error:
        raise ending(error) from error
