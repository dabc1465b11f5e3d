"""k-means from greedy k-means++ starts, compiled: the baseline of a sweep, and where its mixtures start.

One trial at a time, so that its bits depend on the points and its seed alone. Points are held column by
column and walked in blocks that stay in the first cache: the inner loops run over neighbouring numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.spectrum import Floats

Labels = NDArray[np.int32]
MAX_ITERATIONS = 300
TOLERANCE = 1e-4
"""k-means ends when its centres move, squared and summed, by less than this share of a column's variance."""
_BLOCK = 1024


def kmeans(x: Floats, k: int, seed: int, max_iterations: int = MAX_ITERATIONS) -> tuple[Floats, Labels]:
    """Return centres, (K, D), and the nearest centre, (N,), of finite points, (N, D).

    The same points, k and seed give the same bits. Where fewer than k places are distinct, some centres
    coincide, and those after the first have no members.

    Parameters
    ----------
    x : (N, D)
    k : int
    seed : int
    max_iterations : int
        Most times that centres move.

    Raises
    ------
    ValueError
        When there are fewer points than k.

    Examples
    --------
    >>> kmeans(np.array([[0.0], [1.0], [9.0]]), 2, 0)[0].ravel().tolist()
    [0.5, 9.0]
    """
    if not 1 <= k <= len(x):
        raise ValueError(f"{len(x)} points for k = {k}: use 1 ≤ k ≤ {len(x)}")
    shift = x.mean(axis=0)
    columns = np.ascontiguousarray((x - shift).T)
    draws = np.random.default_rng((seed, k)).random((k, 2 + int(np.log(k))))
    centres = _kmeans_plus_plus(columns, draws)
    labels = _lloyd(columns, centres, max_iterations, TOLERANCE * columns.var(axis=1).mean())
    return centres + shift, labels


def assign_nearest_center(x: Floats, centers: Floats) -> Labels:
    """Return the first of the nearest centres, (K, D), of points, (N, D): (N,)."""
    shift = centers.mean(axis=0)
    labels = np.empty(len(x), np.int32)
    _write_nearest_center(np.ascontiguousarray((x - shift).T), centers - shift, labels)
    return labels


@njit_nogil
def _kmeans_plus_plus(x: Floats, uniforms: Floats) -> Floats:
    """Return k-means++ centres, (K, D): of each centre's candidates the one that leaves least distance."""
    d, n = x.shape
    k, tries = uniforms.shape
    centres = np.empty((k, d))
    nearest, left, best = np.full(n, np.inf), np.empty(n), np.empty(n)
    for c in range(k):
        least = np.inf
        cumulated = np.cumsum(nearest) if c > 0 else nearest
        for attempt in range(tries if c > 0 else 1):
            if c == 0:
                place = int(uniforms[0, 0] * n)
            else:
                place = np.searchsorted(cumulated, uniforms[c, attempt] * cumulated[n - 1], side="right")
            place = min(place, n - 1)
            left[:] = 0.0
            for j in range(d):
                at = x[j, place]
                for i in range(n):
                    left[i] += (x[j, i] - at) ** 2
            total = 0.0
            for i in range(n):
                left[i] = min(left[i], nearest[i])
                total += left[i]
            if total < least:
                least = total
                centres[c] = x[:, place]
                best[:] = left
        nearest[:] = best
    return centres


@njit_nogil
def _lloyd(x: Floats, centers: Floats, max_iterations: int, tolerance: float) -> Labels:
    """Move centres, (K, D), to their members' means until they stand still; return the nearest, (N,)."""
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
    """Write the first of the nearest centres, (N,), of points, (D, N)."""
    d, n = x.shape
    for start in range(0, n, _BLOCK):
        m = min(_BLOCK, n - start)
        least, label, distance = np.full(m, np.inf), np.zeros(m), np.empty(m)
        for c in range(len(centers)):
            column, at = x[0, start : start + m], centers[c, 0]
            for i in range(m):
                distance[i] = (column[i] - at) ** 2
            for j in range(1, d):
                column, at = x[j, start : start + m], centers[c, j]
                for i in range(m):
                    distance[i] += (column[i] - at) ** 2
            # Labels are floats here, as wide as distances: whole registers are selected at once.
            for i in range(m):
                label[i] = c if distance[i] < least[i] else label[i]
                least[i] = min(least[i], distance[i])
        out = labels[start : start + m]
        for i in range(m):
            out[i] = label[i]
