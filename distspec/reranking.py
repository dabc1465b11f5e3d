"""A published run's anomalies re-ranked by what people marked, and how far that has brought them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec import schema
from distspec.catalog import open_tables
from distspec.feedback import INTERESTING, ORDINARY, PARTS, Progress, rescore
from distspec.labels import MARKS, history, standing
from distspec.nearest import LATENTS, latents_of

SHOWN = ("object_id", "z", "anomaly_rank", "anomaly_score")


def marked(root: str) -> dict[str, bool]:
    """Return which spectra people have marked, in order of time, and whether as interesting.

    Where people differ, as most of them say; interesting where as many say the one as the other.
    """
    said: dict[str, int] = {}
    for row in standing(history(root), marks=True).to_pylist():
        vote = INTERESTING if row["human_label"] == MARKS[0] else ORDINARY
        said[row["object_id"]] = said.get(row["object_id"], 0) + vote
    return {name: votes >= 0 for name, votes in said.items()}


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
        A row a spectrum, the oddest first: the columns `distspec.schema.RERANKED`. Without marks the order is
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


def progress(root: str, objects: pa.Table) -> Progress | None:
    """Return how many interesting spectra were found after each mark; None where there are no marks.

    Parameters
    ----------
    root : str
    objects : Table
        ``object_id``, ``anomaly_rank``.
    """
    said = marked(root)
    rank = dict(zip(*(objects[name].to_pylist() for name in ("object_id", "anomaly_rank")), strict=True))
    here = [name for name in said if name in rank]
    if not here:
        return None
    return Progress.of(np.array([said[name] for name in here]), np.array([rank[name] for name in here]))


def _marks_of(table: pa.Table, said: dict[str, bool]) -> NDArray[np.int8]:
    marks = np.zeros(len(table), np.int8)
    if said:
        for row, name in enumerate(table["object_id"].to_pylist()):
            if name in said:
                marks[row] = INTERESTING if said[name] else ORDINARY
    return marks
