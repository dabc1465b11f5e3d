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

from distspec.kmeans import kmeans, nearest
from distspec.spectrum import Floats, Floats32

Labels = NDArray[np.int32]
EXACT_UP_TO = 20_000
"""Points up to which every distance is taken; more are sampled."""
N_STRATA, LEAST_OF_STRATUM = 50, 100
"""A sample's strata, and how many members each is sampled with, or all it has."""
_QUANTA = 2.0**36
_ROWS = 1024
_TRIALS = 100
"""Trials in a batch: fewer share less, more tell more points apart."""


@dataclass(frozen=True)
class Scores:
    """Silhouettes of trials.

    silhouette : (T,)
        Mean over all points: noise counts with 0. NaN where there are not 2 classes, or one of each point.
    error : (T,)
        Standard error where points were sampled, else 0.
    sampled : int
        Points whose distances were taken.
    """

    silhouette: Floats
    error: Floats
    sampled: int


class _Batch(NamedTuple):
    """Trials that are scored together.

    trials : slice
    atoms : (N,)
        Which group a point is in: those of a group share their class in every trial.
    members : (C, A)
        1 where a group belongs to a class; each set of points once, whichever trials it serves.
    sizes : (C,)
        Points that a class stands for; 0 for the first, which is empty.
    columns : (T, K)
        Each trial's classes among those; 0 where it has fewer than K.
    """

    trials: slice
    atoms: Tensor
    members: Tensor
    sizes: Tensor
    columns: Tensor


def silhouettes(
    x: Floats,
    labels: Labels,
    *,
    exact_up_to: int = EXACT_UP_TO,
    seed: int = 0,
    max_bytes: int = 1 << 29,
) -> Scores:
    """Return the mean silhouettes (Rousseeuw 1987) of labels, (T, N), over points, (N, D).

    Above `exact_up_to` points a sample stands for all, stratified by where points lie, so that thin regions
    are in it; means are taken within each class, and classes weighted by how many points they have in all.

    Parameters
    ----------
    x : (N, D)
    labels : (T, N)
        −1 is noise: it belongs to no class, scores 0, and is counted.
    exact_up_to : int
    seed : int
        Of the sample.
    max_bytes : int
        Limit on what is held of distances and classes; never N × N.
    """
    n_classes = np.array([_n_classes(each) for each in labels], dtype=np.int64)
    rows, weights = np.arange(len(x)), np.ones(len(x))
    if len(x) > exact_up_to:
        rows, weights = _stratified(x, exact_up_to, seed)
    score, error = np.full(len(labels), np.nan), np.zeros(len(labels))
    valid = np.flatnonzero((n_classes >= 2) & (n_classes < len(x)))
    valid = valid[np.argsort(n_classes[valid], kind="stable")]
    at_once = max(1, max_bytes // (16 * len(rows)))  # of trials whose points' scores are held
    for start in range(0, len(valid), at_once):
        trials = valid[start : start + at_once]
        points = silhouette_points(x[rows], labels[np.ix_(trials, rows)], weights, max_bytes=max_bytes)
        for trial, each in zip(trials, points, strict=True):
            score[trial], error[trial] = _summary(each.astype(np.float64), weights, labels[trial], rows)
    return Scores(score, error if len(rows) < len(x) else np.zeros(len(labels)), len(rows))


def silhouette_points(
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
    rows_at_once = max(1, min(_ROWS, max_bytes // (64 * n)))
    out = torch.zeros(labels.shape, dtype=torch.float32)
    own = torch.from_numpy(np.ascontiguousarray(labels)).long()
    starts = range(0, len(labels), _TRIALS)
    for batches in _held(
        ((start, labels[start : start + _TRIALS]) for start in starts), weight, max_bytes // 2
    ):
        for row in range(0, n, rows_at_once):
            rows = slice(row, row + rows_at_once)
            distances = torch.cdist(points, points[rows], compute_mode="donot_use_mm_for_euclid_dist")
            distances.mul_(weight[:, None] / quantum).round_()
            for batch in batches:
                folded = distances.new_zeros(batch.members.shape[1], distances.shape[1])
                sums = batch.members @ folded.index_add_(0, batch.atoms, distances)
                out[batch.trials, rows] = _scores(
                    sums * quantum, batch, own[batch.trials, rows], weight[rows]
                ).float()
    return out.numpy()


def _held(trials: Iterable[tuple[int, Labels]], weight: Tensor, max_bytes: int) -> Iterator[list[_Batch]]:
    """Yield as many batches at a time as may be held at once."""
    held: list[_Batch] = []
    for start, labels in trials:
        batch = _batch(start, labels, weight)
        if held and sum(8 * each.members.numel() for each in (*held, batch)) > max_bytes:
            yield held
            held = []
        held.append(batch)
    if held:
        yield held


def _batch(start: int, labels: Labels, weight: Tensor) -> _Batch:
    """Return the classes of trials with labels, (T, N)."""
    n_trials, n = labels.shape
    k = int(labels.max()) + 1
    members = labels[:, None, :] == np.arange(k)[:, None]
    empty = np.zeros((1, n), dtype=np.bool_)
    sets, which = _distinct(np.concatenate([empty, members.reshape(-1, n)]))
    first = int(which[0])  # the empty set changes places with the first
    sets[[0, first]] = sets[[first, 0]]
    which = np.where(which == first, 0, np.where(which == 0, first, which))
    groups, atoms = _distinct(np.ascontiguousarray(sets.T))
    return _Batch(
        slice(start, start + n_trials),
        torch.from_numpy(atoms),
        torch.from_numpy(groups.T.astype(np.float64)),
        torch.from_numpy(sets.astype(np.float64)) @ weight,
        torch.from_numpy(which[1:].reshape(n_trials, k)),
    )


def _distinct(rows: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return the distinct rows, and which of them each row is."""
    packed = np.packbits(rows, axis=1)
    _, first, which = np.unique(
        packed.view(f"V{packed.shape[1]}")[:, 0], return_index=True, return_inverse=True
    )
    return rows[first], which


def _scores(sums: Tensor, batch: _Batch, own: Tensor, weight: Tensor) -> Tensor:
    """Return silhouettes, (T, n), from distances summed over classes, (C, n), and labels, (T, n)."""
    means = (sums / batch.sizes[:, None]).nan_to_num_(nan=torch.inf, posinf=torch.inf)
    means[0] = torch.inf
    noise = own < 0
    column = batch.columns.gather(1, own.clamp(min=0))
    others = batch.sizes[column] - weight
    within = sums.gather(0, column) / others
    away = means[batch.columns]
    closest = away.scatter_(1, own.clamp(min=0)[:, None], torch.inf).amin(dim=1)
    score = (closest - within) / torch.maximum(closest, within)
    return torch.where(noise | (others <= 0), 0.0, score.nan_to_num_(nan=0.0))


def _stratified(x: Floats, size: int, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Return about `size` rows, and how many each stands for: in proportion, small strata fuller.

    Strata are the cells of k-means on a first, plain sample: they depend on the points alone, not on labels.
    """
    rng = np.random.default_rng(seed)
    first = x[np.sort(rng.choice(len(x), size, replace=False))]
    cells = nearest(x, kmeans(first, min(N_STRATA, size), seed)[0])
    strata, counts = np.unique(cells, return_counts=True)
    share = np.maximum(counts * (size / len(x)), min(LEAST_OF_STRATUM, size // len(strata)))
    wanted = np.minimum(counts, np.maximum(1, (share * min(1.0, size / share.sum())).astype(np.int64)))
    chosen = [
        rng.choice(np.flatnonzero(cells == cell), n, replace=False)
        for cell, n in zip(strata, wanted, strict=True)
    ]
    rows, weight = np.concatenate(chosen), np.repeat(counts / wanted, wanted)
    order = np.argsort(rows)
    return rows[order], weight[order]


def _summary(points: Floats, weights: Floats, labels: Labels, rows: NDArray[np.int64]) -> tuple[float, float]:
    """Return the mean silhouette of all points from those sampled, (n,), and its standard error."""
    if len(rows) == len(labels):
        return float(points.mean()), 0.0
    _, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    here = which[rows]
    share = sizes / len(labels)
    weight = np.bincount(here, weights, len(sizes))
    seen = weight > 0
    mean = np.bincount(here, weights * points, len(sizes))[seen] / weight[seen]
    share = share[seen] / share[seen].sum()
    full_mean = np.zeros(len(sizes))
    full_mean[seen] = mean
    scatter = (
        np.bincount(here, (weights * (points - full_mean[here])) ** 2, len(sizes))[seen] / weight[seen] ** 2
    )
    return float(share @ mean), float(np.sqrt(share**2 @ scatter))


def _n_classes(labels: Labels) -> int:
    return len(np.unique(labels[labels >= 0]))
