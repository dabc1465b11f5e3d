"""A published run's anomalies re-ranked by what people marked, and how far that has brought them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.feedback import INTERESTING, ORDINARY, PARTS, rescore
from distspec.catalog.editions import open_tables
from distspec.core import schema
from distspec.labels.annotations import MARKS, marked
from distspec.models.neighbors import LATENTS, latents_of

SHOWN = ("object_id", "z", "anomaly_rank", "anomaly_score")


def rerank(root: str, seed: int = 0) -> pa.Table:
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
        A row a spectrum, the oddest first: the columns `distspec.core.schema.RERANKED`. Without marks the order is
        the run's own.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    RuntimeError
        When there are marks, and coniferest is not installed.
    """
    said = marked(root)
    objects = open_tables(root)["objects"]
    names = [name for name in objects.schema.names if name.startswith(LATENTS)]
    table = objects.to_table(columns=[*SHOWN, *PARTS, *names])
    marks = _marks_of(table, said)
    parts = {name: table[name].to_numpy() for name in PARTS}
    score = rescore(parts, latents_of(table), table["anomaly_score"].to_numpy(), marks, seed)
    order = np.lexsort((table["anomaly_rank"].to_numpy(), -score))
    words = np.array(["", *MARKS], object)
    values: dict[str, Any] = {name: table[name].take(pa.array(order)) for name in SHOWN} | {
        "feedback_rank": np.arange(1, len(order) + 1),
        "feedback_score": score[order],
        "mark": words[marks[order]],
    }
    return schema.conform(values, schema.RERANKED, {})


def _marks_of(table: pa.Table, said: dict[str, bool]) -> NDArray[np.int8]:
    marks = np.zeros(len(table), np.int8)
    if said:
        for row, name in enumerate(table["object_id"].to_pylist()):
            if name in said:
                marks[row] = INTERESTING if said[name] else ORDINARY
    return marks
