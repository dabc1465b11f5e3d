"""Verbs that read published catalogs: query, columns, runs, export."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import pyarrow as pa
import tyro

from distspec.catalog.output_formats import BINARY_FORMATS, OutputFormat, find_output_format
from distspec.cli.base import RootCommand, TableCommand, print_table, terminal_width
from distspec.core.errors import ConfigError
from distspec.core.text import format_table
from distspec.io.files import open_atomic

RunId = Annotated[str, tyro.conf.arg(name="run")]


@dataclass(frozen=True)
class QueryCommand(RootCommand):
    """Answer SQL over the tables of a published catalog.

    Tables: objects, classes, class_medians, anomalies, bad_pixels, changes, class_ids, sweep, null_tests,
    confusion, latent_pairs, observation_groups, leakage, quarantine, and predictions and label_scores once
    spectra are labeled. The table cone(ra, dec, radius) holds the objects within a radius in degrees;
    "r-…".objects belongs to another run.
    """

    sql: tyro.conf.Positional[str] = tyro.MISSING
    """Query in DuckDB's dialect."""
    run_id: RunId = ""
    """Published run, as `distspec runs` lists them; empty: the current edition."""
    format: Annotated[Literal["", "table"] | OutputFormat, tyro.conf.arg(aliases=["-f"])] = ""
    """Format of the answer; empty: from the name of the file, or a table on the terminal."""
    to: Annotated[str, tyro.conf.arg(aliases=["-o"])] = ""
    """File or bucket URL that ends in .csv, .json, .parquet, .fits, .vot or .ecsv; empty: print it."""

    def run(self) -> None:
        """Print or write the answer."""
        output_format = self._output_format()
        if output_format == "table":
            table = self.project.query(self.sql, self.run_id).table
            if not self.to:
                print(format_table(table, terminal_width()))
                return
            with open_atomic(self.to) as file:
                file.write(f"{format_table(table)}\n".encode())
        elif self.to:
            with open_atomic(self.to) as file:
                self.project.save_query(self.sql, output_format, file, self.run_id)
        else:
            self.project.save_query(self.sql, output_format, sys.stdout.buffer, self.run_id)

    def _output_format(self) -> Literal["table"] | OutputFormat:
        if self.format == "table" or not (self.format or self.to):
            return "table"
        output_format = find_output_format(self.to, self.format)
        if output_format in BINARY_FORMATS and not self.to:
            raise ConfigError(f"--format {output_format} cannot be printed: name a file with --to")
        return output_format


@dataclass(frozen=True)
class ColumnsCommand(TableCommand):
    """List tables and columns with units and descriptions."""

    run_id: RunId = ""
    """Published run; empty: the current edition."""

    def run(self) -> None:
        """Print the columns of each table; csv and json have the name of the table in the first column."""
        tables = {name: columns.table for name, columns in self.project.columns(self.run_id).items()}
        if self.format != "table":
            parts = [t.add_column(0, "table", [[name] * len(t)]) for name, t in tables.items()]
            print_table(pa.concat_tables(parts), self.format)
            return
        for name, table in tables.items():
            print(f"\n{name}:")
            print_table(table)


@dataclass(frozen=True)
class RunsCommand(TableCommand):
    """List the published editions of the catalog, oldest first."""

    def run(self) -> None:
        """Print one line for each edition; an asterisk marks the current one."""
        current = self.project.current()
        rows = [
            {
                "current": "*" if current is not None and record.name == current.name else "",
                "number": record.number,
                "run": record.run_id,
                "edition": record.edition,
                "published": record.published,
                "snapshot": record.snapshot_id,
                "objects": record.rows["objects"],
                "classes": record.rows["classes"],
            }
            for record in self.project.runs()
        ]
        print_table(
            pa.Table.from_pylist(rows), self.format, "nothing is published yet: `distspec run` publishes"
        )


@dataclass(frozen=True)
class ExportCommand(RootCommand):
    """Copy the store as plain Zarr, or a catalog as HATS."""

    to: Annotated[str, tyro.conf.arg(aliases=["-o"])] = tyro.MISSING
    """A new folder or bucket URL."""
    format: Literal["zarr", "hats"] = "zarr"
    """zarr: the store as Zarr v3; hats: the table objects, as LSDB reads it."""
    snapshot: str = ""
    """For zarr: id or tag of a snapshot; empty: the newest."""
    run_id: RunId = ""
    """For hats: a published run; empty: the current edition."""
    with_spectra: bool = False
    """For hats: add the spectra as a nested column of wave, flux and ivar."""

    def run(self) -> None:
        """Print the number of rows."""
        n_rows = self.project.export(self.to, self.format, self.snapshot, self.run_id, self.with_spectra)
        print(f"{n_rows:,} rows in {self.to}")
