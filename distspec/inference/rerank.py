"""A published run's anomalies re-ranked by what people marked, and how far that has brought them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.feedback import INTERESTING, ORDINARY, PARTIAL_SCORES, rescore_with_marks
from distspec.catalog.editions import open_tables
from distspec.core import schema
from distspec.labels.annotations import INTEREST_LABELS, read_marks
from distspec.models.neighbors import LATENT_PREFIXES, extract_latents

OUTPUT_COLUMNS = ("object_id", "z", "anomaly_rank", "anomaly_score")


def rerank_anomalies(root: str, seed: int = 0) -> pa.Table:
    """Return the spectra of the current catalogue re-ranked by what people marked interesting or ordinary.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    seed : int
        Of the forest that learns from the marks.

    Returns
    -------
    Table
        A row a spectrum, the oddest first: the columns `distspec.core.schema.RERANKED_SCHEMA`. Without marks the order is
        the run's own.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    RuntimeError
        When there are marks, and coniferest is not installed.
    """
    said = read_marks(root)
    objects = open_tables(root)["objects"]
    names = [name for name in objects.schema.names if name.startswith(LATENT_PREFIXES)]
    table = objects.to_table(columns=[*OUTPUT_COLUMNS, *PARTIAL_SCORES, *names])
    marks = _align_marks(table, said)
    parts = {name: table[name].to_numpy() for name in PARTIAL_SCORES}
    score = rescore_with_marks(parts, extract_latents(table), table["anomaly_score"].to_numpy(), marks, seed)
    order = np.lexsort((table["anomaly_rank"].to_numpy(), -score))
    words = np.array(["", *INTEREST_LABELS], object)
    values: dict[str, Any] = {name: table[name].take(pa.array(order)) for name in OUTPUT_COLUMNS} | {
        "feedback_rank": np.arange(1, len(order) + 1),
        "feedback_score": score[order],
        "mark": words[marks[order]],
    }
    return schema.build_table(values, schema.RERANKED_SCHEMA, {})


def _align_marks(table: pa.Table, marks_by_id: dict[str, bool]) -> NDArray[np.int8]:
    marks = np.zeros(len(table), np.int8)
    if marks_by_id:
        for row, name in enumerate(table["object_id"].to_pylist()):
            if name in marks_by_id:
                marks[row] = INTERESTING if marks_by_id[name] else ORDINARY
    return marks
