"""Clustering of points: every algorithm behind one `fit`, and what a clustering says of other points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial import KDTree
from sklearn.cluster import DBSCAN, HDBSCAN, OPTICS, KMeans
from sklearn.mixture import BayesianGaussianMixture
from sklearn.neighbors import NearestNeighbors

from distspec.clustering.config import ALGORITHMS, Setting
from distspec.clustering.gaussian_mixture import Mixture, Start, fit_mixtures
from distspec.core.spectrum import Floats

Labels = NDArray[np.int32]
N_VOTES = 10
"""Fitted points whose memberships a new point takes the mean of."""
EDGE = 3.0
"""A new point farther from its neighbours than so many times the usual distance belongs nowhere."""
TREE_DIMS = 6
"""Above so many dimensions a tree is slower than all distances: of 16,000 points in 16-D nine times."""
MIN_SAMPLES = 10
"""Points that make a neighbourhood dense: DBSCAN's, OPTICS's and HDBSCAN's."""


class Predictor(Protocol):
    """What a clustering says of any points."""

    def posterior(self, x: Floats) -> Floats:
        """Return probabilities of each cluster, (N, K); what a row lacks to 1 is noise."""
        ...


@dataclass(frozen=True)
class Clustering:
    """A clustering of N points.

    Attributes
    ----------
    labels : (N,) int32
        0 is the largest cluster, then in order of size; -1 is noise.
    prob : (N, K)
        Membership probabilities, columns in the order of the labels; 0 and 1 where the algorithm has none.
    bic : float
        Bayesian information criterion; NaN where there is no likelihood.
    predictor : Predictor
    """

    labels: Labels
    prob: Floats
    bic: float
    predictor: Predictor


@dataclass(frozen=True)
class Neighbours:
    """Says of a point what the fitted points around it are, by themselves: for clusters without a model.

    Attributes
    ----------
    points : (N, D)
    prob : (N, K)
    reach : float
        Distance beyond which a point is nobody's neighbour.
    """

    points: Floats
    prob: Floats
    reach: float

    @classmethod
    def of(cls, points: Floats, prob: Floats) -> Neighbours:
        """Build it; `reach` follows from how far fitted points lie apart."""
        n = min(N_VOTES, len(points) - 1)
        apart = _to_neighbour(points, n + 1)
        return cls(points, prob, EDGE * float(np.quantile(apart, 0.95)))

    def posterior(self, x: Floats) -> Floats:
        """Return the mean membership of a point's neighbours, (M, K)."""
        distance, index = _nearest(self.points, x, min(N_VOTES, len(self.points)))
        return self.prob[index].mean(axis=1) * (distance[:, -1:] <= self.reach)


@dataclass(frozen=True)
class Centres:
    """Says of a point which centre, (K, D), is its nearest."""

    centres: Floats

    def posterior(self, x: Floats) -> Floats:
        """Return 1 for the nearest centre and 0 for the others, (N, K)."""
        _, nearest = KDTree(self.centres).query(x)
        return np.eye(len(self.centres))[nearest]


def fit(x: Floats, setting: Setting, rng: np.random.Generator) -> Clustering:
    """Cluster points; the same points, setting and state of `rng` give the same labels.

    Parameters
    ----------
    x : (N, D)
    setting : Setting
    rng : numpy Generator

    Raises
    ------
    ValueError
        When there is no such algorithm, a number is not finite, or there are fewer points than clusters.
    """
    return fit_all(x, [setting], [int(rng.integers(2**31))])[0]


def fit_all(
    x: Floats, settings: Sequence[Setting], seeds: Sequence[int], starts: int = 1, device: str = "cpu"
) -> list[Clustering]:
    """Cluster the same points in many ways, mixtures all at once.

    Parameters
    ----------
    x : (N, D)
    settings : sequence of Setting
    seeds : sequence of int
        One a setting.
    starts : int
        A mixture is begun so often, and the likeliest kept.
    device : str
        Where `gmm` computes, as torch names it.

    Raises
    ------
    ValueError
        As `fit`.
    """
    _check(x, settings)
    mixtures = [i for i, each in enumerate(settings) if each.algorithm == "gmm"]
    begun = [
        Start(settings[i].k, settings[i].variant or "full", seeds[i] * starts + j)
        for i in mixtures
        for j in range(starts)
    ]
    fitted = fit_mixtures(x, begun, device=device)
    best = {
        i: min(fitted[j * starts : (j + 1) * starts], key=lambda mixture: mixture.bic)
        for j, i in enumerate(mixtures)
    }
    return [
        _of_model(x, best[i], best[i].bic) if i in best else _ALGORITHMS[each.algorithm](x, each, seeds[i])
        for i, each in enumerate(settings)
    ]


def _check(x: Floats, settings: Sequence[Setting]) -> None:
    if not np.isfinite(x).all():
        raise ValueError(f"point {int(np.argwhere(~np.isfinite(x))[0][0])} is not finite: leave it out")
    for each in settings:
        if each.algorithm not in ALGORITHMS:
            raise ValueError(f"no clustering algorithm {each.algorithm!r}: there are {', '.join(ALGORITHMS)}")
        if len(x) < max(each.k, 2):
            raise ValueError(f"{each} of {len(x)} points: give at least {max(each.k, 2)}")


def _ordered(raw: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Return clusters 0 … k − 1, largest first, by labels in which −1 is noise."""
    return np.argsort(-np.bincount(raw[raw >= 0], minlength=k), kind="stable")


def _of_model(x: Floats, mixture: Mixture, bic: float) -> Clustering:
    prob = mixture.posterior(x)
    order = _ordered(prob.argmax(axis=1), prob.shape[1])
    mixture = replace(
        mixture,
        weights=mixture.weights[order],
        means=mixture.means[order],
        covariances=mixture.covariances[order],
    )
    prob = prob[:, order]
    return Clustering(prob.argmax(axis=1).astype(np.int32), prob, bic, mixture)


def _of_labels(x: Floats, raw: NDArray[Any], strength: Floats | None = None) -> Clustering:
    """Return the clustering of labels, −1 noise, with each point's strength of membership."""
    k = int(raw.max(initial=-1)) + 1
    order = _ordered(raw, k)
    rank = np.append(np.argsort(order), -1)  # the last is noise's
    labels = rank[raw].astype(np.int32)
    member = np.eye(k + 1)[labels][:, :k]
    prob = member if strength is None else member * strength[:, None]
    return Clustering(labels, prob, float("nan"), Neighbours.of(x, member))


def _bayesian(x: Floats, setting: Setting, seed: int) -> Clustering:
    model: Any = BayesianGaussianMixture(
        n_components=setting.k, random_state=seed, max_iter=300, reg_covar=1e-6
    ).fit(x)
    used = np.bincount(model.predict(x), minlength=setting.k) > 0
    weights = model.weights_[used] / model.weights_[used].sum()
    bound = float(model.lower_bound_)
    mixture = Mixture(
        weights, model.means_[used], model.covariances_[used], bound, float("nan"), int(model.n_iter_), True
    )
    return _of_model(x, mixture, float("nan"))


def _k_means(x: Floats, setting: Setting, seed: int) -> Clustering:
    algorithm: Any = KMeans
    model = algorithm(setting.k, n_init=1, random_state=seed).fit(x)
    order = _ordered(model.labels_, setting.k)
    labels = np.argsort(order)[model.labels_].astype(np.int32)
    centres = Centres(np.asarray(model.cluster_centers_, np.float64)[order])
    return Clustering(labels, np.eye(setting.k)[labels], float("nan"), centres)


def _dbscan(x: Floats, setting: Setting, seed: int) -> Clustering:
    n = min(MIN_SAMPLES, len(x) - 1)
    apart = _to_neighbour(x, n)
    eps = max(float(np.quantile(apart, setting.scale)), 1e-12)
    return _of_labels(x, DBSCAN(eps=eps, min_samples=n).fit(x).labels_)


def _to_neighbour(x: Floats, n: int) -> Floats:
    """Return the distance of every point to its n-th nearest, itself the first."""
    return _nearest(x, x, n)[0][:, -1]


def _nearest(x: Floats, of: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return how far the k nearest of points, (N, D), are from others, (M, D), and which they are, (M, k)."""
    algorithm = "kd_tree" if x.shape[1] <= TREE_DIMS else "brute"
    search: Any = NearestNeighbors(n_neighbors=k, algorithm=algorithm).fit(x)
    distance, index = search.kneighbors(of)
    return distance, index


def _least(n: int, share: float) -> int:
    return int(np.clip(round(share * n), 2, n))


def _hdbscan(x: Floats, setting: Setting, seed: int) -> Clustering:
    algorithm: Any = HDBSCAN
    model = algorithm(
        min_cluster_size=_least(len(x), setting.scale), min_samples=min(MIN_SAMPLES, len(x) - 1), copy=True
    )
    model.fit(x)
    return _of_labels(x, np.maximum(model.labels_, -1), np.nan_to_num(model.probabilities_))


def _optics(x: Floats, setting: Setting, seed: int) -> Clustering:
    model: Any = OPTICS(
        min_samples=min(MIN_SAMPLES, len(x) - 1), min_cluster_size=_least(len(x), setting.scale)
    )
    return _of_labels(x, model.fit(x).labels_)


def _hierarchy(x: Floats, setting: Setting, seed: int) -> Clustering:
    tree = linkage(x, setting.variant or "ward")
    return _of_labels(x, fcluster(tree, setting.k, "maxclust") - 1)


_ALGORITHMS: Mapping[str, Callable[[Floats, Setting, int], Clustering]] = {
    "bgmm": _bayesian,
    "kmeans": _k_means,
    "dbscan": _dbscan,
    "optics": _optics,
    "hdbscan": _hdbscan,
    "hierarchy": _hierarchy,
}


def labels_of(prob: Floats) -> Labels:
    """Return the likeliest cluster of each row of a posterior, (N, K); −1 where noise is likelier.

    Examples
    --------
    >>> labels_of(np.array([[0.2, 0.7], [0.3, 0.2]]))
    array([ 1, -1], dtype=int32)
    """
    if not prob.shape[1]:
        return np.full(len(prob), -1, np.int32)
    best = prob.argmax(axis=1)
    noise = 1.0 - prob.sum(axis=1)
    return np.where(prob[np.arange(len(prob)), best] > noise, best, -1).astype(np.int32)


def single_class(n: int) -> Floats:
    """Return the memberships, (n, 1), of a sample too small to divide."""
    return np.ones((n, 1))
