"""Agreement of classes and anomaly ranks with known truth, compared with random labels and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import hypergeom
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

BAD_PIXEL_PREFIX = "artefact"
"""Prefix of the true anomaly types that are bad pixels."""
N_PERMUTATIONS = 200
"""Number of permutations of the labels that give the null distribution of a score."""
TOP_FRACTIONS = (0.01, 0.05)
"""Fractions of the spectra, highest anomaly scores first, for which recall is computed."""


@dataclass(frozen=True)
class LabelScore:
    """Agreement of class labels with true classes.

    Attributes
    ----------
    metric : str
        ``ARI`` (adjusted Rand index) or ``NMI`` (normalized mutual information).
    value : float
        Score of the labels.
    null_p50, null_p95 : float
        Median and 95th percentile of the scores of permuted labels.
    """

    metric: str
    value: float
    null_p50: float
    null_p95: float


@dataclass(frozen=True)
class AnomalyRecall:
    """Recall of the true anomalies among the spectra with the highest anomaly scores.

    Attributes
    ----------
    selected : str
        Name of the selection, such as ``top 1 %``.
    recall : float
        Fraction of the true anomalies that are selected; NaN if there are none.
    null_recall : float
        Expected recall of a random selection of the same size.
    null_p95 : float
        95th percentile of the recall of random selections (hypergeometric distribution).
    n_anomalies : int
        Number of true anomalies.
    n_bad_pixel_spectra : int
        Number of selected spectra whose true anomaly is bad pixels.
    """

    selected: str
    recall: float
    null_recall: float
    null_p95: float
    n_anomalies: int
    n_bad_pixel_spectra: int


@dataclass(frozen=True)
class TypeRecall:
    """Recall of one type of true anomaly.

    Attributes
    ----------
    anomaly_type : str
        Type of the anomaly.
    n : int
        Number of spectra of this type.
    recall : mapping of str to float
        Fraction that is selected, by name of the selection.
    """

    anomaly_type: str
    n: int
    recall: Mapping[str, float]


@dataclass(frozen=True)
class TruthScores:
    """Scores of a run against known truth.

    Attributes
    ----------
    labels : tuple of LabelScore
        Agreement of the classes with the true classes.
    anomalies : tuple of AnomalyRecall
        Recall of the true anomalies by selection; empty if there are none.
    by_type : tuple of TypeRecall
        Recall by type of anomaly.
    note : str
        Sentence on the size of the sample.
    """

    labels: tuple[LabelScore, ...]
    anomalies: tuple[AnomalyRecall, ...] = ()
    by_type: tuple[TypeRecall, ...] = ()
    note: str = ""


def score_labels(
    labels: Sequence[int], truth: Sequence[str], rng: np.random.Generator
) -> tuple[LabelScore, ...]:
    """Compute ARI and NMI of class labels and true classes, and of permuted labels.

    Parameters
    ----------
    labels : sequence of int, length n_spectra
        Class labels.
    truth : sequence of str, length n_spectra
        True classes.
    rng : Generator
        Source of the permutations.
    """
    predicted, true = np.asarray(labels), np.asarray(truth)
    scores: list[LabelScore] = []
    for name, metric in (("ARI", adjusted_rand_score), ("NMI", normalized_mutual_info_score)):
        null = [float(metric(true, rng.permutation(predicted))) for _ in range(N_PERMUTATIONS)]
        p50, p95 = np.percentile(null, [50, 95])
        scores.append(LabelScore(name, float(metric(true, predicted)), float(p50), float(p95)))
    return tuple(scores)


def score_anomalies(
    anomaly_ranks: NDArray[np.int64], anomaly_types: Sequence[str]
) -> tuple[tuple[AnomalyRecall, ...], tuple[TypeRecall, ...]]:
    """Compute the recall of the true anomalies among the top ranks, overall and by type.

    Parameters
    ----------
    anomaly_ranks : ndarray of shape (n_spectra,)
        Ranks by anomaly score; 1 is the most anomalous.
    anomaly_types : sequence of str, length n_spectra
        True anomaly types; empty for ordinary spectra. Types that begin with `BAD_PIXEL_PREFIX` do not
        count as anomalies.

    Returns
    -------
    recalls : tuple of AnomalyRecall
        One entry for each of `TOP_FRACTIONS`.
    by_type : tuple of TypeRecall
        One entry for each type, including types of bad pixels.
    """
    types = np.asarray(anomaly_types, dtype=object).astype(str)
    is_bad_pixels = np.char.startswith(types, BAD_PIXEL_PREFIX)
    is_anomaly = (types != "") & ~is_bad_pixels
    n, n_anomalies, order = len(types), int(is_anomaly.sum()), np.argsort(np.argsort(anomaly_ranks))
    recalls: list[AnomalyRecall] = []
    selections: dict[str, NDArray[np.bool_]] = {}
    for fraction in TOP_FRACTIONS:
        n_top = max(1, round(fraction * n))
        name = f"top {100 * fraction:g} %"
        selected = selections[name] = order < n_top
        recalls.append(
            AnomalyRecall(
                selected=name,
                recall=float(is_anomaly[selected].sum() / n_anomalies) if n_anomalies else float("nan"),
                null_recall=n_top / n,
                null_p95=float(hypergeom.ppf(0.95, n, n_anomalies, n_top)) / max(n_anomalies, 1),
                n_anomalies=n_anomalies,
                n_bad_pixel_spectra=int(is_bad_pixels[selected].sum()),
            )
        )
    by_type = tuple(
        TypeRecall(
            anomaly_type=name,
            n=int((types == name).sum()),
            recall={
                selection: float(selected[types == name].mean()) for selection, selected in selections.items()
            },
        )
        for name in np.unique(types[types != ""]).tolist()
    )
    return tuple(recalls), by_type


def score_against_truth(objects: pa.Table, truth: pa.Table | None, seed: int) -> TruthScores | None:
    """Compare the classes and anomaly ranks of a run with a table of truth.

    Parameters
    ----------
    objects : Table
        Columns ``object_id``, ``cluster_label`` and ``anomaly_rank``.
    truth : Table or None
        Columns ``object_id``, ``truth_class`` and ``anomaly_type``.
    seed : int
        Seed of the label permutations.

    Returns
    -------
    TruthScores or None
        Scores; None if the truth of none of the spectra is known.
    """
    if truth is None:
        return None
    known = objects.select(["object_id", "cluster_label", "anomaly_rank"]).join(
        truth, "object_id", join_type="inner"
    )
    if not len(known):
        return None
    known = known.sort_by("anomaly_rank")
    anomaly_type = np.array(known["anomaly_type"].to_pylist(), dtype=object)
    ordinary = anomaly_type == ""
    labels = score_labels(
        known["cluster_label"].to_numpy()[ordinary].tolist(),
        np.array(known["truth_class"].to_pylist(), dtype=object)[ordinary].tolist(),
        np.random.default_rng(seed),
    )
    n_ordinary, n_anomalous = int(ordinary.sum()), int((~ordinary).sum())
    note = f"{n_ordinary:,} spectra of a known class, {n_anomalous:,} known anomalies."
    if not n_anomalous:
        return TruthScores(labels, note=note)
    anomalies, by_type = score_anomalies(known["anomaly_rank"].to_numpy(), anomaly_type.tolist())
    return TruthScores(labels, anomalies, by_type, note)
