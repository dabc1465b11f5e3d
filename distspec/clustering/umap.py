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

LEAST = 5
"""Points that have a neighbourhood worth the name."""
LEAST_SPECTRAL = 21
"""Points whose graph has a spectrum to lay them out by; fewer are strewn at random."""
PULLS = 20
PULL_A, PULL_B = 1.577, 0.895
"""UMAP's attraction on a map of `min_dist` 0.1."""


@dataclass(frozen=True)
class Layout:
    """One map of a neighbourhood."""

    seed: int
    min_dist: float = 0.1
    """Least distance between points on the map."""
    n_components: int = 2
    """Dimensions of the map."""


@dataclass(frozen=True)
class Neighbourhood:
    """Points and UMAP's graph of them: plain arrays that travel, from which maps are laid out.

    x : (N, D)
    n_neighbors : int
        Each point itself among them.
    graph : sparse (N, N), or None below `LEAST` points
    first : mapping of n_components to (N, n_components)
        Where layouts begin; empty where they begin at random.
    adapted : list of str
        In words, what was adapted to a small sample.
    """

    x: Floats32
    n_neighbors: int
    graph: Any
    first: Mapping[int, Floats32]
    adapted: list[str]


def neighbourhood(x: Floats, n_neighbors: int, n_components: tuple[int, ...] = (2,)) -> Neighbourhood:
    """Return the graph of finite points, (N, D), to be laid out in so many dimensions each.

    The same points give the same graph.
    """
    points, n = np.ascontiguousarray(x, dtype=np.float32), len(x)
    if n < LEAST:
        words = f"no UMAP of {n} spectra: the map shows the first two latents"
        return Neighbourhood(points, n, None, {}, [words])
    from umap.umap_ import fuzzy_simplicial_set, spectral_layout  # 13 s the first time it is imported

    k = min(n_neighbors, n - 1)
    adapted = (
        [f"UMAP looks at {k} neighbours instead of {n_neighbors}: {n} spectra"] if k < n_neighbors else []
    )
    indices, distances = _nearest(points, points, k)
    state = np.random.RandomState(0)
    graph: Any = fuzzy_simplicial_set(
        points, k, state, "euclidean", knn_indices=indices, knn_dists=distances, return_dists=False
    )[0]
    first = {
        d: np.asarray(spectral_layout(points, graph, d, state), dtype=np.float32)
        for d in n_components
        if n >= LEAST_SPECTRAL
    }
    return Neighbourhood(points, k, graph, first, adapted)


def lay_out(near: Neighbourhood, layout: Layout) -> Floats:
    """Return a map, (N, n_components): one thread, and the same bits for the same neighbourhood and layout.

    Raises
    ------
    ValueError
        When the neighbourhood was not made for so many dimensions.
    """
    n, d = len(near.x), layout.n_components
    if near.graph is None:  # too few for any neighbourhood: the leading latents, padded
        flat = np.zeros((n, d))
        flat[:, : near.x.shape[1]] = near.x[:, :d]
        return flat
    if near.first and d not in near.first:
        raise ValueError(f"a neighbourhood for maps in {sorted(near.first)} dimensions: not in {d}")
    from umap.umap_ import find_ab_params, noisy_scale_coords, simplicial_set_embedding

    state = np.random.RandomState(layout.seed)
    init: Any = "random"
    if near.first:
        init = noisy_scale_coords(near.first[d], state, max_coord=10, noise=0.0001)
    a, b = find_ab_params(1.0, layout.min_dist)
    found, _ = simplicial_set_embedding(
        near.x, near.graph.copy(), d, 1.0, a, b, 1.0, 5, None, init, state, "euclidean", {}, False, {}, False
    )
    return np.asarray(found, dtype=np.float64)


class Seen(NamedTuple):
    """Which of a neighbourhood's points are nearest to others, (M, k), nearest first, and how far."""

    indices: NDArray[np.int64]
    distances: Floats32


def seen_from(near: Neighbourhood, x: Floats) -> Seen | None:
    """Return what points, (M, D), see of a neighbourhood: the same for all of its maps. None: it has none."""
    if near.graph is None:
        return None
    return Seen(*_nearest(near.x, np.ascontiguousarray(x, dtype=np.float32), near.n_neighbors))


def place(near: Neighbourhood, embedding: Floats, x: Floats, seen: Seen | None = None) -> Floats:
    """Return where points, (M, D), lie on a map, (N, d), of others: where their neighbours pull them.

    The place of least Σ w ln(1 + a r²ᵇ), r the distances on the map to the neighbours: what UMAP pulls by,
    without what it pushes by. Starting from the neighbours' mean, which falls between classes, a few
    reweighted means come down in the class that most neighbours are in.

    Parameters
    ----------
    near : Neighbourhood
        What was laid out.
    embedding : (N, d)
    x : (M, D)
    seen : Seen or None
        `seen_from`, where it is known already.
    """
    seen = seen or seen_from(near, x)
    if seen is None:
        return lay_out(
            replace(near, x=np.asarray(x, dtype=np.float32)), Layout(0, n_components=embedding.shape[1])
        )
    indices, distances = seen
    beyond = distances.astype(np.float64) - distances[:, :1]
    scale = beyond.mean(axis=1, keepdims=True)
    strength = np.exp(-np.divide(beyond, scale, out=np.zeros_like(beyond), where=scale > 0))
    places, weight = embedding[indices], strength
    found = np.empty((len(x), embedding.shape[1]))
    for _ in range(1 + PULLS):
        np.einsum("mk,mkd->md", weight / weight.sum(axis=1, keepdims=True), places, out=found)
        square = ((places - found[:, None]) ** 2).sum(axis=2) + 1e-6
        weight = strength * square ** (PULL_B - 1.0) / (1.0 + PULL_A * square**PULL_B)
    return found


def _nearest(x: Floats32, of: Floats32, k: int) -> tuple[NDArray[np.int64], Floats32]:
    """Return which of points, (N, D), are the k nearest of others, (M, D), nearest first, and how far."""
    search: Any = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x)
    distances, indices = search.kneighbors(of)
    return indices, distances.astype(np.float32)


@dataclass(frozen=True)
class Map:
    """A map of a sample, and where other points would lie on it.

    points : (N, n_components)
    """

    near: Neighbourhood
    points: Floats

    @classmethod
    def of(cls, near: Neighbourhood, layout: Layout) -> Map:
        """Lay it out."""
        return cls(near, lay_out(near, layout))

    def transform(self, x: Floats, seen: Seen | None = None) -> Floats:
        """Return where points, (M, D), lie, (M, n_components): see `place`."""
        return place(self.near, self.points, x, seen)
