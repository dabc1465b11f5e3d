"""What people say of spectra, put in, looked at, and learnt."""

from __future__ import annotations

import getpass
from dataclasses import dataclass

import pyarrow as pa
import tyro

from distspec.catalog.reclassify import publish_label_predictions
from distspec.cli.base import RootCommand
from distspec.core.arrow import pc
from distspec.core.text import format_table
from distspec.io.lease import hold_lease
from distspec.io.paths import store_url
from distspec.labels.annotations import (
    add_annotations,
    compact_annotations,
    consensus_labels,
    current_annotations,
    read_annotations,
)
from distspec.labels.importing import MAX_LISTED_ROWS, read_labels
from distspec.store.store import open_store


@dataclass(frozen=True)
class LabelCommand(RootCommand):
    """Keep the labels of a CSV or Parquet file: object_id, human_label and, if you like, who, when, note."""

    file: tyro.conf.Positional[str] = tyro.MISSING
    """The file, or its URL."""
    who: str = ""
    """Who says so, where the file does not tell; empty: your user name."""
    skip_unknown: bool = False
    """Leave out spectra that the store does not hold, and list them; else one of them refuses the file."""

    def run(self) -> None:
        """Print how many there were."""
        known = open_store(store_url(self.root)).ledger(["object_id"])["object_id"]
        found = read_labels(self.file, known, self.who or getpass.getuser())
        lines = [f"line {line}: {name!r}" for line, name in found.unknown_ids]
        if lines and not self.skip_unknown:
            more = f" and {len(lines) - MAX_LISTED_ROWS} more" if len(lines) > MAX_LISTED_ROWS else ""
            raise ValueError(
                f"{self.file} names spectra that {self.root} does not hold: "
                f"{', '.join(lines[:MAX_LISTED_ROWS])}{more}; "
                "nothing was kept: mend them, or leave them out with --skip-unknown"
            )
        add_annotations(self.root, found.annotations)
        print(f"{len(found.annotations):,} labels kept; `distspec classify` learns them")
        if lines:
            print(f"{len(lines):,} left out, of spectra that are not there:", *lines, sep="\n  ")


@dataclass(frozen=True)
class LabelsCommand(RootCommand):
    """Count what people say of spectra, and name those that they are divided over."""

    marks: bool = False
    """Count marks (interesting, ordinary) instead."""
    compact: bool = False
    """Put the many small files into one first."""
    history: bool = False
    """List every word ever said, the oldest first."""

    def run(self) -> None:
        """Print them."""
        if self.compact:
            print(f"{compact_annotations(self.root):,} rows in one file")
        said = read_annotations(self.root)
        if self.history:
            print(format_table(said))
            return
        found = consensus_labels(current_annotations(said, self.marks))
        counts = (
            found.drop_null().group_by("human_label").aggregate([("object_id", "count"), ("people", "sum")])
        )
        counts = counts.rename_columns(["human_label", "spectra", "people"]).sort_by("human_label")
        print(format_table(counts))
        divided = found.filter(pc.is_null(found["human_label"]))
        if len(divided):
            tied = [" or ".join(names) for names in divided["tied"].to_pylist()]
            print("\nAs many people say the one as the other: neither is learnt")
            print(format_table(pa.table({"object_id": divided["object_id"], "human_label": tied})))


@dataclass(frozen=True)
class ClassifyCommand(RootCommand):
    """Learn what people call spectra, say of all others how likely that is, and which to label next."""

    alpha: float = 0.1
    """Sets of labels leave out the right one this often, of each label."""
    n: int = 10
    """How many spectra to suggest, at most 50."""

    def run(self) -> None:
        """Print what was learnt."""
        with hold_lease(self.root, "classify") as lease:
            tables = publish_label_predictions(self.root, self.alpha, lease)
        print(format_table(tables["label_scores"]))
        if "predictions" not in tables:
            print("\nIt takes two labels, each of two sources or more.")
            return
        found = tables["predictions"]
        suggested = found.filter(pc.less_equal(found["suggestion_rank"], self.n)).sort_by("suggestion_rank")
        print("\nThe most useful to label next")
        print(format_table(suggested.select(["suggestion_rank", "object_id", "label", "label_prob", "label_set"])))
