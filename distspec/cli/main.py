"""The command ``distspec``: everything that is not a stage."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any

import tyro

from distspec.cli.base import RootCommand
from distspec.cli.catalog import ColumnsCommand, ExportCommand, QueryCommand, RunsCommand
from distspec.cli.explore import ExploreCommand
from distspec.cli.inference import PredictCommand, SimilarCommand
from distspec.cli.labels import ClassifyCommand, LabelCommand, LabelsCommand
from distspec.cli.operations import HistoryCommand, RollbackCommand, StatusCommand
from distspec.cli.plan import PlanCommand
from distspec.cli.provenance import ProvenanceCommand, ReproduceCommand, VerifyCommand
from distspec.cli.rerank import RerankCommand
from distspec.core.arrow import pc
from distspec.core.text import format_table
from distspec.ingest.source import read_source
from distspec.io.lease import hold_lease
from distspec.io.paths import store_url
from distspec.io.storage import use_storage
from distspec.pipeline.exit import EXPECTED_ERRORS, report_error
from distspec.stages.config import RayConfig
from distspec.stages.ingest import ingest
from distspec.stages.session import ray_session
from distspec.store.snapshots import RETENTION, collect_garbage, list_snapshots, tag_snapshot
from distspec.store.store import open_store


@dataclass(frozen=True)
class QuarantineCommand(RootCommand):
    """Say what could not be used, and why."""

    reason: str = ""
    """Only this one, with every spectrum; empty: how many there are of each."""

    def run(self) -> None:
        """Print it."""
        table = open_store(store_url(self.root)).read_quarantine()
        if self.reason:
            rows = table.filter(pc.field("reason") == self.reason)
            print(format_table(rows.select(["object_id", "version", "uri", "detail"])))
        else:
            counts = table.group_by("reason").aggregate([("reason", "count")]).sort_by("reason")
            print(format_table(counts.rename_columns(["reason", "spectra"])))


@dataclass(frozen=True)
class RetryCommand(RootCommand):
    """Ingest as the last run did, and read again what is in quarantine for a cause that may have passed."""

    ray: RayConfig = field(default_factory=RayConfig)

    def run(self) -> None:
        """Print what came of it."""
        source = read_source(self.root)
        with hold_lease(self.root, "retry") as lease, ray_session(self.ray):
            print(ingest(self.root, source, lease, retry_transient=True))


@dataclass(frozen=True)
class SnapshotsCommand(RootCommand):
    """List the store's snapshots, newest first, or give one a name that keeps it."""

    tag: str = ""
    """Name to give, as to a data release."""
    snapshot_id: str = ""
    """The snapshot's id; empty: the newest."""

    def run(self) -> None:
        """Print them."""
        if self.tag:
            store = open_store(store_url(self.root), self.snapshot_id)
            tag_snapshot(self.root, self.tag, store.snapshot_id)
        print(format_table(list_snapshots(self.root)))


@dataclass(frozen=True)
class GarbageCollectCommand(RootCommand):
    """Let snapshots go that are old and have no name, and the space that only they need."""

    keep_days: float = RETENTION.total_seconds() / 86_400
    """A snapshot without a name may be read for so long [d]."""

    def run(self) -> None:
        """Print what went."""
        with hold_lease(self.root, "gc"):
            counts = collect_garbage(self.root, timedelta(days=self.keep_days))
        print(", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items()))


def main() -> None:
    """Run ``distspec VERB``."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `distspec … | head` ends quietly
    verbs = (
        Annotated[QueryCommand, tyro.conf.subcommand("query")]
        | Annotated[ColumnsCommand, tyro.conf.subcommand("columns")]
        | Annotated[RunsCommand, tyro.conf.subcommand("runs")]
        | Annotated[VerifyCommand, tyro.conf.subcommand("verify")]
        | Annotated[ProvenanceCommand, tyro.conf.subcommand("lineage")]
        | Annotated[ReproduceCommand, tyro.conf.subcommand("remake")]
        | Annotated[QuarantineCommand, tyro.conf.subcommand("quarantine")]
        | Annotated[RetryCommand, tyro.conf.subcommand("retry")]
        | Annotated[SnapshotsCommand, tyro.conf.subcommand("snapshots")]
        | Annotated[GarbageCollectCommand, tyro.conf.subcommand("gc")]
        | Annotated[ExportCommand, tyro.conf.subcommand("export")]
        | Annotated[SimilarCommand, tyro.conf.subcommand("similar")]
        | Annotated[PredictCommand, tyro.conf.subcommand("place")]
        | Annotated[RerankCommand, tyro.conf.subcommand("rerank")]
        | Annotated[LabelCommand, tyro.conf.subcommand("label")]
        | Annotated[LabelsCommand, tyro.conf.subcommand("labels")]
        | Annotated[ClassifyCommand, tyro.conf.subcommand("classify")]
        | Annotated[StatusCommand, tyro.conf.subcommand("status")]
        | Annotated[HistoryCommand, tyro.conf.subcommand("history")]
        | Annotated[RollbackCommand, tyro.conf.subcommand("rollback")]
        | Annotated[PlanCommand, tyro.conf.subcommand("plan")]
        | Annotated[ExploreCommand, tyro.conf.subcommand("explore")]
    )
    verb: Any = tyro.cli(verbs, prog="distspec", description="Look after a root and query what it published.")
    run: Callable[[], None] = verb.run
    try:
        with use_storage(verb.storage):
            run()
    except EXPECTED_ERRORS as error:
        raise report_error(error) from error
