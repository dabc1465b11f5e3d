"""Verbs about the origin of results: verify, provenance, reproduce."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from distspec.cli.base import RootCommand
from distspec.stages.config import RayConfig

EXIT_PROBLEMS = 1
"""Exit status of a check that has found problems."""


@dataclass(frozen=True)
class VerifyCommand(RootCommand):
    """Check the store and everything that is published.

    Reads all rows and the history of the store, and all files of editions, runs and models.
    """

    snapshot: str = ""
    """Id or tag of the snapshot of the store to check; empty: the newest."""

    def run(self) -> None:
        """Print the problems, and end with status 1 if there are any."""
        verification = self.project.verify(self.snapshot)
        store = f"{verification.n_rows:,} rows in {verification.n_commits} commits"
        store += f", snapshot {verification.snapshot_id}"
        for problem in verification.problems:
            print(problem)
        if verification.problems:
            _fail(f"{len(verification.problems)} problems in {store}, and in results derived from it")
        print(f"{store}: all rows are present and unaltered, ledger and history are consistent")
        print("all editions, runs and models match their checksums, and their data are present")


@dataclass(frozen=True, kw_only=True)
class ProvenanceCommand(RootCommand):
    """Show the provenance of a spectrum's row.

    Lists edition, run, models, snapshot and file.
    """

    object_id: tyro.conf.Positional[str]
    """The archive's key of the spectrum."""
    run_id: Annotated[str, tyro.conf.arg(name="run")] = ""
    """Published run, or <run>/<edition> (`distspec runs`); empty: the current edition."""
    format: Literal["text", "json"] = "text"
    """text: for reading; json: one JSON object per line."""

    def run(self) -> None:
        """Print the entities."""
        for entity in self.project.provenance(self.object_id, self.run_id).entities():
            if self.format == "json":
                print(json.dumps(entity.to_json(), ensure_ascii=False))
                continue
            print(f"{entity.entity_type}  {entity.name}")
            for name, value in entity.attributes().items():
                print(f"    {name.ljust(16)}  {_format_value(value)}")


@dataclass(frozen=True, kw_only=True)
class ReproduceCommand(RootCommand):
    """Make a run or a model again, and compare the results.

    The settings come from the record of the run or model; the results are written into a new root.
    """

    model_or_run_id: tyro.conf.Positional[str]
    """Id of a run (r-…) or of a model (m-…)."""
    into: str
    """Folder or bucket URL of the new root."""
    ray: RayConfig = field(default_factory=RayConfig)
    """Settings of the connection to Ray."""

    def run(self) -> None:
        """Print the differences, and end with status 1 if there are any."""
        reproduction = self.project.reproduce(self.model_or_run_id, self.into, self.ray)
        for change in reproduction.version_changes:
            print(f"made with {change.package} {change.recorded}, here is {change.installed}")
        for difference in reproduction.differences:
            print(difference)
        if reproduction.differences:
            _fail(f"{self.model_or_run_id} came out differently in {len(reproduction.differences)} respects")
        print(f"{self.model_or_run_id} came out identical, to the last bit")


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(EXIT_PROBLEMS)


def _format_value(value: Any) -> str:
    """Return a value on one line; of a mapping its first level."""
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name} {item if isinstance(item, str) else json.dumps(item)}" for name, item in value.items()
        )
    return str(value)
