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

from distspec.clustering.config import ALGORITHMS, AlgorithmSpec
from distspec.clustering.gaussian_mixture import GaussianMixture, MixtureInit, fit_mixtures
from distspec.core.spectrum import Floats

Labels = NDArray[np.int32]
N_NEIGHBORS = 10
"""Fitted points whose memberships a new point takes the mean of."""
MAX_DISTANCE_FACTOR = 3.0
"""A new point farther from its neighbours than so many times the usual distance belongs nowhere."""
KD_TREE_MAX_DIMS = 6
"""Above so many dimensions a tree is slower than all distances: of 16,000 points in 16-D nine times."""
MIN_SAMPLES = 10
"""Points that make a neighbourhood dense: DBSCAN's, OPTICS's and HDBSCAN's."""


class MembershipModel(Protocol):
    """What a clustering says of any points."""

    def predict_proba(self, x: Floats) -> Floats:
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
    membership_model : Predictor
    """

    labels: Labels
    prob: Floats
    bic: float
    membership_model: MembershipModel


@dataclass(frozen=True)
class KNeighborsMembership:
    """Says of a point what the fitted points around it are, by themselves: for clusters without a model.

    Attributes
    ----------
    points : (N, D)
    prob : (N, K)
    max_distance : float
        Distance beyond which a point is nobody's neighbour.
    """

    points: Floats
    prob: Floats
    max_distance: float

    @classmethod
    def from_points(cls, points: Floats, prob: Floats) -> KNeighborsMembership:
        """Build it; `reach` follows from how far fitted points lie apart."""
        n = min(N_NEIGHBORS, len(points) - 1)
        apart = _neighbor_distance(points, n + 1)
        return cls(points, prob, MAX_DISTANCE_FACTOR * float(np.quantile(apart, 0.95)))

    def predict_proba(self, x: Floats) -> Floats:
        """Return the mean membership of a point's neighbours, (M, K)."""
        distance, index = _kneighbors(self.points, x, min(N_NEIGHBORS, len(self.points)))
        return self.prob[index].mean(axis=1) * (distance[:, -1:] <= self.max_distance)


@dataclass(frozen=True)
class NearestCenterMembership:
    """Says of a point which centre, (K, D), is its nearest."""

    centers: Floats

    def predict_proba(self, x: Floats) -> Floats:
        """Return 1 for the nearest centre and 0 for the others, (N, K)."""
        _, nearest = KDTree(self.centers).query(x)
        return np.eye(len(self.centers))[nearest]


def fit_clustering(x: Floats, algorithm_spec: AlgorithmSpec, rng: np.random.Generator) -> Clustering:
    """Cluster points; the same points, setting and state of `rng` give the same labels.

    Parameters
    ----------
    x : (N, D)
    algorithm_spec : Setting
    rng : numpy Generator

    Raises
    ------
    ValueError
        When there is no such algorithm, a number is not finite, or there are fewer points than clusters.
    """
    return fit_clusterings(x, [algorithm_spec], [int(rng.integers(2**31))])[0]


def fit_clusterings(
    x: Floats,
    algorithm_specs: Sequence[AlgorithmSpec],
    seeds: Sequence[int],
    n_init: int = 1,
    device: str = "cpu",
) -> list[Clustering]:
    """Cluster the same points in many ways, mixtures all at once.

    Parameters
    ----------
    x : (N, D)
    algorithm_specs : sequence of Setting
    seeds : sequence of int
        One a setting.
    n_init : int
        A mixture is begun so often, and the likeliest kept.
    device : str
        Where `gmm` computes, as torch names it.

    Raises
    ------
    ValueError
        As `fit`.
    """
    _validate_inputs(x, algorithm_specs)
    mixtures = [i for i, each in enumerate(algorithm_specs) if each.algorithm == "gmm"]
    begun = [
        MixtureInit(algorithm_specs[i].k, algorithm_specs[i].variant or "full", seeds[i] * n_init + j)
        for i in mixtures
        for j in range(n_init)
    ]
    fitted = fit_mixtures(x, begun, device=device)
    best = {
        i: min(fitted[j * n_init : (j + 1) * n_init], key=lambda mixture: mixture.bic)
        for j, i in enumerate(mixtures)
    }
    return [
        _clustering_from_mixture(x, best[i], best[i].bic)
        if i in best
        else _FIT_FUNCTIONS[each.algorithm](x, each, seeds[i])
        for i, each in enumerate(algorithm_specs)
    ]


def _validate_inputs(x: Floats, algorithm_specs: Sequence[AlgorithmSpec]) -> None:
    if not np.isfinite(x).all():
        raise ValueError(f"point {int(np.argwhere(~np.isfinite(x))[0][0])} is not finite: leave it out")
    for each in algorithm_specs:
        if each.algorithm not in ALGORITHMS:
            raise ValueError(f"no clustering algorithm {each.algorithm!r}: there are {', '.join(ALGORITHMS)}")
        if len(x) < max(each.k, 2):
            raise ValueError(f"{each} of {len(x)} points: give at least {max(each.k, 2)}")


def _order_by_size(raw_labels: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Return clusters 0 … k − 1, largest first, by labels in which −1 is noise."""
    return np.argsort(-np.bincount(raw_labels[raw_labels >= 0], minlength=k), kind="stable")


def _clustering_from_mixture(x: Floats, mixture: GaussianMixture, bic: float) -> Clustering:
    prob = mixture.predict_proba(x)
    order = _order_by_size(prob.argmax(axis=1), prob.shape[1])
    mixture = replace(
        mixture,
        weights=mixture.weights[order],
        means=mixture.means[order],
        covariances=mixture.covariances[order],
    )
    prob = prob[:, order]
    return Clustering(prob.argmax(axis=1).astype(np.int32), prob, bic, mixture)


def _clustering_from_labels(
    x: Floats, raw_labels: NDArray[Any], membership_strength: Floats | None = None
) -> Clustering:
    """Return the clustering of labels, −1 noise, with each point's strength of membership."""
    k = int(raw_labels.max(initial=-1)) + 1
    order = _order_by_size(raw_labels, k)
    rank = np.append(np.argsort(order), -1)  # the last is noise's
    labels = rank[raw_labels].astype(np.int32)
    member = np.eye(k + 1)[labels][:, :k]
    prob = member if membership_strength is None else member * membership_strength[:, None]
    return Clustering(labels, prob, float("nan"), KNeighborsMembership.from_points(x, member))


def _fit_bayesian_mixture(x: Floats, algorithm_spec: AlgorithmSpec, seed: int) -> Clustering:
    model: Any = BayesianGaussianMixture(
        n_components=algorithm_spec.k, random_state=seed, max_iter=300, reg_covar=1e-6
    ).fit(x)
    used = np.bincount(model.predict(x), minlength=algorithm_spec.k) > 0
    weights = model.weights_[used] / model.weights_[used].sum()
    bound = float(model.lower_bound_)
    mixture = GaussianMixture(
        weights, model.means_[used], model.covariances_[used], bound, float("nan"), int(model.n_iter_), True
    )
    return _clustering_from_mixture(x, mixture, float("nan"))


def _fit_kmeans(x: Floats, algorithm_spec: AlgorithmSpec, seed: int) -> Clustering:
    algorithm: Any = KMeans
    model = algorithm(algorithm_spec.k, n_init=1, random_state=seed).fit(x)
    order = _order_by_size(model.labels_, algorithm_spec.k)
    labels = np.argsort(order)[model.labels_].astype(np.int32)
    centres = NearestCenterMembership(np.asarray(model.cluster_centers_, np.float64)[order])
    return Clustering(labels, np.eye(algorithm_spec.k)[labels], float("nan"), centres)


def _fit_dbscan(x: Floats, algorithm_spec: AlgorithmSpec, seed: int) -> Clustering:
    n = min(MIN_SAMPLES, len(x) - 1)
    apart = _neighbor_distance(x, n)
    eps = max(float(np.quantile(apart, algorithm_spec.fraction)), 1e-12)
    return _clustering_from_labels(x, DBSCAN(eps=eps, min_samples=n).fit(x).labels_)


def _neighbor_distance(x: Floats, n_neighbors: int) -> Floats:
    """Return the distance of every point to its n-th nearest, itself the first."""
    return _kneighbors(x, x, n_neighbors)[0][:, -1]


def _kneighbors(x: Floats, queries: Floats, n_neighbors: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return how far the k nearest of points, (N, D), are from others, (M, D), and which they are, (M, k)."""
    algorithm = "kd_tree" if x.shape[1] <= KD_TREE_MAX_DIMS else "brute"
    search: Any = NearestNeighbors(n_neighbors=n_neighbors, algorithm=algorithm).fit(x)
    distance, index = search.kneighbors(queries)
    return distance, index


def _min_cluster_size(n: int, share: float) -> int:
    return int(np.clip(round(share * n), 2, n))


def _fit_hdbscan(x: Floats, algorithm_spec: AlgorithmSpec, seed: int) -> Clustering:
    algorithm: Any = HDBSCAN
    model = algorithm(
        min_cluster_size=_min_cluster_size(len(x), algorithm_spec.fraction),
        min_samples=min(MIN_SAMPLES, len(x) - 1),
        copy=True,
    )
    model.fit(x)
    return _clustering_from_labels(x, np.maximum(model.labels_, -1), np.nan_to_num(model.probabilities_))


def _fit_optics(x: Floats, algorithm_spec: AlgorithmSpec, seed: int) -> Clustering:
    model: Any = OPTICS(
        min_samples=min(MIN_SAMPLES, len(x) - 1),
        min_cluster_size=_min_cluster_size(len(x), algorithm_spec.fraction),
    )
    return _clustering_from_labels(x, model.fit(x).labels_)


def _fit_hierarchy(x: Floats, algorithm_spec: AlgorithmSpec, seed: int) -> Clustering:
    tree = linkage(x, algorithm_spec.variant or "ward")
    return _clustering_from_labels(x, fcluster(tree, algorithm_spec.k, "maxclust") - 1)


_FIT_FUNCTIONS: Mapping[str, Callable[[Floats, AlgorithmSpec, int], Clustering]] = {
    "bgmm": _fit_bayesian_mixture,
    "kmeans": _fit_kmeans,
    "dbscan": _fit_dbscan,
    "optics": _fit_optics,
    "hdbscan": _fit_hdbscan,
    "hierarchy": _fit_hierarchy,
}


def labels_from_prob(prob: Floats) -> Labels:
    """Return the likeliest cluster of each row of a posterior, (N, K); −1 where noise is likelier.

    Examples
    --------
    >>> labels_from_prob(np.array([[0.2, 0.7], [0.3, 0.2]]))
    array([ 1, -1], dtype=int32)
    """
    if not prob.shape[1]:
        return np.full(len(prob), -1, np.int32)
    best = prob.argmax(axis=1)
    noise = 1.0 - prob.sum(axis=1)
    return np.where(prob[np.arange(len(prob)), best] > noise, best, -1).astype(np.int32)


def single_class_prob(n: int) -> Floats:
    """Return the memberships, (n, 1), of a sample too small to divide."""
    return np.ones((n, 1))
