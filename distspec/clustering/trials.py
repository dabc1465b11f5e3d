"""One job of the sweep: trials on the same points, each with its labels and scores."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.clustering.algorithms import Clustering, Labels, fit_all, labels_of
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.consensus import stability
from distspec.clustering.cost import most_rows
from distspec.clustering.plan import Trial
from distspec.clustering.silhouette import davies_bouldin, dbcv, silhouettes
from distspec.core.spectrum import Floats

SCORES = (
    "silhouette", "silhouette_err", "silhouette_latents", "davies_bouldin", "dbcv", "bic", "stability",
)  # fmt: skip
"""What a trial is judged by; stability, against the other repeats, where the data have no structure."""


@dataclass(frozen=True)
class Result:
    """A trial that was made.

    Attributes
    ----------
    trial : Trial
    labels : (N,) int16
        Of all points, those that it was not fitted to as well; empty where the data have no structure.
    sizes : (K,) int
        Points in each cluster; those in none are not counted.
    noise_share : float
    scores : mapping
        `SCORES`.
    seconds : float
        Its share of its job's time.
    """

    trial: Trial
    labels: NDArray[np.int16]
    sizes: NDArray[np.int64]
    noise_share: float
    scores: Mapping[str, float]
    seconds: float

    @property
    def n_clusters(self) -> int:
        """How many there are, noise not counted."""
        return len(self.sizes)


def limits(config: ClusteringConfig, n: int, memory: float) -> tuple[dict[str, int], list[str]]:
    """Return how many of `n` points each algorithm is fitted to at most, and in words where that is fewer.

    Examples
    --------
    >>> limits(ClusteringConfig(algorithms=("gmm", "optics")), 10_000, 1e9)[1]
    ['optics is fitted to 3,000 of 10,000 spectra: no time or memory for more; they follow']
    """
    fitted = round(config.resample * n)
    found = {name: min(fitted, most_rows(name, memory)) for name in config.algorithms}
    words = [
        f"{name} is fitted to {rows:,} of {n:,} spectra: no time or memory for more; they follow"
        for name, rows in found.items()
        if rows < fitted
    ]
    return found, words


def fitted(
    points: Floats, trials: Sequence[Trial], config: ClusteringConfig, most: Mapping[str, int]
) -> list[tuple[Clustering, Labels]]:
    """Make trials of one algorithm and repeat: each one's clustering, and the labels of all points."""
    first = trials[0]
    n, size = len(points), most[first.setting.algorithm]
    rows = np.arange(n)
    if size < n:
        drawn = np.random.default_rng([first.seed, first.data.draw, n]).choice(n, size, replace=False)
        rows = np.sort(drawn)
    # Fewer points than clusters happen in small samples that are resampled.
    rows = rows if len(rows) > max(t.setting.k for t in trials) else np.arange(n)
    device = "cuda" if config.gpu else "cpu"
    chosen, seeds = [t.setting for t in trials], [t.seed for t in trials]
    made = fit_all(points[rows], chosen, seeds, config.starts, device)
    found: list[tuple[Clustering, Labels]] = []
    for each in made:
        labels = each.labels if len(rows) == n else labels_of(each.predictor.posterior(points))
        if len(rows) < n:
            labels[rows] = each.labels
        found.append((each, labels))
    return found


def run(
    points: Floats,
    latents: Floats,
    trials: Sequence[Trial],
    config: ClusteringConfig,
    most: Mapping[str, int],
) -> list[Result]:
    """Make trials and score them.

    Parameters
    ----------
    points : (N, D)
        In the trials' space.
    latents : (N, L)
        Where every space's labels are scored as well.
    trials : sequence of Trial
    config : ClusteringConfig
    most : mapping
        `limits`.
    """
    groups: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.setting.algorithm, trial.repeat if config.resample < 1 else 0), []).append(
            trial
        )
    results: list[Result] = []
    for group in groups.values():
        start = time.monotonic()
        made = fitted(points, group, config, most)
        labels = np.array([each for _, each in made], np.int32).reshape(len(made), len(points))
        own = silhouettes(points, labels, exact_up_to=config.silhouette_sample)
        deep = silhouettes(latents, labels, exact_up_to=config.silhouette_sample)
        separation = davies_bouldin(points, labels)
        seconds = (time.monotonic() - start) / len(group)
        for i, trial in enumerate(group):
            values = (
                own.silhouette[i],
                own.error[i],
                deep.silhouette[i],
                separation[i],
                dbcv(points, labels[i], config.dbcv_sample) if config.dbcv_sample else float("nan"),
                made[i][0].bic,
                float("nan"),
            )
            scores: dict[str, float] = dict(zip(SCORES, map(float, values), strict=True))
            small = labels[i].astype(np.int16)
            sizes, noise = np.bincount(small[small >= 0]), float(np.mean(small < 0))
            results.append(Result(trial, small, sizes, noise, scores, seconds))
    return [_without_labels(each, results) if each.trial.data.is_null else each for each in results]


def _without_labels(result: Result, results: Sequence[Result]) -> Result:
    """Return a result with its stability in place of its labels: null draws are many."""
    alike = [each.labels.astype(np.int32) for each in results if each.trial.setting == result.trial.setting]
    mean = float(np.mean(stability(alike)))
    return replace(result, labels=np.zeros(0, np.int16), scores={**result.scores, "stability": mean})


def to_table(results: Sequence[Result]) -> pa.Table:
    """Return results as a table, a row a trial, the labels as bytes."""
    columns: dict[str, list[Any]] = {
        "repeat": [r.trial.repeat for r in results],
        "setting": [list(map(str, r.trial.setting)) for r in results],
        "labels": [r.labels.tobytes() for r in results],
        "sizes": [r.sizes.tolist() for r in results],
        "noise_share": [r.noise_share for r in results],
        "seconds": [r.seconds for r in results],
        **{name: [r.scores[name] for r in results] for name in SCORES},
    }
    return pa.table(columns)


def from_table(table: pa.Table, trials: Sequence[Trial]) -> list[Result]:
    """Return the results of trials that `to_table` kept, in the order of the trials."""
    rows = {(row["repeat"], tuple(row["setting"])): row for row in table.to_pylist()}
    results: list[Result] = []
    for trial in trials:
        row = rows[trial.repeat, tuple(map(str, trial.setting))]
        labels, sizes = np.frombuffer(row["labels"], np.int16), np.array(row["sizes"], np.int64)
        scores = {name: row[name] for name in SCORES}
        results.append(Result(trial, labels, sizes, row["noise_share"], scores, row["seconds"]))
    return results
