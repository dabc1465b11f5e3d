"""Verbs for labels that people give to spectra: label, labels, classify, rerank."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import tyro

from distspec.catalog.output_formats import find_output_format, save_table
from distspec.cli.base import RootCommand
from distspec.core.arrow import pc
from distspec.core.text import format_table

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
class LabelsCommand(RootCommand):
    """Count labels, and list spectra with tied labels."""

    marks: bool = False
    """Count the marks interesting and ordinary instead."""
    compact: bool = False
    """Merge the files of labels into one first."""
    history: bool = False
    """List all labels and marks that were ever given, oldest first."""

    def run(self) -> None:
        """Print the counts."""
        if self.compact:
            print(f"{self.project.compact_labels():,} rows in one file")
        if self.history:
            print(format_table(self.project.label_history().table))
            return
        labels = self.project.labels(self.marks)
        print(format_table(labels.counts.table))
        if len(labels.tied):
            print("\nSpectra with tied labels, which are not learned:")
            print(format_table(labels.tied.table))


@dataclass(frozen=True)
class ClassifyCommand(RootCommand):
    """Learn the labels, and publish predictions for all spectra."""

    alpha: float = 0.1
    """Conformal miscoverage level: prediction sets miss the true label with at most this probability."""
    n: int = 10
    """Number of spectra to suggest for labeling, at most 50."""

    def run(self) -> None:
        """Print the scores of the labels and the suggestions."""
        tables = self.project.classify(self.alpha)
        print(format_table(tables["label_scores"].table))
        if "predictions" not in tables:
            print("\nNothing can be learned yet: at least two labels are needed, with two sources each.")
            return
        predictions = tables["predictions"].table
        suggested = predictions.filter(pc.less_equal(predictions["suggestion_rank"], self.n))
        print("\nThe most useful spectra to label next:")
        print(format_table(suggested.sort_by("suggestion_rank").select(SUGGESTION_COLUMNS)))


@dataclass(frozen=True)
class RerankCommand(RootCommand):
    """Rank anomalies anew with the marks that people gave.

    Lists the highest-ranked spectra without a mark.
    """

    n: int = 20
    """Number of spectra to list."""
    seed: int = 0
    """Seed of the isolation forest that learns from the marks."""
    to: str = ""
    """File for all ranks, in the formats of `distspec query`; empty: do not write it."""

    def run(self) -> None:
        """Print the ranks."""
        if self.to:
            find_output_format(self.to)
        table = self.project.rerank(self.seed).table
        if self.to:
            save_table(table, self.to)
        unmarked = table.filter(pc.field("mark") == "")
        columns = {
            "rank": unmarked["feedback_rank"],
            "object_id": unmarked["object_id"],
            "z": [f"{z:.4f}" for z in unmarked["z"].to_pylist()],
            "score": [f"{score:.2f}" for score in unmarked["feedback_score"].to_pylist()],
            "rank in the run": unmarked["anomaly_rank"],
        }
        print(format_table(pa.table(columns).slice(0, self.n)))
        n_marked = len(table) - len(unmarked)
        unchanged = "" if n_marked else ": the ranks are those of the run"
        print(f"\n{n_marked:,} of {len(table):,} spectra are marked{unchanged}")
