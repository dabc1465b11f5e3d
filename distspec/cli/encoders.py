"""The verb ``compare-encoders``."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from distspec.cli.base import TableCommand, print_table

SCORE_COLUMNS = ("task", "property", "encoder", "metric", "score", "null_mean", "null_std", "skill")


@dataclass(frozen=True)
class CompareEncodersCommand(TableCommand):
    """Compare the model, weighted PCA and other embeddings.

    They are spaces in which the spectra of the current edition are points. Classes and properties of the
    observation are predicted from the 10 nearest neighbors of other sources, and scored beside permuted
    values. The page is ROOT/runs/RUN/encoders/index.html. csv and json hold the scores.
    """

    embedding: tuple[str, ...] = ()
    """NAME=FILE, any number: Parquet, CSV, ECSV, FITS or VOTable with object_id (or source_id), and a column
    for each dimension or one of lists."""
    classes: str = ""
    """Table of known classes with the same identifiers; empty: only labels of people and galaxy types."""
    class_column: str = ""
    """Column of that table; empty: truth_class, or else the only other column."""
    seed: int = 0
    """Seed of the sample, of the permutations and of weighted PCA."""

    def run(self) -> None:
        """Print the scores, the shared neighbors and the address of the page."""
        from distspec.report.encoders import parse_embedding_options

        report = self.project.compare_encoders(
            parse_embedding_options(self.embedding), self.classes, self.class_column, self.seed
        )
        if self.format != "table":
            print_table(report.scores.table, self.format)
            return
        rounded = [
            {
                name: round(row[name], 3) if isinstance(row[name], float) else row[name]
                for name in SCORE_COLUMNS
            }
            for row in report.scores.table.to_pylist()
        ]
        rounded.sort(key=lambda row: (row["task"], row["property"]))
        print_table(pa.Table.from_pylist(rounded))
        shared = report.agreement.table.select(["encoder", "other_encoder", "score", "null_mean"])
        print("\nFraction of shared neighbors:")
        print_table(shared)
        print(f"\n{report.page}")
