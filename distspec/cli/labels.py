"""Verbs for labels that people give to spectra: label, labels, classify, rerank."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import pyarrow as pa
import tyro

from distspec.catalog.output_formats import find_output_format, save_table
from distspec.cli.base import RootCommand, TableCommand, print_table
from distspec.core.arrow import pc

NO_LABELS = (
    "no labels yet: `distspec label FILE` adds those of a table, `distspec explore` lets you give them"
)
NO_MARKS = (
    "no marks yet: give them in the explorer (`distspec explore`), or in a table with `distspec label FILE`"
)
SUGGESTION_COLUMNS = ("suggestion_rank", "object_id", "label", "label_prob", "label_set")


@dataclass(frozen=True)
class LabelCommand(RootCommand):
    """Add the labels of a CSV or Parquet file.

    The table has the columns object_id and human_label and, optionally, who, when, note and mark; files that
    the explorer exports are such tables. Labels that the root has already are not added again.
    """

    file: tyro.conf.Positional[str] = tyro.MISSING
    """Path or URL of the file."""
    who: str = ""
    """Annotator of rows for which the file gives none; empty: your user name."""
    skip_unknown: bool = False
    """Skip spectra that the store does not hold, and list them; otherwise they make the command fail."""
    retract: bool = False
    """Rows without a label withdraw the annotator's earlier label and mark; otherwise they do nothing."""

    def run(self) -> None:
        """Print the number of labels."""
        imported = self.project.import_labels(self.file, self.who, self.skip_unknown, self.retract)
        n_added = len(imported.annotations) - imported.n_retracted
        print(f"{n_added:,} labels added; `distspec classify` learns them")
        if imported.n_retracted:
            print(f"labels of {imported.n_retracted:,} spectra withdrawn")
        if imported.n_unchanged:
            print(f"{imported.n_unchanged:,} unchanged: the root has them already")
        if imported.n_blank:
            print(f"{imported.n_blank:,} rows without a label do nothing (--retract withdraws labels)")
        if imported.unknown_ids:
            lines = [f"line {line}: {name!r}" for line, name in imported.unknown_ids]
            print(f"{len(lines):,} skipped, of spectra that the store does not hold:", *lines, sep="\n  ")


@dataclass(frozen=True)
class LabelsCommand(TableCommand):
    """Count labels, and list spectra with tied labels.

    csv and json hold the counts.
    """

    marks: bool = False
    """Count the marks interesting and ordinary instead."""
    compact: bool = False
    """Merge the files of labels into one first."""
    history: bool = False
    """List all labels and marks that were ever given, oldest first."""

    def run(self) -> None:
        """Print the counts."""
        if self.compact:
            n_rows = self.project.compact_labels()
            print(f"{n_rows:,} rows in one file", file=sys.stdout if self.format == "table" else sys.stderr)
        if self.history:
            print_table(self.project.label_history().table, self.format, NO_LABELS)
            return
        labels = self.project.labels(self.marks)
        only_ties = not len(labels.counts) and len(labels.tied)
        print_table(
            labels.counts.table, self.format, "" if only_ties else NO_MARKS if self.marks else NO_LABELS
        )
        if len(labels.tied) and self.format == "table":
            print("\nSpectra with tied labels, which are not learned:")
            print_table(labels.tied.table)


@dataclass(frozen=True)
class ClassifyCommand(TableCommand):
    """Learn the labels, and publish predictions for all spectra.

    csv and json hold the scores of the labels; the table predictions holds the rest.
    """

    alpha: float = 0.1
    """Conformal miscoverage level: prediction sets miss the true label with at most this probability."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10
    """Number of spectra to suggest for labeling, at most 50."""

    def run(self) -> None:
        """Print the scores of the labels and the suggestions."""
        tables = self.project.classify(self.alpha)
        print_table(tables["label_scores"].table, self.format)
        if self.format != "table":
            return
        if "predictions" not in tables:
            print("\nNothing can be learned yet: at least two labels are needed, with two sources each.")
            return
        predictions = tables["predictions"].table
        suggested = predictions.filter(pc.less_equal(predictions["suggestion_rank"], self.n))
        print("\nThe most useful spectra to label next:")
        print_table(suggested.sort_by("suggestion_rank").select(SUGGESTION_COLUMNS))


@dataclass(frozen=True)
class RerankCommand(TableCommand):
    """Rank anomalies anew with the marks that people gave.

    Lists the highest-ranked spectra without a mark.
    """

    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20
    """Number of spectra to list."""
    seed: int = 0
    """Seed of the isolation forest that learns from the marks."""
    to: Annotated[str, tyro.conf.arg(aliases=["-o"])] = ""
    """File for all ranks, in the formats of `distspec query`; empty: do not write it."""

    def run(self) -> None:
        """Print the ranks."""
        if self.to:
            find_output_format(self.to)
        table = self.project.rerank(self.seed).table
        if self.to:
            save_table(table, self.to)
        unmarked = table.filter(pc.field("mark") == "")
        if self.format != "table":
            print_table(unmarked.slice(0, self.n), self.format)
            return
        columns = {
            "rank": unmarked["feedback_rank"],
            "object_id": unmarked["object_id"],
            "z": [f"{z:.4f}" for z in unmarked["z"].to_pylist()],
            "score": [f"{score:.2f}" for score in unmarked["feedback_score"].to_pylist()],
            "rank in the run": unmarked["anomaly_rank"],
        }
        print_table(pa.table(columns).slice(0, self.n))
        n_marked = len(table) - len(unmarked)
        unchanged = "" if n_marked else ": the ranks are those of the run"
        print(f"\n{n_marked:,} of {len(table):,} spectra are marked{unchanged}")
