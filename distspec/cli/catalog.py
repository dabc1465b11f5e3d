"""Verbs about what is published: query, columns, runs, export."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import pyarrow as pa
import tyro

from distspec.catalog.editions import open_tables, read_current_record, read_edition_records
from distspec.catalog.hats import export_hats
from distspec.catalog.query import COPY_OPTIONS, query, save_query
from distspec.cli.base import RootCommand
from distspec.core import schema
from distspec.core.text import format_table
from distspec.io.files import open_atomic
from distspec.io.paths import store_url
from distspec.store.export import export_zarr
from distspec.store.store import open_store


@dataclass(frozen=True)
class QueryCommand(RootCommand):
    """Answer SQL over a published catalogue.

    Its tables: objects, classes, class_medians, anomalies, bad_pixels, changes, class_ids, sweep, null_tests,
    confusion, latent_pairs, quarantine; where people labelled spectra predictions and label_scores.
    cone(ra, dec, radius) are the objects within so many degrees; "r-…".objects are those of another run.
    """

    sql: tyro.conf.Positional[str] = ""
    """DuckDB's SQL."""
    run_id: Annotated[str, tyro.conf.arg(name="run")] = ""
    """Whose tables: a run that `distspec runs` lists; empty: the current ones."""
    format: Literal["", "table", "csv", "json", "parquet"] = ""
    """How the answer is written; empty: as the name of the file says, else as a table for reading."""
    to: str = ""
    """A file or bucket URL for the answer; empty: it is printed."""

    def run(self) -> None:
        """Print or write the answer."""
        form = self._output_format()
        if form == "table":
            text = format_table(query(self.root, self.sql, self.run_id))
            if not self.to:
                print(text)
                return
            with open_atomic(self.to) as file:
                file.write(f"{text}\n".encode())
        elif self.to:
            with open_atomic(self.to) as file:
                save_query(self.root, self.sql, form, file, self.run_id)
        else:
            save_query(self.root, self.sql, form, sys.stdout.buffer, self.run_id)

    def _output_format(self) -> Literal["table", "csv", "json", "parquet"]:
        if self.format == "parquet" and not self.to:
            raise ValueError("--format parquet is not for a terminal: name a file with --to")
        suffix = self.to.rpartition(".")[2].lower()
        if self.format or not self.to:
            return self.format or "table"
        for form in COPY_OPTIONS:
            if form == suffix:
                return form
        raise ValueError(f"--to {self.to} does not end in .csv, .json or .parquet: say which with --format")


@dataclass(frozen=True)
class ColumnsCommand(RootCommand):
    """List the tables and columns of a published catalogue with units and meaning."""

    run_id: Annotated[str, tyro.conf.arg(name="run")] = ""
    """Of which run; empty: the current one."""

    def run(self) -> None:
        """Print them."""
        for name, dataset in open_tables(self.root, self.run_id).items():
            print(f"\n{name}: {dataset.count_rows():,} rows")
            print(format_table(schema.build_data_dictionary(dataset.schema)))


@dataclass(frozen=True)
class RunsCommand(RootCommand):
    """List what was published, the oldest first; all of it can be read (--run)."""

    def run(self) -> None:
        """Print it."""
        now_current = read_current_record(self.root)
        rows = [
            {
                "current": "*" if now_current and record.name == now_current.name else "",
                "number": record.number,
                "run": record.run_id,
                "edition": record.edition,
                "published": record.published,
                "snapshot": record.snapshot_id,
                "objects": record.rows["objects"],
                "classes": record.rows["classes"],
            }
            for record in read_edition_records(self.root)
        ]
        print(format_table(pa.Table.from_pylist(rows)) if rows else "nothing is published yet")


@dataclass(frozen=True)
class ExportCommand(RootCommand):
    """Copy the store to where nothing but Zarr is needed to read it, or a catalogue as LSDB reads it."""

    to: str = tyro.MISSING
    """A new folder or bucket URL."""
    format: Literal["zarr", "hats"] = "zarr"
    """Plain Zarr v3 of the store; HATS of a run's objects."""
    snapshot: str = ""
    """zarr: a snapshot's id or tag; empty for the newest state."""
    run_id: Annotated[str, tyro.conf.arg(name="run")] = ""
    """hats: a published run; empty for the current one."""

    def run(self) -> None:
        """Print what was written."""
        if self.format == "hats":
            n = export_hats(self.root, self.to, self.run_id)
        else:
            n = export_zarr(open_store(store_url(self.root), self.snapshot), self.to)
        print(f"{n:,} rows in {self.to}")
