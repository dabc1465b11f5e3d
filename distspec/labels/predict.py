"""What people's labels say of all other spectra: the tables ``predictions`` and ``label_scores``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.clustering.feature_space import in_posterior_widths, joined
from distspec.core import schema
from distspec.core.arrow import pc
from distspec.core.spectrum import Floats, Floats32
from distspec.labels.active import suggest
from distspec.labels.classifier import MIN_SOURCES, Classifier, Scale, Strings, sources_of
from distspec.labels.conformal import needed, sets
from distspec.measurements.definitions import MEASURES
from distspec.measurements.measure import strengths
from distspec.models.latents import VECTORS

N_NEXT = 50
"""Spectra that are suggested."""


def beside(kind: str) -> tuple[str, ...]:
    """Return the measures that a model does not see, which stand beside its latents: Lyα's width."""
    return tuple(each.value.name for each in MEASURES.get(kind, ()) if each.space == "spectrum")


def columns_for(kind: str, names: list[str]) -> list[str]:
    """Return the columns of ``objects`` that `predict` takes, of all their `names`."""
    measured = [each for name in beside(kind) for each in (name, f"{name}_err")]
    latents = [name for name in names if name.startswith(tuple(f"{vector}_" for vector in VECTORS))]
    return ["object_id", "source_id", *latents, *measured]


def points_of(objects: pa.Table, kind: str) -> Floats:
    """Return where spectra lie for the classifier, (N, D): latents in posterior widths, and `beside`."""

    def gathered(vector: str) -> Floats32:
        names = sorted(name for name in objects.column_names if name.startswith(f"{vector}_"))
        return np.stack([objects[name].to_numpy() for name in names], axis=1)

    values = {name: objects[name].to_numpy() for name in columns_for(kind, objects.column_names)[2:]}
    latents = in_posterior_widths(*(gathered(vector) for vector in VECTORS))
    return joined(latents, strengths(kind, beside(kind), values)).astype(np.float64)


def predict(
    objects: pa.Table, kind: str, people: pa.Table, error: float, origin: Mapping[str, str]
) -> dict[str, pa.Table]:
    """Say what every spectrum is likely called.

    Parameters
    ----------
    objects : Table
        `columns_for`, a row a spectrum.
    kind : str
        Of the archive.
    people : Table
        `distspec.labels.annotations.verdicts`.
    error : float
        Of the right labels, for each label, at most this share is left out of sets.
    origin : mapping

    Returns
    -------
    dict
        ``label_scores``, a row a label, and, if there are two that can be learnt, ``predictions``, a row a
        spectrum; nothing without labels.
    """
    at = pc.index_in(objects["object_id"], people["object_id"])
    human = people["human_label"].take(at)
    given: Strings = np.array(pc.fill_null(human, "").to_pylist(), str)
    source: Strings = np.array(objects["source_id"].to_pylist(), str)
    labelled = given != ""
    if not labelled.any():
        return {}
    counts = sources_of(given[labelled], source[labelled])
    learnt = [name for name, n in counts.items() if n >= MIN_SOURCES]
    rows = np.flatnonzero(np.isin(given, learnt))
    if len(learnt) < 2:
        return {"label_scores": _scores(counts, given, None, rows, {}, error, origin)}
    points = points_of(objects, kind)
    classifier = Classifier(points[rows], given[rows], source[rows], Scale.of(points))
    said = classifier.predict(points)
    prob, values = said.prob, said.p_value
    prob[rows], values[rows] = classifier.out_of_fold.prob, classifier.out_of_fold.p_value
    inside = sets(values, error)
    free = np.flatnonzero(~np.isin(source, source[rows]))
    rank = np.zeros(len(source), np.int32)
    suggested = free[suggest(classifier.scale(points[free]), prob[free], source[free], N_NEXT)]
    rank[suggested] = np.arange(1, len(suggested) + 1)
    names, top = np.array(classifier.names), prob.argmax(axis=1)
    found: dict[str, Any] = {
        "object_id": objects["object_id"],
        "human_label": human,
        "label": names[top],
        "label_prob": prob.max(axis=1),
        "label_set": [names[each].tolist() for each in inside],
        "label_next": pa.array(rank, mask=rank == 0),
        **{f"p_{name}": prob[:, k] for k, name in enumerate(classifier.names)},
    }
    predictions = schema.conform(found, schema.predictions(classifier.names), origin)
    tested = _tested(classifier, given, rows, prob, inside)
    return {
        "predictions": predictions,
        "label_scores": _scores(counts, given, classifier, rows, tested, error, origin),
    }


def _tested(classifier: Classifier, given: Strings, rows: Any, prob: Floats, inside: Any) -> dict[str, Any]:
    """Return what came of labelled spectra, each judged without its source; by label."""
    alone = inside.sum(axis=1) == 1
    unlabelled = np.ones(len(given), bool)
    unlabelled[rows] = False
    tested: dict[str, Any] = {}
    for k, name in enumerate(classifier.names):
        own = rows[given[rows] == name]
        tested[name] = {
            "recall": float(np.mean(prob[own].argmax(axis=1) == k)),
            "coverage": float(np.mean(inside[own, k])),
            "n_alone": int(np.sum(alone & inside[:, k] & unlabelled)),
        }
    return tested


def _scores(
    counts: Mapping[str, int],
    given: Strings,
    classifier: Classifier | None,
    rows: Any,
    tested: Mapping[str, Any],
    error: float,
    origin: Mapping[str, str],
) -> pa.Table:
    enough = needed(error)
    table: list[dict[str, Any]] = []
    for name, n in sorted(counts.items()):
        row = {
            "human_label": name,
            "n_spectra": int(np.sum(given == name)),
            "n_sources": n,
            "n_needed": enough,
        }
        row |= tested.get(name, {"recall": None, "coverage": None, "n_alone": None})
        table.append(row | {"verdict": _verdict(n, enough, name in tested, error)})
    return schema.conform(
        {c.name: [row[c.name] for row in table] for c in schema.LABEL_SCORES}, schema.LABEL_SCORES, origin
    )


def _verdict(n: int, enough: int, learnt: bool, error: float) -> str:
    if n < MIN_SOURCES:
        return f"too few to learn: label {MIN_SOURCES - n} more of its sources"
    if not learnt:
        return "the only label that can be learnt: it takes two"
    if n < enough:
        return f"too few for sets at error {error:g}: all hold it; label {enough - n} more of its sources"
    return "enough"
