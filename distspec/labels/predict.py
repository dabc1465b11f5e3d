"""Predicted labels for all spectra: the tables ``predictions`` and ``label_scores``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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
from distspec.labels.conformal import Ints, min_sources_to_exclude, prediction_sets
from distspec.measurements.definitions import MeasurementSet
from distspec.models.latents import VECTOR_COLUMNS

N_SUGGESTIONS = 50
"""Largest number of spectra that are suggested for labeling."""


@dataclass(frozen=True)
class LabelScores:
    """Out-of-fold performance for one label.

    Attributes
    ----------
    recall : float or None
        Fraction of the label's spectra for which it is the most probable; None if it cannot be learned.
    coverage : float or None
        Fraction of the label's spectra whose prediction set contains it.
    n_singleton_sets : int or None
        Number of unlabeled spectra whose prediction set contains only this label.
    """

    recall: float | None = None
    coverage: float | None = None
    n_singleton_sets: int | None = None


def unmodeled_measurements(measurements: MeasurementSet) -> tuple[str, ...]:
    """Return the measurements of features outside the model's input, used in addition to its latents.

    Parameters
    ----------
    measurements : MeasurementSet
        The archive's measurements.

    Returns
    -------
    tuple[str, ...]
        Names of the measurements.
    """
    return tuple(measurement.name for measurement in measurements.select("spectrum"))


def select_input_columns(measurements: MeasurementSet, column_names: list[str]) -> list[str]:
    """Select the columns of ``objects`` that `predict_labels` needs.

    Parameters
    ----------
    measurements : MeasurementSet
        The archive's measurements.
    column_names : list of str
        All columns of ``objects``.

    Returns
    -------
    list of str
    """
    prefixes = tuple(f"{vector}_" for vector in VECTOR_COLUMNS)
    latents = [name for name in column_names if name.startswith(prefixes)]
    measured = [column for name in unmodeled_measurements(measurements) for column in (name, f"{name}_err")]
    return ["object_id", "source_id", *latents, *measured]


def build_points(objects: pa.Table, measurements: MeasurementSet) -> Floats:
    """Build the classifier's input: latents in units of the posterior widths, and measurements.

    Parameters
    ----------
    objects : Table
        The columns of `select_input_columns`, one row per spectrum.
    measurements : MeasurementSet
        The archive's measurements.

    Returns
    -------
    ndarray of shape (n_spectra, n_dimensions)
    """

    def stack(vector: str) -> Floats32:
        names = sorted(name for name in objects.column_names if name.startswith(f"{vector}_"))
        return np.stack([objects[name].to_numpy() for name in names], axis=1)

    input_columns = select_input_columns(measurements, objects.column_names)[2:]
    values = {name: objects[name].to_numpy() for name in input_columns}
    latents = scale_by_posterior_width(*(stack(vector) for vector in VECTOR_COLUMNS))
    measured = measurements.scale_by_error(unmodeled_measurements(measurements), values)
    return join_measurements(latents, measured).astype(np.float64)


def predict_labels(
    objects: pa.Table,
    measurements: MeasurementSet,
    consensus: pa.Table,
    alpha: float,
    provenance: Mapping[str, str],
) -> dict[str, pa.Table]:
    """Train a classifier on the labels and predict those of all spectra.

    Parameters
    ----------
    objects : Table
        The columns of `select_input_columns`, one row per spectrum.
    measurements : MeasurementSet
        The archive's measurements.
    consensus : Table
        Result of `distspec.labels.consensus.consensus_labels`.
    alpha : float
        Conformal miscoverage level: prediction sets miss the true label with at most this probability.
    provenance : mapping of str to str
        Metadata of the tables.

    Returns
    -------
    dict of str to Table
        ``label_scores``, one row per label; ``predictions``, one row per spectrum, if two labels can be
        learned. Empty if no spectrum is labeled.
    """
    index = pc.index_in(objects["object_id"], consensus["object_id"])
    human_label = consensus["human_label"].take(index)
    labels: Strings = np.array(pc.fill_null(human_label, "").to_pylist(), str)
    source_id: Strings = np.array(objects["source_id"].to_pylist(), str)
    is_labeled = labels != ""
    if not is_labeled.any():
        return {}
    counts = count_sources_per_label(labels[is_labeled], source_id[is_labeled])
    learnable = [name for name, n in counts.items() if n >= MIN_SOURCES_PER_LABEL]
    if len(learnable) < 2:
        return {"label_scores": _build_label_scores(counts, labels, {}, alpha, provenance)}
    rows = np.flatnonzero(np.isin(labels, learnable))
    points = build_points(objects, measurements)
    classifier = LabelClassifier(points[rows], labels[rows], source_id[rows], IsotropicScaler.fit(points))
    prediction = classifier.predict(points)
    prob, p_value = prediction.prob, prediction.p_value
    prob[rows], p_value[rows] = classifier.out_of_fold.prob, classifier.out_of_fold.p_value
    in_set = prediction_sets(p_value, alpha)
    rank = _rank_suggestions(classifier, points, prob, source_id, rows)
    names = np.array(classifier.label_names)
    columns: dict[str, Any] = {
        "object_id": objects["object_id"],
        "human_label": human_label,
        "label": names[prob.argmax(axis=1)],
        "label_prob": prob.max(axis=1),
        "label_set": [names[members].tolist() for members in in_set],
        "suggestion_rank": pa.array(rank, mask=rank == 0),
        **{f"p_{name}": prob[:, k] for k, name in enumerate(classifier.label_names)},
    }
    prediction_schema = schema.build_label_prediction_schema(classifier.label_names)
    scores = _score_labels(classifier.label_names, labels, rows, prob, in_set)
    return {
        "predictions": schema.build_table(columns, prediction_schema, provenance),
        "label_scores": _build_label_scores(counts, labels, scores, alpha, provenance),
    }


def _rank_suggestions(
    classifier: LabelClassifier, points: Floats, prob: Floats, source_id: Strings, rows: Ints
) -> NDArray[np.int32]:
    """Return ranks, from 1, of spectra to label next, (n_spectra,); 0 for others.

    `rows` are the labeled spectra; their sources are not suggested.
    """
    unlabeled = np.flatnonzero(~np.isin(source_id, source_id[rows]))
    x = classifier.scaler.transform(points[unlabeled])
    suggested = unlabeled[suggest_spectra(x, prob[unlabeled], source_id[unlabeled], N_SUGGESTIONS)]
    rank = np.zeros(len(source_id), np.int32)
    rank[suggested] = np.arange(1, len(suggested) + 1)
    return rank


def _score_labels(
    label_names: list[str], labels: Strings, rows: Ints, prob: Floats, in_set: NDArray[np.bool_]
) -> dict[str, LabelScores]:
    """Return scores by label; predictions of the labeled spectra, `rows`, are out-of-fold."""
    is_singleton = in_set.sum(axis=1) == 1
    is_unlabeled = np.ones(len(labels), bool)
    is_unlabeled[rows] = False
    scores: dict[str, LabelScores] = {}
    for k, name in enumerate(label_names):
        members = rows[labels[rows] == name]
        scores[name] = LabelScores(
            float(np.mean(prob[members].argmax(axis=1) == k)),
            float(np.mean(in_set[members, k])),
            int(np.sum(is_singleton & in_set[:, k] & is_unlabeled)),
        )
    return scores


def _build_label_scores(
    counts: Mapping[str, int],
    labels: Strings,
    scores: Mapping[str, LabelScores],
    alpha: float,
    provenance: Mapping[str, str],
) -> pa.Table:
    """Return the table ``label_scores``; `counts` are the sources of each label."""
    n_needed = min_sources_to_exclude(alpha)
    rows: list[dict[str, Any]] = [
        {
            "human_label": name,
            "n_spectra": int(np.sum(labels == name)),
            "n_sources": n_sources,
            "n_needed": n_needed,
            **asdict(scores.get(name, LabelScores())),
            "status": _describe_status(n_sources, n_needed, name in scores, alpha),
        }
        for name, n_sources in sorted(counts.items())
    ]
    columns = {column.name: [row[column.name] for row in rows] for column in schema.LABEL_SCORES_SCHEMA}
    return schema.build_table(columns, schema.LABEL_SCORES_SCHEMA, provenance)


def _describe_status(n_sources: int, n_needed: int, is_learned: bool, alpha: float) -> str:
    """Return whether a label has enough sources, and how many are missing."""
    if n_sources < MIN_SOURCES_PER_LABEL:
        return f"too few sources to learn from: label {MIN_SOURCES_PER_LABEL - n_sources} more"
    if not is_learned:
        return "no other label can be learned: label sources of a second one"
    if n_sources < n_needed:
        missing = n_needed - n_sources
        return f"in every prediction set at alpha = {alpha:g}, for lack of sources: label {missing} more"
    return "enough sources"
