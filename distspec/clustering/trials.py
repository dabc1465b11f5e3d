"""Trials of a sweep: fitting, scoring, and their results as a table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.clustering.algorithms import Clustering, Labels, fit_clusterings, labels_from_prob
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.consensus import compute_stability
from distspec.clustering.cost import get_max_rows
from distspec.clustering.plan import Trial
from distspec.clustering.silhouette import davies_bouldin, silhouette_scores
from distspec.core.spectrum import Floats


@dataclass(frozen=True)
class TrialScores:
    """Scores of a trial; NaN where undefined.

    Attributes
    ----------
    silhouette, silhouette_err : float
        Mean silhouette in the trial's space, and its standard error if it was sampled.
    silhouette_latents : float
        Mean silhouette of the labels in the latent space.
    davies_bouldin : float
        Davies-Bouldin index.
    bic : float
        Bayesian information criterion.
    stability : float
        On null data: mean adjusted Rand index of the setting's members.
    """

    silhouette: float
    silhouette_err: float
    silhouette_latents: float
    davies_bouldin: float
    bic: float
    stability: float = float("nan")


SCORE_NAMES = tuple(field.name for field in fields(TrialScores))


@dataclass(frozen=True)
class TrialResult:
    """Result of a trial.

    Attributes
    ----------
    trial : Trial
        What was clustered and how.
    labels : ndarray of int16, shape (n_points,)
        Labels of all points of the sample, those that were not fitted included; empty for null data.
    sizes : ndarray of int64, shape (n_clusters,)
        Number of points in each cluster.
    noise_fraction : float
        Fraction of the points in no cluster.
    scores : TrialScores
        Scores.
    seconds : float
        Share of the job's duration [s].
    """

    trial: Trial
    labels: NDArray[np.int16]
    sizes: NDArray[np.int64]
    noise_fraction: float
    scores: TrialScores
    seconds: float

    @property
    def n_clusters(self) -> int:
        """Number of clusters, without noise."""
        return len(self.sizes)


def limit_rows(
    config: ClusteringConfig, n_points: int, memory_bytes: float
) -> tuple[dict[str, int], list[str]]:
    """Return the number of points that each algorithm is fitted to.

    Parameters
    ----------
    config : ClusteringConfig
        Settings of the sweep.
    n_points : int
        Size of the sample.
    memory_bytes : float
        Memory available to a fit [bytes].

    Returns
    -------
    max_rows : dict of str to int
        Number of points by algorithm.
    adaptations : list of str
        One sentence for each algorithm that is fitted to fewer points than configured.

    Examples
    --------
    >>> limit_rows(ClusteringConfig(algorithms=("gmm", "optics")), 10_000, 1e9)[1]
    ['optics is fitted to 3,000 of 10,000 spectra, as time and memory allow; the others are assigned']
    """
    n_requested = round(config.resample_fraction * n_points)
    max_rows = {name: min(n_requested, get_max_rows(name, memory_bytes)) for name in config.algorithms}
    adaptations = [
        f"{name} is fitted to {rows:,} of {n_points:,} spectra, as time and memory allow; "
        "the others are assigned"
        for name, rows in max_rows.items()
        if rows < n_requested
    ]
    return max_rows, adaptations


def fit_trials(
    points: Floats, trials: Sequence[Trial], config: ClusteringConfig, max_rows: Mapping[str, int]
) -> list[tuple[Clustering, Labels]]:
    """Fit trials of one algorithm and ensemble member.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_dims)
        The sample in the trials' space.
    trials : sequence of Trial
        Trials that share their algorithm and, if points are resampled, their member.
    config : ClusteringConfig
        Settings of the sweep.
    max_rows : mapping of str to int
        Number of points by algorithm: `limit_rows`.

    Returns
    -------
    list of (Clustering, ndarray of int32)
        For each trial, the clustering of the fitted points and the labels of all points.
    """
    first = trials[0]
    n, size = len(points), max_rows[first.algorithm_spec.algorithm]
    rows = np.arange(n)
    if size < n:
        rng = np.random.default_rng([first.seed, first.dataset.number, n])
        rows = np.sort(rng.choice(n, size, replace=False))
    # A small resampled sample may have fewer points than clusters.
    rows = rows if len(rows) > max(trial.algorithm_spec.k for trial in trials) else np.arange(n)
    device = "cuda" if config.use_gpu else "cpu"
    specs, seeds = [trial.algorithm_spec for trial in trials], [trial.seed for trial in trials]
    fitted: list[tuple[Clustering, Labels]] = []
    for clustering in fit_clusterings(points[rows], specs, seeds, config.n_init, device):
        if len(rows) == n:
            labels = clustering.labels
        else:
            labels = labels_from_prob(clustering.membership_model.predict_proba(points))
            labels[rows] = clustering.labels
        fitted.append((clustering, labels))
    return fitted


def run_trials(
    points: Floats,
    latents: Floats,
    trials: Sequence[Trial],
    config: ClusteringConfig,
    max_rows: Mapping[str, int],
) -> list[TrialResult]:
    """Fit and score trials.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_dims)
        The sample in the trials' space.
    latents : ndarray of shape (n_points, n_latents)
        The sample in the latent space, in which all labels are scored as well.
    trials : sequence of Trial
        Trials on the same data in the same space.
    config : ClusteringConfig
        Settings of the sweep.
    max_rows : mapping of str to int
        Number of points by algorithm: `limit_rows`.

    Returns
    -------
    list of TrialResult
        One for each trial.
    """
    groups: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        member = trial.member if config.resample_fraction < 1 else 0
        groups.setdefault((trial.algorithm_spec.algorithm, member), []).append(trial)
    results: list[TrialResult] = []
    for group in groups.values():
        results += _run_group(points, latents, group, config, max_rows)
    return [
        _replace_labels_by_stability(result, results) if result.trial.dataset.is_null else result
        for result in results
    ]


def _run_group(
    points: Floats,
    latents: Floats,
    trials: Sequence[Trial],
    config: ClusteringConfig,
    max_rows: Mapping[str, int],
) -> list[TrialResult]:
    """Fit and score trials that are fitted to the same points."""
    start = time.monotonic()
    fitted = fit_trials(points, trials, config, max_rows)
    labels = np.array([trial_labels for _, trial_labels in fitted], np.int32).reshape(
        len(fitted), len(points)
    )
    in_space = silhouette_scores(points, labels, max_exact_points=config.silhouette_sample_size)
    in_latents = silhouette_scores(latents, labels, max_exact_points=config.silhouette_sample_size)
    separation = davies_bouldin(points, labels)
    seconds = (time.monotonic() - start) / len(trials)
    results: list[TrialResult] = []
    for i, trial in enumerate(trials):
        scores = TrialScores(
            float(in_space.silhouette[i]),
            float(in_space.standard_error[i]),
            float(in_latents.silhouette[i]),
            float(separation[i]),
            float(fitted[i][0].bic),
        )
        compact = labels[i].astype(np.int16)
        sizes, noise = np.bincount(compact[compact >= 0]), float(np.mean(compact < 0))
        results.append(TrialResult(trial, compact, sizes, noise, scores, seconds))
    return results


def _replace_labels_by_stability(result: TrialResult, results: Sequence[TrialResult]) -> TrialResult:
    """Return a result with the stability of its setting instead of its labels, since null draws are many."""
    member_labels = [
        trial_result.labels.astype(np.int32)
        for trial_result in results
        if trial_result.trial.algorithm_spec == result.trial.algorithm_spec
    ]
    stability = float(np.mean(compute_stability(member_labels)))
    return replace(result, labels=np.zeros(0, np.int16), scores=replace(result.scores, stability=stability))


def results_to_table(results: Sequence[TrialResult]) -> pa.Table:
    """Return results as a table with one row per trial; labels are stored as bytes.

    Parameters
    ----------
    results : sequence of TrialResult
        Results of trials on the same points.
    """
    columns: dict[str, list[Any]] = {
        "member": [r.trial.member for r in results],
        "algorithm_spec": [list(map(str, r.trial.algorithm_spec)) for r in results],
        "labels": [r.labels.tobytes() for r in results],
        "sizes": [r.sizes.tolist() for r in results],
        "noise_fraction": [r.noise_fraction for r in results],
        "seconds": [r.seconds for r in results],
        **{name: [asdict(r.scores)[name] for r in results] for name in SCORE_NAMES},
    }
    return pa.table(columns)


def results_from_table(table: pa.Table, trials: Sequence[Trial]) -> list[TrialResult]:
    """Return the results of trials from `results_to_table`.

    Parameters
    ----------
    table : Table
        Rows in any order.
    trials : sequence of Trial
        The trials of the table.

    Returns
    -------
    list of TrialResult
        In the order of `trials`.
    """
    rows = {(row["member"], tuple(row["algorithm_spec"])): row for row in table.to_pylist()}
    results: list[TrialResult] = []
    for trial in trials:
        row = rows[trial.member, tuple(map(str, trial.algorithm_spec))]
        labels, sizes = np.frombuffer(row["labels"], np.int16), np.array(row["sizes"], np.int64)
        scores = TrialScores(**{name: row[name] for name in SCORE_NAMES})
        results.append(TrialResult(trial, labels, sizes, row["noise_fraction"], scores, row["seconds"]))
    return results
