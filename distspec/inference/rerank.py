"""Anomalies of the published run, re-ranked by the marks that people gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.feedback import INTERESTING, ORDINARY, PARTIAL_SCORES, rescore_with_marks
from distspec.catalog.editions import open_tables
from distspec.core import schema
from distspec.labels.annotations import INTEREST_LABELS
from distspec.labels.consensus import read_marks
from distspec.models.neighbors import LATENT_PREFIXES, extract_latents

OUTPUT_COLUMNS = ("object_id", "z", "anomaly_rank", "anomaly_score")
"""Columns of ``objects`` that the result repeats."""


def rerank_anomalies(root: str, seed: int = 0) -> pa.Table:
    """Rank the spectra of the current catalog anew, with the marks interesting and ordinary.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    seed : int
        Seed of the forest that learns from the marks.

    Returns
    -------
    Table
        One row per spectrum, the most anomalous first, with the columns
        `distspec.core.schema.RERANKED_SCHEMA`. Without marks the order is that of the run.

    Raises
    ------
    NotFoundError
        If no catalog has been published.
    LabelError
        If there are marks and coniferest is not installed.
    """
    marks_by_id = read_marks(root)
    objects = open_tables(root)["objects"]
    latent_columns = [name for name in objects.schema.names if name.startswith(LATENT_PREFIXES)]
    table = objects.to_table(columns=[*OUTPUT_COLUMNS, *PARTIAL_SCORES, *latent_columns])
    marks = _align_marks(table, marks_by_id)
    partial_scores = {name: table[name].to_numpy() for name in PARTIAL_SCORES}
    own_score = table["anomaly_score"].to_numpy()
    score = rescore_with_marks(partial_scores, extract_latents(table), own_score, marks, seed)
    order = np.lexsort((table["anomaly_rank"].to_numpy(), -score))
    mark_names = np.array(["", *INTEREST_LABELS], object)  # index -1, `ORDINARY`, is the last
    columns: dict[str, Any] = {name: table[name].take(pa.array(order)) for name in OUTPUT_COLUMNS} | {
        "feedback_rank": np.arange(1, len(order) + 1),
        "feedback_score": score[order],
        "mark": mark_names[marks[order]],
    }
    return schema.build_table(columns, schema.RERANKED_SCHEMA, {})


def _align_marks(table: pa.Table, marks_by_id: Mapping[str, bool]) -> NDArray[np.int8]:
    """Return the mark of each row, 0 for none."""
    marks = np.zeros(len(table), np.int8)
    if marks_by_id:
        for row, name in enumerate(table["object_id"].to_pylist()):
            if name in marks_by_id:
                marks[row] = INTERESTING if marks_by_id[name] else ORDINARY
    return marks
