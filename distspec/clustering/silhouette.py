"""Silhouettes and Davies-Bouldin indices of many labelings of the same points.

A silhouette needs the mean distance of a point to every class. All labelings share one pass over the
distances, and the sums are one matrix product with the members of the classes. Labelings of a sweep are
similar: a class that occurs in several is summed once, and points that no labeling of a batch separates are
added up beforehand. Distances are rounded to 2⁻³⁶ of the diameter of the sample, so that their sums are exact
in any order, and the score of a labeling is bit-identical for every composition of its batch.
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
from distspec.core.spectrum import Floats, Floats32

Labels = NDArray[np.int32]
MAX_EXACT_POINTS = 20_000
"""Number of points above which silhouettes are computed on a sample."""
N_STRATA, MIN_PER_STRATUM = 50, 100
"""Number of strata of a sample, and the number of points drawn from each, if it has as many."""
_QUANTA = 2.0**36
_BLOCK_ROWS = 1024
_TRIALS_PER_BATCH = 100
"""Number of labelings in a batch; fewer share less, more separate more points."""


def davies_bouldin(x: Floats, labels: Labels) -> Floats:
    """Compute the Davies-Bouldin index of labelings, without noise; lower is better.

    About 28 times as fast as scikit-learn's, which would prolong the published sweep by 44 %.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Points.
    labels : ndarray of int32, shape (n_labelings, n_points)
        Labelings; -1 is noise.

    Returns
    -------
    ndarray of shape (n_labelings,)
        NaN if there are fewer than two classes.

    References
    ----------
    Davies & Bouldin 1979, IEEE Trans. PAMI 1, 224.
    """
    return np.array([_davies_bouldin(x, trial_labels) for trial_labels in labels], dtype=np.float64)


def _davies_bouldin(x: Floats, labels: Labels) -> float:
    kept = labels >= 0
    points, label = (x, labels) if kept.all() else (x[kept], labels[kept])
    sizes = np.bincount(label)
    present = np.flatnonzero(sizes)
    if len(present) < 2:
        return float("nan")
    sums = np.stack([np.bincount(label, column) for column in points.T], axis=1)
    centers = sums / np.maximum(sizes, 1)[:, None]
    radius = np.sqrt(((points - centers[label]) ** 2).sum(axis=1))
    spread = (np.bincount(label, radius) / np.maximum(sizes, 1))[present]
    separation = np.linalg.norm(centers[present, None] - centers[present], axis=2)
    ratio = np.divide(
        spread[:, None] + spread, separation, out=np.zeros_like(separation), where=separation > 0
    )
    return float(ratio.max(axis=1).mean())


@dataclass(frozen=True)
class SilhouetteScores:
    """Mean silhouettes of labelings.

    Attributes
    ----------
    silhouette : ndarray of shape (n_labelings,)
        Mean over all points, with noise as 0; NaN if there are fewer than two classes or as many as points.
    standard_error : ndarray of shape (n_labelings,)
        Standard error if points were sampled, else 0.
    n_sampled : int
        Number of points whose silhouettes were computed.
    """

    silhouette: Floats
    standard_error: Floats
    n_sampled: int


class _TrialBatch(NamedTuple):
    """Labelings that are scored together.

    Attributes
    ----------
    trials : slice
        Their positions among all labelings.
    group_index : Tensor of int, shape (n_points,)
        Group of each point; the points of a group share their class in every labeling.
    members : Tensor of shape (n_classes, n_groups)
        1 if a group belongs to a class. A set of points is one class, however many labelings it occurs in.
    sizes : Tensor of shape (n_classes,)
        Sum of the weights of the points in each class; the first class is empty.
    class_index : Tensor of int, shape (n_labelings, k)
        Classes of each labeling; 0 if it has fewer than k.
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
    """Compute the mean silhouettes of labelings.

    Above `max_exact_points` points they are estimated from a sample, which is stratified by position so that
    it covers sparse regions. Means are taken within each class, and classes are weighted by their size.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Points.
    labels : ndarray of int32, shape (n_labelings, n_points)
        Labelings; -1 is noise, which belongs to no class and counts with 0.
    max_exact_points : int
        Number of points above which a sample of this size is used.
    seed : int
        Seed of the sample.
    max_bytes : int
        Memory for distances and classes [bytes]; the full distance matrix is never held.

    Returns
    -------
    SilhouetteScores

    References
    ----------
    Rousseeuw 1987, J. Comput. Appl. Math. 20, 53.
    """
    n_classes = np.array([_n_classes(trial_labels) for trial_labels in labels], dtype=np.int64)
    rows, weights = np.arange(len(x)), np.ones(len(x))
    if len(x) > max_exact_points:
        rows, weights = _draw_stratified_sample(x, max_exact_points, seed)
    score, error = np.full(len(labels), np.nan), np.zeros(len(labels))
    valid = np.flatnonzero((n_classes >= 2) & (n_classes < len(x)))
    valid = valid[np.argsort(n_classes[valid], kind="stable")]
    n_at_once = max(1, max_bytes // (16 * len(rows)))  # labelings whose silhouettes are held for every point
    for start in range(0, len(valid), n_at_once):
        trials = valid[start : start + n_at_once]
        samples = silhouette_samples(x[rows], labels[np.ix_(trials, rows)], weights, max_bytes=max_bytes)
        for trial, values in zip(trials, samples, strict=True):
            score[trial], error[trial] = _mean_and_error(
                values.astype(np.float64), weights, labels[trial], rows
            )
    return SilhouetteScores(score, error if len(rows) < len(x) else np.zeros(len(labels)), len(rows))


def silhouette_samples(
    x: Floats, labels: Labels, weights: Floats | None = None, *, max_bytes: int = 1 << 29
) -> Floats32:
    """Compute the silhouette of every point under each labeling.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Points.
    labels : ndarray of int32, shape (n_labelings, n_points)
        Labelings; -1 is noise.
    weights : ndarray of shape (n_points,), optional
        Number of points that each represents; 1 by default.
    max_bytes : int
        Memory for distances and classes [bytes].

    Returns
    -------
    ndarray of shape (n_labelings, n_points)
        0 for noise and for classes of one point.
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
    """Yield lists of batches that fit into the memory limit together."""
    batches: list[_TrialBatch] = []
    for start, labels in trials:
        batch = _build_batch(start, labels, weights)
        if batches and sum(8 * pending.members.numel() for pending in (*batches, batch)) > max_bytes:
            yield batches
            batches = []
        batches.append(batch)
    if batches:
        yield batches


def _build_batch(start: int, labels: Labels, weights: Tensor) -> _TrialBatch:
    """Return the batch of some labelings, with every distinct class once."""
    n_trials, n = labels.shape
    k = int(labels.max()) + 1
    members = labels[:, None, :] == np.arange(k)[:, None]
    empty = np.zeros((1, n), dtype=np.bool_)
    sets, which = _unique_rows(np.concatenate([empty, members.reshape(-1, n)]))
    first = int(which[0])  # the empty set is exchanged with the first
    sets[[0, first]] = sets[[first, 0]]
    which = np.where(which == first, 0, np.where(which == 0, first, which))
    groups, group_index = _unique_rows(np.ascontiguousarray(sets.T))
    return _TrialBatch(
        slice(start, start + n_trials),
        torch.from_numpy(group_index),
        torch.from_numpy(groups.T.astype(np.float64)),
        torch.from_numpy(sets.astype(np.float64)) @ weights,
        torch.from_numpy(which[1:].reshape(n_trials, k)),
    )


def _unique_rows(rows: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return the distinct rows, and the index of each row among them."""
    packed = np.packbits(rows, axis=1)
    _, first, which = np.unique(
        packed.view(f"V{packed.shape[1]}")[:, 0], return_index=True, return_inverse=True
    )
    return rows[first], which


def _point_silhouettes(sums: Tensor, batch: _TrialBatch, labels: Tensor, weights: Tensor) -> Tensor:
    """Return silhouettes, (n_labelings, n), from distances summed over classes, (n_classes, n)."""
    means = (sums / batch.sizes[:, None]).nan_to_num_(nan=torch.inf, posinf=torch.inf)
    means[0] = torch.inf
    noise = labels < 0
    column = batch.class_index.gather(1, labels.clamp(min=0))
    others = batch.sizes[column] - weights
    within = sums.gather(0, column) / others
    to_class = means[batch.class_index]
    closest = to_class.scatter_(1, labels.clamp(min=0)[:, None], torch.inf).amin(dim=1)
    score = (closest - within) / torch.maximum(closest, within)
    return torch.where(noise | (others <= 0), 0.0, score.nan_to_num_(nan=0.0))


def _draw_stratified_sample(x: Floats, n_sample: int, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Return about `n_sample` rows, small strata over-represented, and the number of points each represents.

    Strata are the cells of k-means on a simple random sample, so that they depend on the points alone, not on
    labels.
    """
    rng = np.random.default_rng(seed)
    first = x[np.sort(rng.choice(len(x), n_sample, replace=False))]
    cells = assign_nearest_center(x, kmeans(first, min(N_STRATA, n_sample), seed)[0])
    strata, counts = np.unique(cells, return_counts=True)
    size = np.maximum(counts * (n_sample / len(x)), min(MIN_PER_STRATUM, n_sample // len(strata)))
    n_drawn = np.minimum(counts, np.maximum(1, (size * min(1.0, n_sample / size.sum())).astype(np.int64)))
    drawn = [
        rng.choice(np.flatnonzero(cells == cell), n, replace=False)
        for cell, n in zip(strata, n_drawn, strict=True)
    ]
    rows, weight = np.concatenate(drawn), np.repeat(counts / n_drawn, n_drawn)
    order = np.argsort(rows)
    return rows[order], weight[order]


def _mean_and_error(
    silhouettes: Floats, weights: Floats, labels: Labels, rows: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the mean silhouette of all points, estimated from sampled ones, and its standard error."""
    if len(rows) == len(labels):
        return float(silhouettes.mean()), 0.0
    _, class_index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    sampled = class_index[rows]
    fraction = sizes / len(labels)
    weight = np.bincount(sampled, weights, len(sizes))
    has_samples = weight > 0
    mean = np.bincount(sampled, weights * silhouettes, len(sizes))[has_samples] / weight[has_samples]
    fraction = fraction[has_samples] / fraction[has_samples].sum()
    class_mean = np.zeros(len(sizes))
    class_mean[has_samples] = mean
    variance = (
        np.bincount(sampled, (weights * (silhouettes - class_mean[sampled])) ** 2, len(sizes))[has_samples]
        / weight[has_samples] ** 2
    )
    return float(fraction @ mean), float(np.sqrt(fraction**2 @ variance))


def _n_classes(labels: Labels) -> int:
    return len(np.unique(labels[labels >= 0]))
