"""What people's labels say of all other spectra: the tables ``predictions`` and ``label_scores``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.clustering.feature_space import join_measurements, scale_by_posterior_width
from distspec.core import schema
from distspec.core.arrow import pc
from distspec.core.spectrum import Floats, Floats32
from distspec.labels.active import suggest_spectra
from distspec.labels.classifier import (
    MIN_SOURCES_PER_LABEL,
    IsotropicScaler,
    LabelClassifier,
    Strings,
    count_sources_per_label,
)
from distspec.labels.conformal import min_sources_to_exclude, prediction_sets
from distspec.measurements.definitions import MeasurementSet
from distspec.models.latents import VECTOR_COLUMNS

N_SUGGESTIONS = 50
"""Spectra that are suggested."""


def unmodeled_measurements(measurements: MeasurementSet) -> tuple[str, ...]:
    """Return the measures that a model does not see, which stand beside its latents: Lyα's width."""
    return tuple(each.value_column.name for each in measurements.select("spectrum"))


def select_input_columns(measurements: MeasurementSet, column_names: list[str]) -> list[str]:
    """Return the columns of ``objects`` that `predict` takes, of all their `column_names`."""
    measured = [each for name in unmodeled_measurements(measurements) for each in (name, f"{name}_err")]
    latents = [
        name for name in column_names if name.startswith(tuple(f"{vector}_" for vector in VECTOR_COLUMNS))
    ]
    return ["object_id", "source_id", *latents, *measured]


def build_points(objects: pa.Table, measurements: MeasurementSet) -> Floats:
    """Return where spectra lie for the classifier, (N, D): latents in posterior widths, and `beside`."""

    def gathered(vector: str) -> Floats32:
        names = sorted(name for name in objects.column_names if name.startswith(f"{vector}_"))
        return np.stack([objects[name].to_numpy() for name in names], axis=1)

    values = {
        name: objects[name].to_numpy()
        for name in select_input_columns(measurements, objects.column_names)[2:]
    }
    latents = scale_by_posterior_width(*(gathered(vector) for vector in VECTOR_COLUMNS))
    return join_measurements(
        latents, measurements.scale_by_error(unmodeled_measurements(measurements), values)
    ).astype(np.float64)


def predict_labels(
    objects: pa.Table, measurements: MeasurementSet, consensus: pa.Table, alpha: float, provenance: Mapping[str, str]
) -> dict[str, pa.Table]:
    """Say what every spectrum is likely called.

    Parameters
    ----------
    objects : Table
        `select_input_columns`, a row a spectrum.
    measurements : MeasurementSet
        Of the archive.
    consensus : Table
        `distspec.labels.annotations.consensus_labels`.
    alpha : float
        Of the right labels, for each label, at most this share is left out of sets.
    provenance : mapping

    Returns
    -------
    dict
        ``label_scores``, a row a label, and, if there are two that can be learnt, ``predictions``, a row a
        spectrum; nothing without labels.
    """
    at = pc.index_in(objects["object_id"], consensus["object_id"])
    human = consensus["human_label"].take(at)
    given: Strings = np.array(pc.fill_null(human, "").to_pylist(), str)
    source: Strings = np.array(objects["source_id"].to_pylist(), str)
    labelled = given != ""
    if not labelled.any():
        return {}
    counts = count_sources_per_label(given[labelled], source[labelled])
    learnt = [name for name, n in counts.items() if n >= MIN_SOURCES_PER_LABEL]
    rows = np.flatnonzero(np.isin(given, learnt))
    if len(learnt) < 2:
        return {"label_scores": _build_label_scores(counts, given, None, rows, {}, alpha, provenance)}
    points = build_points(objects, measurements)
    classifier = LabelClassifier(points[rows], given[rows], source[rows], IsotropicScaler.fit(points))
    said = classifier.predict(points)
    prob, values = said.prob, said.p_value
    prob[rows], values[rows] = classifier.out_of_fold.prob, classifier.out_of_fold.p_value
    inside = prediction_sets(values, alpha)
    free = np.flatnonzero(~np.isin(source, source[rows]))
    rank = np.zeros(len(source), np.int32)
    suggested = free[
        suggest_spectra(classifier.scaler.transform(points[free]), prob[free], source[free], N_SUGGESTIONS)
    ]
    rank[suggested] = np.arange(1, len(suggested) + 1)
    names, top = np.array(classifier.label_names), prob.argmax(axis=1)
    found: dict[str, Any] = {
        "object_id": objects["object_id"],
        "human_label": human,
        "label": names[top],
        "label_prob": prob.max(axis=1),
        "label_set": [names[each].tolist() for each in inside],
        "suggestion_rank": pa.array(rank, mask=rank == 0),
        **{f"p_{name}": prob[:, k] for k, name in enumerate(classifier.label_names)},
    }
    predictions = schema.build_table(
        found, schema.build_label_prediction_schema(classifier.label_names), provenance
    )
    tested = _evaluate_out_of_fold(classifier, given, rows, prob, inside)
    return {
        "predictions": predictions,
        "label_scores": _build_label_scores(counts, given, classifier, rows, tested, alpha, provenance),
    }


def _evaluate_out_of_fold(
    classifier: LabelClassifier, labels: Strings, rows: Any, prob: Floats, in_set: Any
) -> dict[str, Any]:
    """Return what came of labelled spectra, each judged without its source; by label."""
    alone = in_set.sum(axis=1) == 1
    unlabelled = np.ones(len(labels), bool)
    unlabelled[rows] = False
    tested: dict[str, Any] = {}
    for k, name in enumerate(classifier.label_names):
        own = rows[labels[rows] == name]
        tested[name] = {
            "recall": float(np.mean(prob[own].argmax(axis=1) == k)),
            "coverage": float(np.mean(in_set[own, k])),
            "n_singleton_sets": int(np.sum(alone & in_set[:, k] & unlabelled)),
        }
    return tested


def _build_label_scores(
    counts: Mapping[str, int],
    labels: Strings,
    classifier: LabelClassifier | None,
    rows: Any,
    metrics: Mapping[str, Any],
    alpha: float,
    provenance: Mapping[str, str],
) -> pa.Table:
    enough = min_sources_to_exclude(alpha)
    table: list[dict[str, Any]] = []
    for name, n in sorted(counts.items()):
        row = {
            "human_label": name,
            "n_spectra": int(np.sum(labels == name)),
            "n_sources": n,
            "n_needed": enough,
        }
        row |= metrics.get(name, {"recall": None, "coverage": None, "n_singleton_sets": None})
        table.append(row | {"status": _describe_sufficiency(n, enough, name in metrics, alpha)})
    return schema.build_table(
        {c.name: [row[c.name] for row in table] for c in schema.LABEL_SCORES_SCHEMA},
        schema.LABEL_SCORES_SCHEMA,
        provenance,
    )


def _describe_sufficiency(n: int, n_needed: int, is_learned: bool, alpha: float) -> str:
    if n < MIN_SOURCES_PER_LABEL:
        return f"too few to learn: label {MIN_SOURCES_PER_LABEL - n} more of its sources"
    if not is_learned:
        return "the only label that can be learnt: it takes two"
    if n < n_needed:
        return f"too few for sets at error {alpha:g}: all hold it; label {n_needed - n} more of its sources"
    return "enough"
