"""Other measures of how well labels divide points: Davies–Bouldin, and the density-based DBCV."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from distspec.spectrum import Floats

Labels = NDArray[np.int32]
DBCV_SAMPLE = 2000
"""Points on which a DBCV is taken: it walks over all their pairs."""
_kernel = njit(cache=True, nogil=True, error_model="numpy")


def davies_bouldin(x: Floats, labels: Labels) -> Floats:
    """Return the Davies–Bouldin indices (1979), (T,), of labels, (T, N), over points, (N, D), without noise.

    Lower is better; NaN where there are fewer than 2 classes.
    """
    return np.array([_davies_bouldin(x, each) for each in labels], dtype=np.float64)


def _davies_bouldin(x: Floats, labels: Labels) -> float:
    kept = labels >= 0
    points, label = (x, labels) if kept.all() else (x[kept], labels[kept])
    sizes = np.bincount(label)
    present = np.flatnonzero(sizes)
    if len(present) < 2:
        return float("nan")
    sums = np.stack([np.bincount(label, column) for column in points.T], axis=1)
    centres = sums / np.maximum(sizes, 1)[:, None]
    away = np.sqrt(((points - centres[label]) ** 2).sum(axis=1))
    spread = (np.bincount(label, away) / np.maximum(sizes, 1))[present]
    apart = np.linalg.norm(centres[present, None] - centres[present], axis=2)
    ratio = np.divide(spread[:, None] + spread, apart, out=np.zeros_like(apart), where=apart > 0)
    return float(ratio.max(axis=1).mean())


def dbcv(x: Floats, labels: Labels, sample: int = DBCV_SAMPLE, seed: int = 0) -> float:
    """Return the density-based clustering validation index (Moulavi et al. 2014) of labels, (N,).

    From −1 to 1, higher is better: how much sparser the gap around each class is than its own inside. Noise,
    and classes of one, count with 0. NaN where there are fewer than 2 classes.

    Parameters
    ----------
    x : (N, D)
    labels : (N,)
        −1 is noise.
    sample : int
        Above so many points a random sample of this size stands for all, the same for all labels: densities
        are those of the sample, so compare only indices of samples of one size.
    seed : int
        Of the sample.
    """
    if len(x) > sample:
        rows = np.sort(np.random.default_rng(seed).choice(len(x), sample, replace=False))
        x, labels = x[rows], labels[rows]
    names, sizes = np.unique(labels[labels >= 0], return_counts=True)
    names, sizes = names[sizes > 1], sizes[sizes > 1]
    if len(names) < 2:
        return float("nan")
    points = np.asarray(x, dtype=np.float64)
    inner, inner_core = [], []
    sparseness = np.empty(len(names))
    for i, name in enumerate(names):
        members = np.ascontiguousarray(points[labels == name])
        core = _core_distances(members)
        degrees, edges, longest = _spanning_tree(members, core)
        inside = degrees > 1
        within = longest[inside[edges[:, 0]] & inside[edges[:, 1]]]
        sparseness[i] = within.max() if len(within) else longest.max()
        kept = inside if inside.any() else np.ones_like(inside)
        inner.append(members[kept])
        inner_core.append(core[kept])
    separation = np.full((len(names), len(names)), np.inf)
    for i in range(len(names)):
        for j in range(i):
            gap = _separation(inner[i], inner_core[i], inner[j], inner_core[j])
            separation[i, j] = separation[j, i] = gap
    gaps = separation.min(axis=1)
    larger = np.maximum(gaps, sparseness)
    validity = np.divide(gaps - sparseness, larger, out=np.zeros_like(gaps), where=larger > 0)
    return float(sizes @ validity / len(points))


@_kernel
def _core_distances(x: Floats) -> Floats:
    """Return each point's distance to its class, (n,): the power mean, exponent −D, of those to all others.

    Distances are counted in units of the nearest one, so that no power overflows; duplicates do not count.
    """
    n, d = x.shape
    core, squares = np.zeros(n), np.empty(n)
    for i in range(n):
        nearest = np.inf
        for j in range(n):
            square = 0.0
            for c in range(d):
                square += (x[i, c] - x[j, c]) ** 2
            squares[j] = square
            if 0.0 < square < nearest:
                nearest = square
        if nearest < np.inf:
            total = 0.0
            for j in range(n):
                if squares[j] > 0.0:
                    total += (nearest / squares[j]) ** (0.5 * d)
            core[i] = np.sqrt(nearest) * (total / (n - 1)) ** (-1.0 / d)
    return core


@_kernel
def _spanning_tree(x: Floats, core: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return degrees, (n,), edges, (n − 1, 2), and their lengths of the minimum spanning tree (Prim's).

    Lengths are mutual reachabilities: the largest of a distance and both core distances. Many are equal, and
    which points are inside the tree depends on them: of equal ones the nearest pair is taken, so that the
    order of the rows does not count.
    """
    n, d = x.shape
    degrees, edges, lengths = np.zeros(n, np.int64), np.empty((n - 1, 2), np.int64), np.empty(n - 1)
    reach, away, tie = np.full(n, np.inf), np.full(n, np.inf), np.zeros(n, np.int64)
    joined = np.zeros(n, np.bool_)
    last = 0
    for step in range(n - 1):
        joined[last] = True
        following = -1
        for j in range(n):
            if joined[j]:
                continue
            square = 0.0
            for c in range(d):
                square += (x[last, c] - x[j, c]) ** 2
            length = max(np.sqrt(square), core[last], core[j])
            if length < reach[j] or (length == reach[j] and square < away[j]):
                reach[j], away[j], tie[j] = length, square, last
            if (
                following < 0
                or reach[j] < reach[following]
                or (reach[j] == reach[following] and away[j] < away[following])
            ):
                following = j
        edges[step, 0], edges[step, 1], lengths[step] = tie[following], following, reach[following]
        degrees[tie[following]] += 1
        degrees[following] += 1
        last = following
    return degrees, edges, lengths


@_kernel
def _separation(a: Floats, core_a: Floats, b: Floats, core_b: Floats) -> float:
    """Return the least mutual reachability between points of two classes."""
    least = np.inf
    for i in range(len(a)):
        for j in range(len(b)):
            square = 0.0
            for c in range(a.shape[1]):
                square += (a[i, c] - b[j, c]) ** 2
            least = min(least, max(np.sqrt(square), core_a[i], core_b[j]))
    return least
