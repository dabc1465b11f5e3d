"""One job of the sweep: trials on the same points, each with its labels and scores."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.clustering.algorithms import Clustering, Labels, fit_clusterings, labels_from_prob
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.consensus import compute_stability
from distspec.clustering.cost import get_max_rows
from distspec.clustering.plan import Trial
from distspec.clustering.silhouette import davies_bouldin, dbcv, silhouette_scores
from distspec.core.spectrum import Floats

SCORE_NAMES = (
    "silhouette", "silhouette_err", "silhouette_latents", "davies_bouldin", "dbcv", "bic", "stability",
)  # fmt: skip
"""What a trial is judged by; stability, against the other repeats, where the data have no structure."""


@dataclass(frozen=True)
class TrialResult:
    """A trial that was made.

    Attributes
    ----------
    trial : Trial
    labels : (N,) int16
        Of all points, those that it was not fitted to as well; empty where the data have no structure.
    sizes : (K,) int
        Points in each cluster; those in none are not counted.
    noise_fraction : float
    scores : mapping
        `SCORE_NAMES`.
    seconds : float
        Its share of its job's time.
    """

    trial: Trial
    labels: NDArray[np.int16]
    sizes: NDArray[np.int64]
    noise_fraction: float
    scores: Mapping[str, float]
    seconds: float

    @property
    def n_clusters(self) -> int:
        """How many there are, noise not counted."""
        return len(self.sizes)


def limit_rows(
    config: ClusteringConfig, n_points: int, memory_bytes: float
) -> tuple[dict[str, int], list[str]]:
    """Return how many of `n_points` points each algorithm is fitted to at most, and in words where that is fewer.

    Examples
    --------
    >>> limit_rows(ClusteringConfig(algorithms=("gmm", "optics")), 10_000, 1e9)[1]
    ['optics is fitted to 3,000 of 10,000 spectra: no time or memory for more; they follow']
    """
    fitted = round(config.resample_fraction * n_points)
    found = {name: min(fitted, get_max_rows(name, memory_bytes)) for name in config.algorithms}
    words = [
        f"{name} is fitted to {rows:,} of {n_points:,} spectra: no time or memory for more; they follow"
        for name, rows in found.items()
        if rows < fitted
    ]
    return found, words


def fit_trials(
    points: Floats, trials: Sequence[Trial], config: ClusteringConfig, max_rows: Mapping[str, int]
) -> list[tuple[Clustering, Labels]]:
    """Make trials of one algorithm and repeat: each one's clustering, and the labels of all points."""
    first = trials[0]
    n, size = len(points), max_rows[first.algorithm_spec.algorithm]
    rows = np.arange(n)
    if size < n:
        drawn = np.random.default_rng([first.seed, first.dataset.draw, n]).choice(n, size, replace=False)
        rows = np.sort(drawn)
    # Fewer points than clusters happen in small samples that are resampled.
    rows = rows if len(rows) > max(t.algorithm_spec.k for t in trials) else np.arange(n)
    device = "cuda" if config.use_gpu else "cpu"
    chosen, seeds = [t.algorithm_spec for t in trials], [t.seed for t in trials]
    made = fit_clusterings(points[rows], chosen, seeds, config.n_init, device)
    found: list[tuple[Clustering, Labels]] = []
    for each in made:
        labels = (
            each.labels if len(rows) == n else labels_from_prob(each.membership_model.predict_proba(points))
        )
        if len(rows) < n:
            labels[rows] = each.labels
        found.append((each, labels))
    return found


def run_trials(
    points: Floats,
    latents: Floats,
    trials: Sequence[Trial],
    config: ClusteringConfig,
    max_rows: Mapping[str, int],
) -> list[TrialResult]:
    """Make trials and score them.

    Parameters
    ----------
    points : (N, D)
        In the trials' space.
    latents : (N, L)
        Where every space's labels are scored as well.
    trials : sequence of Trial
    config : ClusteringConfig
    max_rows : mapping
        `limits`.
    """
    groups: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(
            (trial.algorithm_spec.algorithm, trial.member if config.resample_fraction < 1 else 0), []
        ).append(trial)
    results: list[TrialResult] = []
    for group in groups.values():
        start = time.monotonic()
        made = fit_trials(points, group, config, max_rows)
        labels = np.array([each for _, each in made], np.int32).reshape(len(made), len(points))
        own = silhouette_scores(points, labels, max_exact_points=config.silhouette_sample_size)
        deep = silhouette_scores(latents, labels, max_exact_points=config.silhouette_sample_size)
        separation = davies_bouldin(points, labels)
        seconds = (time.monotonic() - start) / len(group)
        for i, trial in enumerate(group):
            values = (
                own.silhouette[i],
                own.standard_error[i],
                deep.silhouette[i],
                separation[i],
                dbcv(points, labels[i], config.dbcv_sample_size) if config.dbcv_sample_size else float("nan"),
                made[i][0].bic,
                float("nan"),
            )
            scores: dict[str, float] = dict(zip(SCORE_NAMES, map(float, values), strict=True))
            small = labels[i].astype(np.int16)
            sizes, noise = np.bincount(small[small >= 0]), float(np.mean(small < 0))
            results.append(TrialResult(trial, small, sizes, noise, scores, seconds))
    return [
        _replace_labels_by_stability(each, results) if each.trial.dataset.is_null else each
        for each in results
    ]


def _replace_labels_by_stability(result: TrialResult, results: Sequence[TrialResult]) -> TrialResult:
    """Return a result with its stability in place of its labels: null draws are many."""
    alike = [
        each.labels.astype(np.int32)
        for each in results
        if each.trial.algorithm_spec == result.trial.algorithm_spec
    ]
    mean = float(np.mean(compute_stability(alike)))
    return replace(result, labels=np.zeros(0, np.int16), scores={**result.scores, "stability": mean})


def results_to_table(results: Sequence[TrialResult]) -> pa.Table:
    """Return results as a table, a row a trial, the labels as bytes."""
    columns: dict[str, list[Any]] = {
        "member": [r.trial.member for r in results],
        "setting": [list(map(str, r.trial.algorithm_spec)) for r in results],
        "labels": [r.labels.tobytes() for r in results],
        "sizes": [r.sizes.tolist() for r in results],
        "noise_share": [r.noise_fraction for r in results],
        "seconds": [r.seconds for r in results],
        **{name: [r.scores[name] for r in results] for name in SCORE_NAMES},
    }
    return pa.table(columns)


def results_from_table(table: pa.Table, trials: Sequence[Trial]) -> list[TrialResult]:
    """Return the results of trials that `results_to_table` kept, in the order of the trials."""
    rows = {(row["member"], tuple(row["setting"])): row for row in table.to_pylist()}
    results: list[TrialResult] = []
    for trial in trials:
        row = rows[trial.member, tuple(map(str, trial.algorithm_spec))]
        labels, sizes = np.frombuffer(row["labels"], np.int16), np.array(row["sizes"], np.int64)
        scores = {name: row[name] for name in SCORE_NAMES}
        results.append(TrialResult(trial, labels, sizes, row["noise_share"], scores, row["seconds"]))
    return results
