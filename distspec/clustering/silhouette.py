"""Silhouettes of all trials of a sweep at once.

A silhouette asks for a point's mean distances to every class. All trials share one pass over the distances,
and sums of them are one matrix product with the classes' members. Trials of a sweep are alike: a class that
several trials share is summed once, and points that no trial of a batch tells apart are added up beforehand.
Distances are rounded to 2⁻³⁶ of the sample's diameter: sums of them are exact whatever their order, so that a
trial's score has the same bits whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distspec.clustering.kmeans import assign_nearest_center, kmeans
from distspec.core.compiled import njit_nogil
from distspec.core.spectrum import Floats, Floats32

Labels = NDArray[np.int32]
DBCV_SAMPLE_SIZE = 2000
"""Points on which a DBCV is taken: it walks over all their pairs."""


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


def dbcv(x: Floats, labels: Labels, sample_size: int = DBCV_SAMPLE_SIZE, seed: int = 0) -> float:
    """Return the density-based clustering validation index (Moulavi et al. 2014) of labels, (N,).

    From −1 to 1, higher is better: how much sparser the gap around each class is than its own inside. Noise,
    and classes of one, count with 0. NaN where there are fewer than 2 classes.

    Parameters
    ----------
    x : (N, D)
    labels : (N,)
        −1 is noise.
    sample_size : int
        Above so many points a random sample of this size stands for all, the same for all labels: densities
        are those of the sample, so compare only indices of samples of one size.
    seed : int
        Of the sample.
    """
    if len(x) > sample_size:
        rows = np.sort(np.random.default_rng(seed).choice(len(x), sample_size, replace=False))
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


@njit_nogil
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


@njit_nogil
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


@njit_nogil
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


MAX_EXACT_POINTS = 20_000
"""Points up to which every distance is taken; more are sampled."""
N_STRATA, MIN_PER_STRATUM = 50, 100
"""A sample's strata, and how many members each is sampled with, or all it has."""
_QUANTA = 2.0**36
_BLOCK_ROWS = 1024
_TRIALS_PER_BATCH = 100
"""Trials in a batch: fewer share less, more tell more points apart."""


@dataclass(frozen=True)
class SilhouetteScores:
    """Silhouettes of trials.

    silhouette : (T,)
        Mean over all points: noise counts with 0. NaN where there are not 2 classes, or one of each point.
    standard_error : (T,)
        Standard error where points were sampled, else 0.
    n_sampled : int
        Points whose distances were taken.
    """

    silhouette: Floats
    standard_error: Floats
    n_sampled: int


class _TrialBatch(NamedTuple):
    """Trials that are scored together.

    trials : slice
    group_index : (N,)
        Which group a point is in: those of a group share their class in every trial.
    members : (C, A)
        1 where a group belongs to a class; each set of points once, whichever trials it serves.
    sizes : (C,)
        Points that a class stands for; 0 for the first, which is empty.
    class_index : (T, K)
        Each trial's classes among those; 0 where it has fewer than K.
    """

    trials: slice
    group_index: Tensor
    members: Tensor
    sizes: Tensor
    class_index: Tensor


def silhouette_scores(
    x: Floats,
    labels: Labels,
    *,
    max_exact_points: int = MAX_EXACT_POINTS,
    seed: int = 0,
    max_bytes: int = 1 << 29,
) -> SilhouetteScores:
    """Return the mean silhouettes (Rousseeuw 1987) of labels, (T, N), over points, (N, D).

    Above `max_exact_points` points a sample stands for all, stratified by where points lie, so that thin regions
    are in it; means are taken within each class, and classes weighted by how many points they have in all.

    Parameters
    ----------
    x : (N, D)
    labels : (T, N)
        −1 is noise: it belongs to no class, scores 0, and is counted.
    max_exact_points : int
    seed : int
        Of the sample.
    max_bytes : int
        Limit on what is held of distances and classes; never N × N.
    """
    n_classes = np.array([_n_classes(each) for each in labels], dtype=np.int64)
    rows, weights = np.arange(len(x)), np.ones(len(x))
    if len(x) > max_exact_points:
        rows, weights = _draw_stratified_sample(x, max_exact_points, seed)
    score, error = np.full(len(labels), np.nan), np.zeros(len(labels))
    valid = np.flatnonzero((n_classes >= 2) & (n_classes < len(x)))
    valid = valid[np.argsort(n_classes[valid], kind="stable")]
    at_once = max(1, max_bytes // (16 * len(rows)))  # of trials whose points' scores are held
    for start in range(0, len(valid), at_once):
        trials = valid[start : start + at_once]
        points = silhouette_samples(x[rows], labels[np.ix_(trials, rows)], weights, max_bytes=max_bytes)
        for trial, each in zip(trials, points, strict=True):
            score[trial], error[trial] = _mean_and_error(
                each.astype(np.float64), weights, labels[trial], rows
            )
    return SilhouetteScores(score, error if len(rows) < len(x) else np.zeros(len(labels)), len(rows))


def silhouette_samples(
    x: Floats, labels: Labels, weights: Floats | None = None, *, max_bytes: int = 1 << 29
) -> Floats32:
    """Return every point's silhouette, (T, N), under labels, (T, N); 0 for noise and for classes of one.

    weights : (N,)
        How many points each stands for; None: itself.
    """
    weight = torch.from_numpy(np.ones(len(x)) if weights is None else weights)
    points, n = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64)), len(x)
    quantum = (
        2.0 * float((points - points.mean(dim=0)).norm(dim=1).max()) * float(weight.max()) / _QUANTA or 1.0
    )
    rows_at_once = max(1, min(_BLOCK_ROWS, max_bytes // (64 * n)))
    out = torch.zeros(labels.shape, dtype=torch.float32)
    own = torch.from_numpy(np.ascontiguousarray(labels)).long()
    starts = range(0, len(labels), _TRIALS_PER_BATCH)
    for batches in _iterate_batches(
        ((start, labels[start : start + _TRIALS_PER_BATCH]) for start in starts), weight, max_bytes // 2
    ):
        for row in range(0, n, rows_at_once):
            rows = slice(row, row + rows_at_once)
            distances = torch.cdist(points, points[rows], compute_mode="donot_use_mm_for_euclid_dist")
            distances.mul_(weight[:, None] / quantum).round_()
            for batch in batches:
                folded = distances.new_zeros(batch.members.shape[1], distances.shape[1])
                sums = batch.members @ folded.index_add_(0, batch.group_index, distances)
                out[batch.trials, rows] = _point_silhouettes(
                    sums * quantum, batch, own[batch.trials, rows], weight[rows]
                ).float()
    return out.numpy()


def _iterate_batches(
    trials: Iterable[tuple[int, Labels]], weights: Tensor, max_bytes: int
) -> Iterator[list[_TrialBatch]]:
    """Yield as many batches at a time as may be held at once."""
    held: list[_TrialBatch] = []
    for start, labels in trials:
        batch = _build_batch(start, labels, weights)
        if held and sum(8 * each.members.numel() for each in (*held, batch)) > max_bytes:
            yield held
            held = []
        held.append(batch)
    if held:
        yield held


def _build_batch(start: int, labels: Labels, weights: Tensor) -> _TrialBatch:
    """Return the classes of trials with labels, (T, N)."""
    n_trials, n = labels.shape
    k = int(labels.max()) + 1
    members = labels[:, None, :] == np.arange(k)[:, None]
    empty = np.zeros((1, n), dtype=np.bool_)
    sets, which = _unique_rows(np.concatenate([empty, members.reshape(-1, n)]))
    first = int(which[0])  # the empty set changes places with the first
    sets[[0, first]] = sets[[first, 0]]
    which = np.where(which == first, 0, np.where(which == 0, first, which))
    groups, atoms = _unique_rows(np.ascontiguousarray(sets.T))
    return _TrialBatch(
        slice(start, start + n_trials),
        torch.from_numpy(atoms),
        torch.from_numpy(groups.T.astype(np.float64)),
        torch.from_numpy(sets.astype(np.float64)) @ weights,
        torch.from_numpy(which[1:].reshape(n_trials, k)),
    )


def _unique_rows(rows: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return the distinct rows, and which of them each row is."""
    packed = np.packbits(rows, axis=1)
    _, first, which = np.unique(
        packed.view(f"V{packed.shape[1]}")[:, 0], return_index=True, return_inverse=True
    )
    return rows[first], which


def _point_silhouettes(sums: Tensor, batch: _TrialBatch, labels: Tensor, weights: Tensor) -> Tensor:
    """Return silhouettes, (T, n), from distances summed over classes, (C, n), and labels, (T, n)."""
    means = (sums / batch.sizes[:, None]).nan_to_num_(nan=torch.inf, posinf=torch.inf)
    means[0] = torch.inf
    noise = labels < 0
    column = batch.class_index.gather(1, labels.clamp(min=0))
    others = batch.sizes[column] - weights
    within = sums.gather(0, column) / others
    away = means[batch.class_index]
    closest = away.scatter_(1, labels.clamp(min=0)[:, None], torch.inf).amin(dim=1)
    score = (closest - within) / torch.maximum(closest, within)
    return torch.where(noise | (others <= 0), 0.0, score.nan_to_num_(nan=0.0))


def _draw_stratified_sample(x: Floats, n_sample: int, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Return about `n_sample` rows, and how many each stands for: in proportion, small strata fuller.

    Strata are the cells of k-means on a first, plain sample: they depend on the points alone, not on labels.
    """
    rng = np.random.default_rng(seed)
    first = x[np.sort(rng.choice(len(x), n_sample, replace=False))]
    cells = assign_nearest_center(x, kmeans(first, min(N_STRATA, n_sample), seed)[0])
    strata, counts = np.unique(cells, return_counts=True)
    share = np.maximum(counts * (n_sample / len(x)), min(MIN_PER_STRATUM, n_sample // len(strata)))
    wanted = np.minimum(counts, np.maximum(1, (share * min(1.0, n_sample / share.sum())).astype(np.int64)))
    chosen = [
        rng.choice(np.flatnonzero(cells == cell), n, replace=False)
        for cell, n in zip(strata, wanted, strict=True)
    ]
    rows, weight = np.concatenate(chosen), np.repeat(counts / wanted, wanted)
    order = np.argsort(rows)
    return rows[order], weight[order]


def _mean_and_error(
    silhouettes: Floats, weights: Floats, labels: Labels, rows: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the mean silhouette of all points from those sampled, (n,), and its standard error."""
    if len(rows) == len(labels):
        return float(silhouettes.mean()), 0.0
    _, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    here = which[rows]
    share = sizes / len(labels)
    weight = np.bincount(here, weights, len(sizes))
    seen = weight > 0
    mean = np.bincount(here, weights * silhouettes, len(sizes))[seen] / weight[seen]
    share = share[seen] / share[seen].sum()
    full_mean = np.zeros(len(sizes))
    full_mean[seen] = mean
    scatter = (
        np.bincount(here, (weights * (silhouettes - full_mean[here])) ** 2, len(sizes))[seen]
        / weight[seen] ** 2
    )
    return float(share @ mean), float(np.sqrt(share**2 @ scatter))


def _n_classes(labels: Labels) -> int:
    return len(np.unique(labels[labels >= 0]))
