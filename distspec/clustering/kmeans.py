"""Compiled k-means from greedy k-means++ starts, which initializes Gaussian mixtures and stratifies samples.

The result depends on the points and the seed alone, bit for bit. Points are stored column by column and
processed in blocks that fit into the first-level cache, so that the inner loops run over adjacent numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.spectrum import Floats

Labels = NDArray[np.int32]
MAX_ITERATIONS = 300
TOLERANCE = 1e-4
"""Iterations end when the summed squared shift of the centers is below this fraction of the mean column
variance."""
_BLOCK = 1024


def kmeans(x: Floats, k: int, seed: int, max_iterations: int = MAX_ITERATIONS) -> tuple[Floats, Labels]:
    """Partition points by k-means.

    If fewer than k points are distinct, some centers coincide, and all but the first of these have no
    members.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Finite points.
    k : int
        Number of clusters.
    seed : int
        Seed of the k-means++ initialization.
    max_iterations : int
        Largest number of updates of the centers.

    Returns
    -------
    centers : ndarray of shape (k, n_dims)
        Means of the clusters.
    labels : ndarray of int32, shape (n_points,)
        Nearest center of each point.

    Raises
    ------
    ValueError
        If there are fewer points than clusters.

    Examples
    --------
    >>> kmeans(np.array([[0.0], [1.0], [9.0]]), 2, 0)[0].ravel().tolist()
    [0.5, 9.0]
    """
    if not 1 <= k <= len(x):
        raise ValueError(f"k = {k} for {len(x)} points: 1 ≤ k ≤ {len(x)} must hold")
    shift = x.mean(axis=0)
    columns = np.ascontiguousarray((x - shift).T)
    draws = np.random.default_rng((seed, k)).random((k, 2 + int(np.log(k))))
    centers = _kmeans_plus_plus(columns, draws)
    labels = _lloyd(columns, centers, max_iterations, TOLERANCE * columns.var(axis=1).mean())
    return centers + shift, labels


def assign_nearest_center(x: Floats, centers: Floats) -> Labels:
    """Return the nearest center of each point; the first of several at equal distance.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Points.
    centers : ndarray of shape (n_centers, n_dims)
        Centers.

    Returns
    -------
    ndarray of int32, shape (n_points,)
    """
    shift = centers.mean(axis=0)
    labels = np.empty(len(x), np.int32)
    _write_nearest_center(np.ascontiguousarray((x - shift).T), centers - shift, labels)
    return labels


@njit_nogil
def _kmeans_plus_plus(x: Floats, uniforms: Floats) -> Floats:
    """Return k-means++ centers, each the candidate with the smallest remaining inertia."""
    d, n = x.shape
    k, n_candidates = uniforms.shape
    centers = np.empty((k, d))
    nearest, inertia, best = np.full(n, np.inf), np.empty(n), np.empty(n)
    for c in range(k):
        least = np.inf
        cumulated = np.cumsum(nearest) if c > 0 else nearest
        for candidate in range(n_candidates if c > 0 else 1):
            if c == 0:
                row = int(uniforms[0, 0] * n)
            else:
                row = np.searchsorted(cumulated, uniforms[c, candidate] * cumulated[n - 1], side="right")
            row = min(row, n - 1)
            inertia[:] = 0.0
            for j in range(d):
                center = x[j, row]
                for i in range(n):
                    inertia[i] += (x[j, i] - center) ** 2
            total = 0.0
            for i in range(n):
                inertia[i] = min(inertia[i], nearest[i])
                total += inertia[i]
            if total < least:
                least = total
                centers[c] = x[:, row]
                best[:] = inertia
        nearest[:] = best
    return centers


@njit_nogil
def _lloyd(x: Floats, centers: Floats, max_iterations: int, tolerance: float) -> Labels:
    """Move centers, in place, to the means of their members until convergence; return the nearest center."""
    d, n = x.shape
    k = len(centers)
    labels = np.zeros(n, np.int32)
    sums, sizes = np.empty((k, d)), np.empty(k)
    for step in range(max_iterations + 1):
        _write_nearest_center(x, centers, labels)
        if step == max_iterations:
            break
        sums[:], sizes[:] = 0.0, 0.0
        for i in range(n):
            sizes[labels[i]] += 1.0
        for j in range(d):
            for i in range(n):
                sums[labels[i], j] += x[j, i]
        moved = 0.0
        for c in range(k):
            if sizes[c] > 0.0:
                for j in range(d):
                    mean = sums[c, j] / sizes[c]
                    moved += (mean - centers[c, j]) ** 2
                    centers[c, j] = mean
        if moved <= tolerance:
            _write_nearest_center(x, centers, labels)
            break
    return labels


@njit_nogil
def _write_nearest_center(x: Floats, centers: Floats, labels: Labels) -> None:
    """Write the nearest center of each point into `labels`."""
    d, n = x.shape
    for start in range(0, n, _BLOCK):
        m = min(_BLOCK, n - start)
        least, label, distance = np.full(m, np.inf), np.zeros(m), np.empty(m)
        for c in range(len(centers)):
            column, center = x[0, start : start + m], centers[c, 0]
            for i in range(m):
                distance[i] = (column[i] - center) ** 2
            for j in range(1, d):
                column, center = x[j, start : start + m], centers[c, j]
                for i in range(m):
                    distance[i] += (column[i] - center) ** 2
            # Labels are floats, as wide as distances, so that the compiler can select with vector
            # instructions.
            for i in range(m):
                label[i] = c if distance[i] < least[i] else label[i]
                least[i] = min(least[i], distance[i])
        out = labels[start : start + m]
        for i in range(m):
            out[i] = label[i]
