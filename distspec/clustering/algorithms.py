"""Clustering algorithms behind one function, and models that assign other points to the clusters."""

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
"""Cluster of each point; 0 is the largest, -1 is noise."""
N_NEIGHBORS = 10
"""Number of fitted points whose memberships are averaged for a new point."""
MAX_DISTANCE_FACTOR = 3.0
"""A new point is noise if its neighbors are farther than this multiple of the typical neighbor distance."""
KD_TREE_MAX_DIMS = 6
"""Number of dimensions above which brute force is faster than a k-d tree (nine times for 16,000 points in
16-D)."""
MIN_SAMPLES = 10
"""``min_samples`` of DBSCAN, OPTICS and HDBSCAN."""


class MembershipModel(Protocol):
    """Assigns points to the clusters of a fitted clustering."""

    def predict_proba(self, x: Floats) -> Floats:
        """Return the probability that each point belongs to each cluster.

        Parameters
        ----------
        x : ndarray of shape (n_points, n_dimensions)
            Points.

        Returns
        -------
        ndarray of shape (n_points, n_clusters)
            Membership probabilities; 1 minus a row's sum is the probability of noise.
        """
        ...


@dataclass(frozen=True)
class Clustering:
    """A clustering of points.

    Attributes
    ----------
    labels : ndarray of int32, shape (n_points,)
        Clusters in order of decreasing size; -1 is noise.
    prob : ndarray of shape (n_points, n_clusters)
        Membership probabilities; 0 and 1 if the algorithm has none.
    bic : float
        Bayesian information criterion; NaN if there is no likelihood.
    membership_model : MembershipModel
        Assigns other points.
    """

    labels: Labels
    prob: Floats
    bic: float
    membership_model: MembershipModel


@dataclass(frozen=True)
class KNeighborsMembership:
    """Membership of the nearest fitted points, for algorithms without a model of their own.

    Attributes
    ----------
    points : ndarray of shape (n_points, n_dims)
        Fitted points.
    prob : ndarray of shape (n_points, n_clusters)
        Their memberships.
    max_distance : float
        Distance of the farthest neighbor beyond which a point is noise.
    """

    points: Floats
    prob: Floats
    max_distance: float

    @classmethod
    def from_points(cls, points: Floats, prob: Floats) -> KNeighborsMembership:
        """Build the model; `max_distance` follows from the distances between the fitted points.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_dims)
            Fitted points.
        prob : ndarray of shape (n_points, n_clusters)
            Their membership probabilities.
        """
        n = min(N_NEIGHBORS, len(points) - 1)
        distance = _neighbor_distance(points, n + 1)
        return cls(points, prob, MAX_DISTANCE_FACTOR * float(np.quantile(distance, 0.95)))

    def predict_proba(self, x: Floats) -> Floats:
        """Return the mean membership of each point's neighbors, (n_points, n_clusters).

        Parameters
        ----------
        x : ndarray of shape (n_points, n_dimensions)
            Points.

        Returns
        -------
        ndarray of shape (n_points, n_clusters)
            Membership probabilities.
        """
        distance, index = _kneighbors(self.points, x, min(N_NEIGHBORS, len(self.points)))
        return self.prob[index].mean(axis=1) * (distance[:, -1:] <= self.max_distance)


@dataclass(frozen=True)
class NearestCenterMembership:
    """Membership of the nearest center.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_dims)
        Centers of the clusters.
    """

    centers: Floats

    def predict_proba(self, x: Floats) -> Floats:
        """Return 1 for the nearest center and 0 for the others, (n_points, n_clusters).

        Parameters
        ----------
        x : ndarray of shape (n_points, n_dimensions)
            Points.

        Returns
        -------
        ndarray of shape (n_points, n_clusters)
            Membership probabilities.
        """
        _, nearest = KDTree(self.centers).query(x)
        return np.eye(len(self.centers))[nearest]


def fit_clustering(x: Floats, algorithm_spec: AlgorithmSpec, rng: np.random.Generator) -> Clustering:
    """Cluster points; equal points, parameters and state of `rng` give equal labels.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Finite points.
    algorithm_spec : AlgorithmSpec
        Algorithm and parameters.
    rng : numpy.random.Generator
        Draws the seed.

    Returns
    -------
    Clustering

    Raises
    ------
    ValueError
        If the algorithm is unknown, a point is not finite, or there are fewer points than clusters.
    """
    return fit_clusterings(x, [algorithm_spec], [int(rng.integers(2**31))])[0]


def fit_clusterings(
    x: Floats,
    algorithm_specs: Sequence[AlgorithmSpec],
    seeds: Sequence[int],
    n_init: int = 1,
    device: str = "cpu",
) -> list[Clustering]:
    """Cluster the same points in several ways; Gaussian mixtures are fitted together.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Finite points.
    algorithm_specs : sequence of AlgorithmSpec
        Algorithms and parameters.
    seeds : sequence of int
        Seed of each.
    n_init : int
        Number of initializations of a Gaussian mixture, of which the best is kept.
    device : str
        Torch device on which Gaussian mixtures (``gmm``) are fitted.

    Returns
    -------
    list of Clustering
        In the order of `algorithm_specs`.

    Raises
    ------
    ValueError
        As `fit_clustering`.
    """
    _validate_inputs(x, algorithm_specs)
    mixtures = [i for i, spec in enumerate(algorithm_specs) if spec.algorithm == "gmm"]
    inits = [
        MixtureInit(algorithm_specs[i].k, algorithm_specs[i].variant or "full", seeds[i] * n_init + j)
        for i in mixtures
        for j in range(n_init)
    ]
    fitted = fit_mixtures(x, inits, device=device)
    best = {
        i: min(fitted[j * n_init : (j + 1) * n_init], key=lambda mixture: mixture.bic)
        for j, i in enumerate(mixtures)
    }
    return [
        _clustering_from_mixture(x, best[i], best[i].bic)
        if i in best
        else _FIT_FUNCTIONS[spec.algorithm](x, spec, seeds[i])
        for i, spec in enumerate(algorithm_specs)
    ]


def _validate_inputs(x: Floats, algorithm_specs: Sequence[AlgorithmSpec]) -> None:
    if not np.isfinite(x).all():
        raise ValueError(f"point {int(np.argwhere(~np.isfinite(x))[0][0])} is not finite: leave it out")
    for spec in algorithm_specs:
        if spec.algorithm not in ALGORITHMS:
            raise ValueError(
                f"unknown clustering algorithm {spec.algorithm!r}: choose from {', '.join(ALGORITHMS)}"
            )
        if len(x) < max(spec.k, 2):
            raise ValueError(f"{spec} needs at least {max(spec.k, 2)} points: there are {len(x)}")


def _order_by_size(raw_labels: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Return the clusters 0 to k - 1, largest first."""
    return np.argsort(-np.bincount(raw_labels[raw_labels >= 0], minlength=k), kind="stable")


def _clustering_from_mixture(x: Floats, mixture: GaussianMixture, bic: float) -> Clustering:
    """Build a clustering from a mixture, its components in order of decreasing size."""
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
    """Build a clustering from labels, -1 noise, and the strength of each point's membership."""
    k = int(raw_labels.max(initial=-1)) + 1
    order = _order_by_size(raw_labels, k)
    rank = np.append(np.argsort(order), -1)  # the last entry maps noise, -1, to itself
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
    membership = NearestCenterMembership(np.asarray(model.cluster_centers_, np.float64)[order])
    return Clustering(labels, np.eye(algorithm_spec.k)[labels], float("nan"), membership)


def _fit_dbscan(x: Floats, algorithm_spec: AlgorithmSpec, seed: int) -> Clustering:
    n = min(MIN_SAMPLES, len(x) - 1)
    distance = _neighbor_distance(x, n)
    eps = max(float(np.quantile(distance, algorithm_spec.fraction)), 1e-12)
    return _clustering_from_labels(x, DBSCAN(eps=eps, min_samples=n).fit(x).labels_)


def _neighbor_distance(x: Floats, n_neighbors: int) -> Floats:
    """Return the distance of every point to its n-th nearest point, where the first is the point itself."""
    return _kneighbors(x, x, n_neighbors)[0][:, -1]


def _kneighbors(x: Floats, queries: Floats, n_neighbors: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return distances and row numbers of the points nearest to queries, (n_queries, n_neighbors) each."""
    algorithm = "kd_tree" if x.shape[1] <= KD_TREE_MAX_DIMS else "brute"
    search: Any = NearestNeighbors(n_neighbors=n_neighbors, algorithm=algorithm).fit(x)
    distance, index = search.kneighbors(queries)
    return distance, index


def _min_cluster_size(n_points: int, fraction: float) -> int:
    return int(np.clip(round(fraction * n_points), 2, n_points))


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
    """Return the most probable cluster of each row of memberships; -1 if noise is more probable.

    Parameters
    ----------
    prob : ndarray of shape (n_points, n_clusters)
        Membership probabilities; 1 minus a row's sum is the probability of noise.

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
