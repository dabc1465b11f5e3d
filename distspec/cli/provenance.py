"""Verbs about where things came from: verify, lineage, remake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import tyro

from distspec.cli.base import RootCommand
from distspec.operations.trace import find_integrity_problems, trace_spectrum
from distspec.pipeline.reproduce import find_version_changes, reproduce
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session
from distspec.store.verify import verify_store


@dataclass(frozen=True)
class VerifyCommand(RootCommand):
    """Prove that the store is whole, and that nothing published was altered, nor what it was made of.

    Reads everything: rows, ledger and history of the store, every file of editions, runs and models.
    """

    snapshot: str = ""
    """A snapshot's id or tag, to check the store as it was then; empty for the newest state."""

    def run(self) -> None:
        """Print what is wrong, and end with status 1 if anything is."""
        store, problems = verify_store(self.root, self.snapshot)
        problems += find_integrity_problems(self.root)
        for problem in problems:
            print(problem)
        what = f"{store.n_rows:,} rows in {store.n_ingest_commits} batches, snapshot {store.snapshot_id}"
        if problems:
            raise SystemExit(f"error: {len(problems)} problems in {what}, and what was made of them")
        print(f"{what}: every row is there, its pixels as stored, ledger and history in order")
        print("every edition, run and model is what was sealed, of data that are there")


@dataclass(frozen=True, kw_only=True)
class ProvenanceCommand(RootCommand):
    """Say where a spectrum's row of a catalogue came from: edition, run, model, snapshot, file."""

    object_id: tyro.conf.Positional[str]
    """The archive's key of the spectrum."""
    run_id: Annotated[str, tyro.conf.arg(name="run")] = ""
    """Of which run, or <run>/<edition> (`distspec runs`); empty: of the current one."""
    format: Literal["text", "json"] = "text"
    """For reading, or all of it, a line of JSON a link."""

    def run(self) -> None:
        """Print it."""
        for link in trace_spectrum(self.root, self.object_id, self.run_id):
            if self.format == "json":
                print(json.dumps(asdict(link), ensure_ascii=False))
                continue
            print(f"{link.entity_type}  {link.name}")
            for name, value in link.attributes.items():
                print(f"    {name.ljust(14)}  {_format_value(value)}")


@dataclass(frozen=True, kw_only=True)
class ReproduceCommand(RootCommand):
    """Make a run or a model again from its record, in a root of its own, and say what came out otherwise."""

    model_or_run_id: tyro.conf.Positional[str]
    """r-… or m-…."""
    target_root: str
    """A new root for it: a folder or a bucket URL."""
    ray: RayConfig = field(default_factory=RayConfig)

    def run(self) -> None:
        """Print what differs, and end with status 1 if anything does."""
        for what, (then, here) in find_version_changes(self.root, self.model_or_run_id).items():
            print(f"made with {what} {then}, here is {here}")
        with ray_session(self.ray):
            problems = reproduce(self.root, self.model_or_run_id, self.target_root)
        for problem in problems:
            print(problem)
        if problems:
            raise SystemExit(f"error: {self.model_or_run_id} came out otherwise in {len(problems)} respects")
        print(f"{self.model_or_run_id} came out the same, to the last bit")


def _format_value(value: Any) -> str:
    """Return a value on one line; of a mapping what is on its first level."""
    if isinstance(value, Mapping):
        each = (
            f"{name} {json.dumps(item) if not isinstance(item, str) else item}"
            for name, item in value.items()
        )
        return ", ".join(each)
    return str(value)
