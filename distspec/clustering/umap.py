"""UMAP's graph, once for all layouts that differ in seed, distance or dimensions; placing new points on them.

The graph comes from exact neighbours, and a layout from the graph's spectrum, the same for all seeds: a seed
decides on the noise that is added to it and on which points push each other away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from distspec.core.spectrum import Floats, Floats32

MIN_POINTS = 5
"""Points that have a neighbourhood worth the name."""
MIN_POINTS_SPECTRAL_INIT = 21
"""Points whose graph has a spectrum to lay them out by; fewer are strewn at random."""
N_PROJECTION_ITERATIONS = 20
UMAP_A, UMAP_B = 1.577, 0.895
"""UMAP's attraction on a map of `min_dist` 0.1."""


@dataclass(frozen=True)
class UmapParams:
    """One map of a neighbourhood."""

    seed: int
    min_dist: float = 0.1
    """Least distance between points on the map."""
    n_components: int = 2
    """Dimensions of the map."""


@dataclass(frozen=True)
class NeighborGraph:
    """Points and UMAP's graph of them: plain arrays that travel, from which maps are laid out.

    x : (N, D)
    n_neighbors : int
        Each point itself among them.
    graph : sparse (N, N), or None below `LEAST` points
    init_coords : mapping of n_components to (N, n_components)
        Where layouts begin; empty where they begin at random.
    adaptations : list of str
        In words, what was adapted to a small sample.
    """

    x: Floats32
    n_neighbors: int
    graph: Any
    init_coords: Mapping[int, Floats32]
    adaptations: list[str]


def build_neighbor_graph(x: Floats, n_neighbors: int, n_components: tuple[int, ...] = (2,)) -> NeighborGraph:
    """Return the graph of finite points, (N, D), to be laid out in so many dimensions each.

    The same points give the same graph.
    """
    points, n = np.ascontiguousarray(x, dtype=np.float32), len(x)
    if n < MIN_POINTS:
        words = f"no UMAP of {n} spectra: the map shows the first two latents"
        return NeighborGraph(points, n, None, {}, [words])
    from umap.umap_ import fuzzy_simplicial_set, spectral_layout  # 13 s the first time it is imported

    k = min(n_neighbors, n - 1)
    adapted = (
        [f"UMAP looks at {k} neighbours instead of {n_neighbors}: {n} spectra"] if k < n_neighbors else []
    )
    indices, distances = _kneighbors(points, points, k)
    state = np.random.RandomState(0)
    graph: Any = fuzzy_simplicial_set(
        points, k, state, "euclidean", knn_indices=indices, knn_dists=distances, return_dists=False
    )[0]
    first = {
        d: np.asarray(spectral_layout(points, graph, d, state), dtype=np.float32)
        for d in n_components
        if n >= MIN_POINTS_SPECTRAL_INIT
    }
    return NeighborGraph(points, k, graph, first, adapted)


def compute_umap(neighbor_graph: NeighborGraph, params: UmapParams) -> Floats:
    """Return a map, (N, n_components): one thread, and the same bits for the same neighbourhood and layout.

    Raises
    ------
    ValueError
        When the neighbourhood was not made for so many dimensions.
    """
    n, d = len(neighbor_graph.x), params.n_components
    if neighbor_graph.graph is None:  # too few for any neighbourhood: the leading latents, padded
        flat = np.zeros((n, d))
        flat[:, : neighbor_graph.x.shape[1]] = neighbor_graph.x[:, :d]
        return flat
    if neighbor_graph.init_coords and d not in neighbor_graph.init_coords:
        raise ValueError(
            f"a neighbourhood for maps in {sorted(neighbor_graph.init_coords)} dimensions: not in {d}"
        )
    from umap.umap_ import find_ab_params, noisy_scale_coords, simplicial_set_embedding

    state = np.random.RandomState(params.seed)
    init: Any = "random"
    if neighbor_graph.init_coords:
        init = noisy_scale_coords(neighbor_graph.init_coords[d], state, max_coord=10, noise=0.0001)
    a, b = find_ab_params(1.0, params.min_dist)
    found, _ = simplicial_set_embedding(
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
    return np.asarray(found, dtype=np.float64)


class Neighbors(NamedTuple):
    """Which of a neighbourhood's points are nearest to others, (M, k), nearest first, and how far."""

    indices: NDArray[np.int64]
    distances: Floats32


def find_neighbors(neighbor_graph: NeighborGraph, x: Floats) -> Neighbors | None:
    """Return what points, (M, D), see of a neighbourhood: the same for all of its maps. None: it has none."""
    if neighbor_graph.graph is None:
        return None
    return Neighbors(
        *_kneighbors(neighbor_graph.x, np.ascontiguousarray(x, dtype=np.float32), neighbor_graph.n_neighbors)
    )


def project_points(
    neighbor_graph: NeighborGraph, coordinates: Floats, x: Floats, neighbors: Neighbors | None = None
) -> Floats:
    """Return where points, (M, D), lie on a map, (N, d), of others: where their neighbours pull them.

    The place of least Σ w ln(1 + a r²ᵇ), r the distances on the map to the neighbours: what UMAP pulls by,
    without what it pushes by. Starting from the neighbours' mean, which falls between classes, a few
    reweighted means come down in the class that most neighbours are in.

    Parameters
    ----------
    neighbor_graph : Neighbourhood
        What was laid out.
    coordinates : (N, d)
    x : (M, D)
    neighbors : Seen or None
        `find_neighbors`, where it is known already.
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
    places, weight = coordinates[indices], strength
    found = np.empty((len(x), coordinates.shape[1]))
    for _ in range(1 + N_PROJECTION_ITERATIONS):
        np.einsum("mk,mkd->md", weight / weight.sum(axis=1, keepdims=True), places, out=found)
        square = ((places - found[:, None]) ** 2).sum(axis=2) + 1e-6
        weight = strength * square ** (UMAP_B - 1.0) / (1.0 + UMAP_A * square**UMAP_B)
    return found


def _kneighbors(x: Floats32, queries: Floats32, n_neighbors: int) -> tuple[NDArray[np.int64], Floats32]:
    """Return which of points, (N, D), are the k nearest of others, (M, D), nearest first, and how far."""
    search: Any = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(x)
    distances, indices = search.kneighbors(queries)
    return indices, distances.astype(np.float32)


@dataclass(frozen=True)
class UmapEmbedding:
    """A map of a sample, and where other points would lie on it.

    coordinates : (N, n_components)
    """

    neighbor_graph: NeighborGraph
    coordinates: Floats

    @classmethod
    def from_graph(cls, neighbor_graph: NeighborGraph, params: UmapParams) -> UmapEmbedding:
        """Lay it out."""
        return cls(neighbor_graph, compute_umap(neighbor_graph, params))

    def transform(self, x: Floats, neighbors: Neighbors | None = None) -> Floats:
        """Return where points, (M, D), lie, (M, n_components): see `place`."""
        return project_points(self.neighbor_graph, self.coordinates, x, neighbors)
