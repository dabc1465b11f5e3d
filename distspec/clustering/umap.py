"""UMAP with a shared neighbor graph, deterministic layouts, and the projection of new points.

All embeddings that differ in seed, minimum distance or number of dimensions share one graph, computed from
exact nearest neighbors. An embedding starts from the spectral layout of the graph; its seed determines the
noise that is added and the negative samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from distspec.core.compiled import keep_compiled
from distspec.core.spectrum import Floats, Floats32

MIN_POINTS = 5
"""Number of points below which there is no embedding: the first coordinates are shown instead."""
MIN_POINTS_SPECTRAL_INIT = 21
"""Number of points below which an embedding starts from random positions instead of the spectral layout."""
N_PROJECTION_ITERATIONS = 20
UMAP_A, UMAP_B = 1.577, 0.895
"""Parameters of UMAP's attraction for a minimum distance of 0.1."""


@dataclass(frozen=True)
class UmapParams:
    """Parameters of an embedding of a neighbor graph.

    Attributes
    ----------
    seed : int
        Seed of the initial noise and of the negative samples.
    min_dist : float
        Minimum distance between embedded points.
    n_components : int
        Number of dimensions.
    """

    seed: int
    min_dist: float = 0.1
    n_components: int = 2


@dataclass(frozen=True)
class NeighborGraph:
    """Points and UMAP's fuzzy neighbor graph of them, as plain arrays.

    Attributes
    ----------
    x : ndarray of shape (n_points, n_dims)
        Points.
    n_neighbors : int
        Number of neighbors, the point itself included.
    graph : sparse matrix of shape (n_points, n_points) or None
        Weights of the edges; None below `MIN_POINTS` points.
    init_coords : mapping of int to ndarray of shape (n_points, n_components)
        Spectral layout by number of dimensions; empty if layouts start at random.
    adaptations : list of str
        What was adapted to a small sample.
    """

    x: Floats32
    n_neighbors: int
    graph: Any
    init_coords: Mapping[int, Floats32]
    adaptations: list[str]


def build_neighbor_graph(x: Floats, n_neighbors: int, n_components: tuple[int, ...] = (2,)) -> NeighborGraph:
    """Compute the neighbor graph of points; equal points give equal graphs.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Finite points.
    n_neighbors : int
        Number of neighbors, the point itself included.
    n_components : tuple of int
        Numbers of dimensions that embeddings may have.

    Returns
    -------
    NeighborGraph
    """
    points, n = np.ascontiguousarray(x, dtype=np.float32), len(x)
    if n < MIN_POINTS:
        adaptation = f"{n} spectra are too few for UMAP: the map shows the first two latents"
        return NeighborGraph(points, n, None, {}, [adaptation])
    umap = _import_umap()
    k = min(n_neighbors, n - 1)
    adaptations = (
        [f"UMAP uses {k} neighbors instead of {n_neighbors}: there are {n} spectra"]
        if k < n_neighbors
        else []
    )
    indices, distances = _kneighbors(points, points, k)
    state = np.random.RandomState(0)
    graph: Any = umap.fuzzy_simplicial_set(
        points, k, state, "euclidean", knn_indices=indices, knn_dists=distances, return_dists=False
    )[0]
    init_coords = {
        d: np.asarray(umap.spectral_layout(points, graph, d, state), dtype=np.float32)
        for d in n_components
        if n >= MIN_POINTS_SPECTRAL_INIT
    }
    return NeighborGraph(points, k, graph, init_coords, adaptations)


def compute_umap(neighbor_graph: NeighborGraph, params: UmapParams) -> Floats:
    """Embed the points of a neighbor graph, in one thread; equal arguments give equal bits.

    Parameters
    ----------
    neighbor_graph : NeighborGraph
        Graph to embed.
    params : UmapParams
        Seed, minimum distance and number of dimensions.

    Returns
    -------
    ndarray of shape (n_points, n_components)

    Raises
    ------
    ValueError
        If the graph was not computed for this number of dimensions.
    """
    n, d = len(neighbor_graph.x), params.n_components
    if neighbor_graph.graph is None:  # too few points: the first coordinates, padded with zeros
        first = np.zeros((n, d))
        first[:, : neighbor_graph.x.shape[1]] = neighbor_graph.x[:, :d]
        return first
    if neighbor_graph.init_coords and d not in neighbor_graph.init_coords:
        raise ValueError(
            f"the graph was computed for maps in {sorted(neighbor_graph.init_coords)} dimensions, not in {d}"
        )
    umap = _import_umap()
    state = np.random.RandomState(params.seed)
    init: Any = "random"
    if neighbor_graph.init_coords:
        init = umap.noisy_scale_coords(neighbor_graph.init_coords[d], state, max_coord=10, noise=0.0001)
    a, b = umap.find_ab_params(1.0, params.min_dist)
    coordinates, _ = umap.simplicial_set_embedding(
        neighbor_graph.x,
        neighbor_graph.graph.copy(),
        d,
        1.0,
        a,
        b,
        1.0,
        5,
        None,
        init,
        state,
        "euclidean",
        {},
        False,
        {},
        False,
    )
    return np.asarray(coordinates, dtype=np.float64)


class Neighbors(NamedTuple):
    """Nearest points of a neighbor graph to some other points, in order of distance.

    Attributes
    ----------
    indices : ndarray of int64, shape (n_queries, n_neighbors)
        Row numbers.
    distances : ndarray of shape (n_queries, n_neighbors)
        Distances.
    """

    indices: NDArray[np.int64]
    distances: Floats32


def find_neighbors(neighbor_graph: NeighborGraph, x: Floats) -> Neighbors | None:
    """Return the nearest points of a graph to other points, which are the same for all its embeddings.

    Parameters
    ----------
    neighbor_graph : NeighborGraph
        Graph with the points to search.
    x : ndarray of shape (n_queries, n_dims)
        Other points.

    Returns
    -------
    Neighbors or None
        None if there are too few points for a graph.
    """
    if neighbor_graph.graph is None:
        return None
    return Neighbors(
        *_kneighbors(neighbor_graph.x, np.ascontiguousarray(x, dtype=np.float32), neighbor_graph.n_neighbors)
    )


def project_points(
    neighbor_graph: NeighborGraph, coordinates: Floats, x: Floats, neighbors: Neighbors | None = None
) -> Floats:
    """Project new points onto an embedding.

    A point is placed where Σ w ln(1 + a r²ᵇ) over its neighbors is minimal, with r the distance on the map:
    UMAP's attraction without its repulsion. The minimum is found by iteratively reweighted means. They start
    at the mean of the neighbors, which may lie between classes, and converge to the class of most neighbors.

    Parameters
    ----------
    neighbor_graph : NeighborGraph
        Graph that was embedded.
    coordinates : ndarray of shape (n_points, n_components)
        Its embedding.
    x : ndarray of shape (n_queries, n_dims)
        New points.
    neighbors : Neighbors, optional
        `find_neighbors` of `x`, if known.

    Returns
    -------
    ndarray of shape (n_queries, n_components)
    """
    neighbors = neighbors or find_neighbors(neighbor_graph, x)
    if neighbors is None:
        return compute_umap(
            replace(neighbor_graph, x=np.asarray(x, dtype=np.float32)),
            UmapParams(0, n_components=coordinates.shape[1]),
        )
    indices, distances = neighbors
    beyond = distances.astype(np.float64) - distances[:, :1]
    scale = beyond.mean(axis=1, keepdims=True)
    strength = np.exp(-np.divide(beyond, scale, out=np.zeros_like(beyond), where=scale > 0))
    positions, weight = coordinates[indices], strength
    projected = np.empty((len(x), coordinates.shape[1]))
    for _ in range(1 + N_PROJECTION_ITERATIONS):
        np.einsum("mk,mkd->md", weight / weight.sum(axis=1, keepdims=True), positions, out=projected)
        square = ((positions - projected[:, None]) ** 2).sum(axis=2) + 1e-6
        weight = strength * square ** (UMAP_B - 1.0) / (1.0 + UMAP_A * square**UMAP_B)
    return projected


@cache
def _import_umap() -> Any:
    """Import UMAP, which takes seconds, and let numba keep its functions, whose compilation takes longer."""
    import umap.layouts
    import umap.umap_

    keep_compiled(umap.umap_, umap.layouts)
    return umap.umap_


def _kneighbors(x: Floats32, queries: Floats32, n_neighbors: int) -> tuple[NDArray[np.int64], Floats32]:
    """Return row numbers and distances of the nearest points to queries, by brute force."""
    search: Any = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(x)
    distances, indices = search.kneighbors(queries)
    return indices, distances.astype(np.float32)


@dataclass(frozen=True)
class UmapEmbedding:
    """Embedding of a sample, onto which other points can be projected.

    Attributes
    ----------
    neighbor_graph : NeighborGraph
        Graph of the sample.
    coordinates : ndarray of shape (n_points, n_components)
        Positions of the sample.
    """

    neighbor_graph: NeighborGraph
    coordinates: Floats

    @classmethod
    def from_graph(cls, neighbor_graph: NeighborGraph, params: UmapParams) -> UmapEmbedding:
        """Embed a neighbor graph.

        Parameters
        ----------
        neighbor_graph : NeighborGraph
            Neighbor graph of the points.
        params : UmapParams
            Parameters and seed of the layout.

        Returns
        -------
        UmapEmbedding
        """
        return cls(neighbor_graph, compute_umap(neighbor_graph, params))

    def transform(self, x: Floats, neighbors: Neighbors | None = None) -> Floats:
        """Project points onto the embedding, as `project_points`.

        Parameters
        ----------
        x : ndarray of shape (n_points, n_dimensions)
            Points to project.
        neighbors : Neighbors or None
            Neighbors of the points among those of the graph; by default they are computed.

        Returns
        -------
        ndarray of shape (n_points, n_components)
            Coordinates in the embedding.
        """
        return project_points(self.neighbor_graph, self.coordinates, x, neighbors)
