"""What structureless data would score: draws like the sample, and how a score compares with theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import gumbel_r, norm

from distspec.spectrum import Floats
from distspec.sweep import DATA, GAUSSIAN, NULLS, Data

TAIL_DRAWS = 5
"""Fewest draws of a kind that a tail is fitted to."""
LEAST_SPREAD = 0.02
"""Of a score's draws: an algorithm that finds nothing in most of them has no spread to be measured by."""


def structureless(x: Floats, data: Data, seed: int) -> Floats:
    """Return data like `x`, (N, D), without its structure; `x` itself where `data` is the sample or D is 0.

    Parameters
    ----------
    x : (N, D)
    data : Data
        ``gaussian``: one Gaussian of the same mean and covariance; ``permuted``: each column shuffled by
        itself, so that every single distribution stays and nothing of what joins them.
    seed : int
    """
    if data.kind == DATA or not x.size:
        return x
    rng = np.random.default_rng([seed, NULLS.index(data.kind), data.draw])
    if data.kind == GAUSSIAN:
        spread = np.atleast_2d(np.cov(x.T))
        return rng.multivariate_normal(x.mean(axis=0), spread, len(x), check_valid="ignore", method="eigh")
    return rng.permuted(x, axis=0)


@dataclass(frozen=True)
class Against:
    """How scores compare with those of structureless data.

    Attributes
    ----------
    percentile : mapping
        Of each setting: the share of draws that score less, ties half, of the kind that scores more.
    mean : mapping
        Of each setting: the mean of the draws, of the kind that scores more.
    excess : mapping
        Of each setting: score less the mean of the draws, in their standard deviations; the lesser of kinds.
    chance : float
        How often structureless data would score so far beyond its like in any setting of the sweep.
    threshold : float
        The excess that they reach in any setting at the level asked for.
    """

    percentile: Mapping[Any, float]
    mean: Mapping[Any, float]
    excess: Mapping[Any, float]
    chance: float
    threshold: float


def against(
    scores: Mapping[Any, float], drawn: Mapping[str, Mapping[Any, Sequence[float]]], level: float
) -> Against | None:
    """Hold the score of each setting against the same setting's on draws of structureless data.

    A sweep of many settings has many chances: the excess is therefore held against the largest that any
    setting has on each draw, itself held against the other draws. A Gumbel distribution fitted to these
    largest gives the chance, so that 19 draws say something of a level of 1 %; with 99 and more, they are
    counted.

    Parameters
    ----------
    scores : mapping
        Setting to score; more is better.
    drawn : mapping
        Kind of null, to setting, to a score of each draw.
    level : float
        The false alarm rate asked for.

    Returns
    -------
    Against or None
        None where nothing was drawn.
    """
    kinds = [kind for kind in drawn if drawn[kind] and min(map(len, drawn[kind].values())) >= 2]
    if not kinds:
        return None
    each = [_against(scores, drawn[kind], level) for kind in kinds]
    strict = max(each, key=lambda found: found.chance)
    return Against(
        {name: min(found.percentile[name] for found in each) for name in scores},
        {name: max(found.mean[name] for found in each) for name in scores},
        {name: min(found.excess[name] for found in each) for name in scores},
        strict.chance,
        max(found.threshold for found in each),
    )


def _against(scores: Mapping[Any, float], drawn: Mapping[Any, Sequence[float]], level: float) -> Against:
    names = [name for name in scores if name in drawn]
    own = np.array([scores[name] for name in names])
    draws = np.array([drawn[name] for name in names], np.float64)  # (settings, draws)
    n = draws.shape[1]
    below = (draws < own[:, None]).sum(axis=1) + 0.5 * (draws == own[:, None]).sum(axis=1)
    excess = _excess(own, draws)
    largest = np.array([np.nanmax(_excess(draws[:, i], np.delete(draws, i, axis=1))) for i in range(n)])
    most = float(np.nanmax(excess))
    chance, threshold = _tail(largest, most, level)
    return Against(
        {name: float(b / n) for name, b in zip(names, below, strict=True)},
        dict(zip(names, draws.mean(axis=1).tolist(), strict=True)),
        {name: float(e) for name, e in zip(names, excess, strict=True)},
        chance,
        threshold,
    )


def _excess(own: Floats, draws: Floats) -> Floats:
    """Return (own − mean) / standard deviation of draws, (S, n), widened as their number asks for."""
    n = draws.shape[1]
    spread = draws.std(axis=1, ddof=1) * np.sqrt(1.0 + 1.0 / n)
    return (own - draws.mean(axis=1)) / np.maximum(spread, LEAST_SPREAD)


def _tail(largest: Floats, most: float, level: float) -> tuple[float, float]:
    """Return how often the largest excess reaches `most`, and what it reaches at `level`."""
    n = len(largest)
    if n * level >= 1.0 or n < TAIL_DRAWS:
        rank = int(np.count_nonzero(largest >= most))
        return (1 + rank) / (1 + n), float(np.sort(largest)[::-1][min(int(n * level), n - 1)])
    # Moments, not the likelihood: the fit of a few draws shall not hang on the least of them. Their own
    # uncertainty widens it, as a prediction interval does.
    scale = max(float(largest.std(ddof=1)) * np.sqrt(6.0) / np.pi, 1e-9)
    place = float(largest.mean()) - np.euler_gamma * scale
    wider = 1.0 + norm.isf(0.16) / np.sqrt(2.0 * (n - 1))
    tail: Any = gumbel_r(place, scale * wider)
    return float(tail.sf(most)), float(tail.isf(level))
