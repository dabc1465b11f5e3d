"""Clustering: the map, one `fit` for every algorithm, the scores of a trial, and which trial is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import davies_bouldin_score, silhouette_score
from sklearn.mixture import GaussianMixture

from distspec.spectrum import Floats, Floats32

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class ClusteringConfig:
    """The map and the sweep over it."""

    n_neighbors: int = 15
    """UMAP's neighbourhood."""
    min_dist: float = 0.1
    """UMAP's least distance between points on the map."""
    k_min: int = 5
    """Fewest Gaussians tried."""
    k_max: int = 15
    """Most Gaussians tried."""
    seeds: int = 100
    """Fits of each number of Gaussians."""
    silhouette_sample: int = 10_000
    """Above so many spectra the silhouette is taken on a random sample of this size."""
    measures: tuple[str, ...] = ()
    """What is measured on the spectra themselves and counts beside the latents, such as lya_ew."""
    actors: int = 0
    """Ray actors that share the sweep; 0: one a CPU."""

    def __post_init__(self) -> None:
        if not 2 <= self.k_min <= self.k_max:
            raise ValueError(f"clustering.k_min {self.k_min} and k_max {self.k_max}: need 2 ≤ k_min ≤ k_max")
        if self.min_dist < 0 or self.silhouette_sample < 2 or self.actors < 0:
            raise ValueError(
                "clustering.min_dist and actors must not be negative, clustering.silhouette_sample at least 2"
            )
        if self.n_neighbors < 2 or self.seeds < 1:
            raise ValueError("clustering.n_neighbors must be at least 2 and clustering.seeds at least 1")


class Trial(NamedTuple):
    """One fit of the sweep."""

    algorithm: str
    k: int
    seed: int


@dataclass(frozen=True)
class Clustering:
    """Labels of a sample.

    labels : (N,) int32
        0 is the largest class, then in order of size; -1 is noise.
    prob : (N, K) float64
        Membership probabilities, columns in the order of the labels.
    bic : float
    """

    labels: Labels
    prob: Floats
    bic: float


def plan_trials(config: ClusteringConfig, n: int, seed: int) -> tuple[list[Trial], list[str]]:
    """Return the trials for a sample of `n`, and in words what was adapted to a small one.

    Examples
    --------
    >>> trials, adapted = plan_trials(ClusteringConfig(seeds=1), 9, 0)
    >>> [trial.k for trial in trials], adapted
    ([5, 6, 7, 8], ['k tried up to 8 instead of 15: a silhouette needs fewer classes than the 9 spectra'])
    """
    adapted: list[str] = []
    k_max = min(config.k_max, n - 1)
    k_min = min(config.k_min, max(2, k_max))
    if k_max < config.k_max:
        adapted.append(
            f"k tried up to {max(k_max, 1)} instead of {config.k_max}: "
            f"a silhouette needs fewer classes than the {n} spectra"
        )
    trials = [
        Trial("gmm", k, seed * config.seeds + i) for k in range(k_min, k_max + 1) for i in range(config.seeds)
    ]
    return trials, adapted


def features(latents: Floats32, beside: Floats) -> Floats:
    """Return what is mapped, (N, D + M): latents (N, D), and other inputs (N, M) as wide as the widest.

    Examples
    --------
    >>> features(np.array([[0, 1], [0, 3]], np.float32), np.array([[0.0], [8.0]]))
    array([[0., 1., 0.],
           [0., 3., 2.]])
    """
    latents_64 = latents.astype(np.float64)
    spread = np.std(beside, axis=0)
    scale = np.divide(latents_64.std(axis=0).max(), spread, out=np.zeros_like(spread), where=spread > 0)
    return np.hstack([latents_64, beside * scale])


def umap_2d(latents: Floats, config: ClusteringConfig, seed: int) -> tuple[Floats, list[str]]:
    """Return the map, (N, 2), of latents, (N, D), and in words what was adapted to a small sample.

    One thread and a fixed seed, so that the same latents give the same map.
    """
    n = len(latents)
    if n < 5:  # too few for any neighbourhood: the two leading latents, padded
        flat = np.zeros((n, 2))
        flat[:, : min(2, latents.shape[1])] = latents[:, :2]
        return flat, [f"no UMAP of {n} spectra: the map shows the first two latents"]
    from umap import UMAP  # 13 s the first time it is imported: only where it is needed

    neighbors = min(config.n_neighbors, n - 1)
    adapted = (
        [f"UMAP looks at {neighbors} neighbours instead of {config.n_neighbors}: {n} spectra"]
        if neighbors < config.n_neighbors
        else []
    )
    # Spectral layouts need more points than a handful; random ones do not.
    init = "spectral" if n > 20 else "random"
    umap: Any = UMAP(
        n_components=2,
        n_neighbors=neighbors,
        min_dist=config.min_dist,
        init=init,
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(umap.fit_transform(latents), dtype=np.float64), adapted


def fit(x: Floats, trial: Trial) -> Clustering:
    """Cluster points, (N, D), as a trial says; the same trial gives the same labels.

    Raises
    ------
    ValueError
        When the trial names an algorithm there is not.
    """
    if trial.algorithm != "gmm":
        raise ValueError(f"no clustering algorithm {trial.algorithm!r}: use 'gmm'")
    mixture: Any = GaussianMixture(trial.k, random_state=trial.seed).fit(x)
    prob = np.asarray(mixture.predict_proba(x))
    raw = prob.argmax(axis=1)
    order = np.argsort(-np.bincount(raw, minlength=trial.k), kind="stable")
    rank = np.empty(trial.k, np.int32)
    rank[order] = np.arange(trial.k)
    return Clustering(rank[raw], prob[:, order], float(mixture.bic(x)))


def single_class(n: int) -> Clustering:
    """Return the clustering of a sample too small to divide."""
    return Clustering(np.zeros(n, np.int32), np.ones((n, 1)), float("nan"))


def score(x: Floats, clustering: Clustering, sample: int) -> dict[str, float]:
    """Return silhouette and Davies–Bouldin index of labels over points, (N, D).

    NaN where they are not defined: one class, or as many as points.
    """
    n_classes = len(np.unique(clustering.labels))
    if not 2 <= n_classes < len(x):
        return {"silhouette": float("nan"), "davies_bouldin": float("nan")}
    size = sample if len(x) > sample else None
    return {
        "silhouette": float(silhouette_score(x, clustering.labels, sample_size=size, random_state=0)),
        "davies_bouldin": float(davies_bouldin_score(x, clustering.labels)),
    }


def choose(silhouettes: Sequence[float]) -> int | None:
    """Return the index of the trial with the best silhouette (the paper's rule), the first of equals.

    Examples
    --------
    >>> choose([0.3, float("nan"), 0.5, 0.5])
    2
    """
    values = np.array(silhouettes, dtype=np.float64)
    return None if not np.isfinite(values).any() else int(np.nanargmax(values))
