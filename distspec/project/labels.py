"""Methods of a project for labels that people give to spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from distspec.core.arrow import pc
from distspec.core.errors import LabelError
from distspec.core.user import user_name
from distspec.io.lease import hold_lease
from distspec.io.paths import store_url
from distspec.labels.annotations import (
    Annotation,
    add_annotations,
    compact_annotations,
    current_annotations,
    read_annotations,
)
from distspec.labels.consensus import consensus_labels
from distspec.labels.importing import MAX_LISTED_ROWS, ImportedLabels, read_labels, select_new
from distspec.project.tables import QueryResult
from distspec.store.store import open_store

if TYPE_CHECKING:
    pass


from distspec.project.base import ProjectBase, with_storage


@dataclass(frozen=True)
class LabelCounts:
    """Labels that people gave.

    Attributes
    ----------
    counts : QueryResult
        For each label, the numbers of spectra and of people.
    tied : QueryResult
        Spectra whose most frequent labels were given equally often; they are not learned from.
    """

    counts: QueryResult
    tied: QueryResult


class LabelMethods(ProjectBase):
    """Methods of a project for labels that people give to spectra."""

    @with_storage
    def label(self, object_id: str | Sequence[str], label: str, user: str = "", note: str = "") -> int:
        """Label spectra.

        Parameters
        ----------
        object_id : str or sequence of str
            Spectra of the store.
        label : str
            Label of the class, or "interesting" or "ordinary"; empty: remove the user's label.
        user : str
            Who gives the label; empty: the name of the operating system's user.
        note : str
            Remark that is stored with the label.

        Returns
        -------
        int
            Number of labels added.

        Raises
        ------
        LabelError
            If the store does not contain one of the spectra.
        """
        ids = [object_id] if isinstance(object_id, str) else list(object_id)
        known = set(self._known_ids().to_pylist())
        if unknown := [name for name in ids if name not in known]:
            raise LabelError(f"{self.root} holds no spectrum {', '.join(unknown[:MAX_LISTED_ROWS])}")
        who = user or user_name()
        add_annotations(self.root, [Annotation(name, label, who, note) for name in ids])
        return len(ids)

    @with_storage
    def import_labels(
        self, file: str, user: str = "", skip_unknown: bool = False, retract: bool = False
    ) -> ImportedLabels:
        """Add the labels of a CSV or Parquet file; labels that are there already are not added again.

        Parameters
        ----------
        file : str
            Path or URL of a table with columns object_id and human_label and, optionally, those that
            `distspec.labels.importing.read_labels` describes.
        user : str
            Annotator of rows for which the file gives none; empty: the name of the operating system's user.
        skip_unknown : bool
            Whether to skip spectra that the store does not contain.
        retract : bool
            Whether rows without label and mark withdraw the annotator's earlier ones; otherwise they do
            nothing.

        Raises
        ------
        LabelError
            If the table is wrong, or names spectra that the store does not contain; nothing is added then.
        """
        imported = read_labels(file, self._known_ids(), user or user_name(), retract)
        lines = [f"line {line}: {name!r}" for line, name in imported.unknown_ids]
        if lines and not skip_unknown:
            more = f" and {len(lines) - MAX_LISTED_ROWS} more" if len(lines) > MAX_LISTED_ROWS else ""
            raise LabelError(
                f"{file} names spectra that {self.root} does not hold: "
                f"{', '.join(lines[:MAX_LISTED_ROWS])}{more}; "
                "nothing was added: correct them, or skip them with --skip-unknown"
            )
        new = select_new(imported.annotations, read_annotations(self.root))
        if new:
            add_annotations(self.root, new)
        return replace(imported, annotations=new, n_unchanged=len(imported.annotations) - len(new))

    def _known_ids(self) -> pa.ChunkedArray:
        return open_store(store_url(self.root)).ledger(["object_id"])["object_id"]

    @with_storage
    def labels(self, marks: bool = False) -> LabelCounts:
        """Count the labels that people gave.

        Parameters
        ----------
        marks : bool
            Whether to count the marks "interesting" and "ordinary" instead.
        """
        labels_by_spectrum = consensus_labels(current_annotations(read_annotations(self.root), marks))
        totals = [("object_id", "count"), ("n_annotators", "sum")]
        counts = labels_by_spectrum.drop_null().group_by("human_label").aggregate(totals)
        counts = counts.rename_columns(["human_label", "n_spectra", "n_people"]).sort_by("human_label")
        tied = labels_by_spectrum.filter(pc.is_null(labels_by_spectrum["human_label"]))
        labels = [" or ".join(names) for names in tied["tied"].to_pylist()]
        return LabelCounts(
            QueryResult(counts), QueryResult(pa.table({"object_id": tied["object_id"], "labels": labels}))
        )

    @with_storage
    def label_history(self) -> QueryResult:
        """Return every label and mark that was ever given, oldest first."""
        return QueryResult(read_annotations(self.root))

    @with_storage
    def compact_labels(self) -> int:
        """Merge the files of labels into one, and return the number of rows."""
        return compact_annotations(self.root)

    @with_storage
    def classify(self, alpha: float = 0.1) -> dict[str, QueryResult]:
        """Learn the labels, and publish predictions for all spectra.

        Parameters
        ----------
        alpha : float
            Conformal miscoverage level: prediction sets miss the true label with at most this probability.

        Returns
        -------
        dict of str to QueryResult
            The tables ``label_scores`` and, if at least two labels can be learned, ``predictions``.
        """
        from distspec.catalog.reclassify import publish_label_predictions

        with hold_lease(self.root, "classify") as lease:
            tables = publish_label_predictions(self.root, alpha, lease)
        return {name: QueryResult(table) for name, table in tables.items()}

    @with_storage
    def rerank(self, seed: int = 0) -> QueryResult:
        """Rank the spectra of the current edition by anomaly score, updated with the marks that people gave.

        Parameters
        ----------
        seed : int
            Seed of the isolation forest that learns from the marks.
        """
        from distspec.inference.rerank import rerank_anomalies

        return QueryResult(rerank_anomalies(self.root, seed))
