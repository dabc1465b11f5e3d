"""How well the nearest neighbors in a latent space predict a property, beside permuted values of it.

Every point is predicted from its neighbors among the others, so that no part of the sample is held out.
Points must be of different sources: `sample_sources` selects them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from distspec.core.spectrum import Floats

N_NEIGHBORS = 10
N_PERMUTATIONS = 200
N_BOOTSTRAPS = 200
MAX_SAMPLE_SIZE = 4_000
"""Largest number of sources of a sample: an exact search compares all pairs."""
MIN_SAMPLE_SIZE = 50
"""Smallest number of points for which a property is scored."""
MIN_GROUP_SIZE = 10
"""Smallest number of points with a value that is predicted as a category."""
Neighbors = NDArray[np.int64]


@dataclass(frozen=True)
class NeighborScore:
    """Score of a prediction from neighbors, and of the same prediction of permuted values.

    Attributes
    ----------
    score : float
        Fraction of the points that is predicted correctly, or R² for numbers.
    std : float
        Standard deviation of the score over bootstrap samples of the points.
    null_mean, null_std : float
        Mean and standard deviation of the scores of permuted values.
    p_value : float
        Probability of so high a score for permuted values; at least 1 / (`N_PERMUTATIONS` + 1).
    """

    score: float
    std: float
    null_mean: float
    null_std: float
    p_value: float

    @property
    def skill(self) -> float:
        """Part of the way from the mean of the null to a perfect score of 1."""
        return (
            (self.score - self.null_mean) / (1.0 - self.null_mean) if self.null_mean < 1.0 else float("nan")
        )


def sample_sources(source_ids: Sequence[str], rng: np.random.Generator) -> NDArray[np.int64]:
    """Select one spectrum of each source, at random, of at most `MAX_SAMPLE_SIZE` sources.

    Parameters
    ----------
    source_ids : sequence of str, length n_spectra
        Source of each spectrum.
    rng : numpy.random.Generator
        Draws the spectra.

    Returns
    -------
    ndarray of shape (n_sample,)
        Positions of the spectra, ascending.
    """
    order = rng.permutation(len(source_ids))
    _, first = np.unique(np.asarray(source_ids)[order], return_index=True)
    return np.sort(rng.permutation(order[first])[:MAX_SAMPLE_SIZE])


def find_neighbors(points: Any) -> Neighbors:
    """Find the nearest other points of each point.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_dimensions)
        At least `N_NEIGHBORS` + 1 points.

    Returns
    -------
    ndarray of shape (n_points, N_NEIGHBORS)
        Positions of the neighbors by Euclidean distance, nearest first.
    """
    return NearestNeighbors(n_neighbors=N_NEIGHBORS).fit(points).kneighbors(return_distance=False)


def measure_agreement(neighbors: Neighbors, others: Neighbors) -> float:
    """Return the mean fraction of a point's neighbors in one space that are its neighbors in another.

    Parameters
    ----------
    neighbors, others : ndarray of shape (n_points, N_NEIGHBORS)
        Neighbors of the same points in two spaces.
    """
    return float(_find_shared(neighbors, others).mean())


def _find_shared(neighbors: Neighbors, others: Neighbors) -> NDArray[np.bool_]:
    return (neighbors[:, :, None] == others[:, None, :]).any(axis=2)


def compare_neighbors(neighbors: Neighbors, others: Neighbors, rng: np.random.Generator) -> NeighborScore:
    """Compare the agreement of two spaces with that of spaces whose points are permuted.

    Parameters
    ----------
    neighbors, others : ndarray of shape (n_points, N_NEIGHBORS)
        Neighbors of the same points in two spaces.
    rng : numpy.random.Generator
        Draws the permutations.

    Returns
    -------
    NeighborScore
    """

    def score_permuted() -> float:
        order = rng.permutation(len(others))
        inverse = np.argsort(order)
        return measure_agreement(neighbors, inverse[others[order]])

    lost = 1.0 - _find_shared(neighbors, others).mean(axis=1)
    return _compare(lost, np.ones(len(lost)), score_permuted, rng)


def score_category(
    neighbors: Neighbors, values: Any, rng: np.random.Generator, strata: Any = None
) -> NeighborScore:
    """Predict a category by the vote of the neighbors; of as many votes that of the nearer ones counts.

    Parameters
    ----------
    neighbors : ndarray of shape (n_points, N_NEIGHBORS)
        Neighbors of each point.
    values : array-like of shape (n_points,)
        Category of each point.
    rng : numpy.random.Generator
        Draws the permutations.
    strata : ndarray of shape (n_points,), optional
        Values are permuted among points of the same stratum; by default among all.

    Returns
    -------
    NeighborScore
        Its score is the fraction of correct predictions.
    """
    names, codes = np.unique(np.asarray(values), return_inverse=True)
    rows = np.repeat(np.arange(len(codes)), neighbors.shape[1])
    weight = np.tile(1.0 + 1e-3 * np.arange(neighbors.shape[1])[::-1], len(codes))

    def is_wrong(categories: NDArray[np.int64]) -> NDArray[np.bool_]:
        cells = rows * len(names) + categories[neighbors].ravel()
        votes = np.bincount(cells, weight, len(codes) * len(names)).reshape(len(codes), len(names))
        return votes.argmax(axis=1) != categories

    def score_permuted() -> float:
        return 1.0 - float(is_wrong(codes[_permute(len(codes), strata, rng)]).mean())

    return _compare(is_wrong(codes).astype(float), np.ones(len(codes)), score_permuted, rng)


def score_number(neighbors: Neighbors, values: Floats, rng: np.random.Generator) -> NeighborScore:
    """Predict a number by the mean of the neighbors.

    Parameters
    ----------
    neighbors : ndarray of shape (n_points, N_NEIGHBORS)
        Neighbors of each point.
    values : ndarray of shape (n_points,)
        Finite numbers that are not all equal.
    rng : numpy.random.Generator
        Draws the permutations.

    Returns
    -------
    NeighborScore
        Its score is R²; that of the mean of `N_NEIGHBORS` random values is about -1 / `N_NEIGHBORS`.
    """
    total = np.square(values - values.mean())

    def errors(numbers: Floats) -> Floats:
        return np.square(numbers - numbers[neighbors].mean(axis=1))

    def score_permuted() -> float:
        return 1.0 - float(errors(values[_permute(len(values), None, rng)]).sum() / total.sum())

    return _compare(errors(values), total, score_permuted, rng)


def divide_into_strata(columns: Sequence[Floats], n_bins: int) -> NDArray[np.int64]:
    """Divide points into cells of quantiles of several numbers.

    Parameters
    ----------
    columns : sequence of ndarray of shape (n_points,)
        Finite numbers.
    n_bins : int
        Number of quantile ranges of each.

    Returns
    -------
    ndarray of int64, shape (n_points,)
        Number of the cell of each point.
    """
    strata = np.zeros(len(columns[0]), np.int64)
    for values in columns:
        edges = np.quantile(values, np.linspace(0.0, 1.0, n_bins + 1)[1:-1])
        strata = strata * n_bins + np.searchsorted(edges, values, side="right")
    return strata


def select_groups(values: Sequence[str | None]) -> NDArray[np.int64]:
    """Return the positions of the values that occur at least `MIN_GROUP_SIZE` times.

    Parameters
    ----------
    values : sequence of str or None
        Categories; None if unknown.

    Returns
    -------
    ndarray of shape (n_selected,)
        Ascending; empty if there are not two such values, or fewer than `MIN_SAMPLE_SIZE` positions.
    """
    known = np.array([value is not None and value != "" for value in values], bool)
    texts = np.array([value or "" for value in values])
    names, counts = np.unique(texts[known], return_counts=True)
    frequent = names[counts >= MIN_GROUP_SIZE]
    rows = np.flatnonzero(known & np.isin(texts, frequent))
    return rows if len(frequent) > 1 and len(rows) >= MIN_SAMPLE_SIZE else rows[:0]


def _permute(n: int, strata: Any, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a permutation of 0 … n − 1, within strata if they are given."""
    if strata is None:
        return rng.permutation(n)
    order = np.lexsort((rng.random(n), strata))
    permuted = np.empty(n, np.int64)
    permuted[np.argsort(strata, kind="stable")] = order
    return permuted


def _compare(
    losses: Floats, totals: Floats, score_permuted: Callable[[], float], rng: np.random.Generator
) -> NeighborScore:
    """Return the score 1 − Σ loss / Σ total of all points, beside those of permuted values."""
    score = 1.0 - float(losses.sum() / totals.sum())
    counts = rng.multinomial(len(losses), np.full(len(losses), 1.0 / len(losses)), N_BOOTSTRAPS)
    std = float(np.std(1.0 - (counts @ losses) / (counts @ totals), ddof=1))
    null = np.array([score_permuted() for _ in range(N_PERMUTATIONS)])
    p_value = (1 + np.count_nonzero(null >= score)) / (N_PERMUTATIONS + 1)
    return NeighborScore(score, std, float(null.mean()), float(null.std(ddof=1)), float(p_value))
