"""What structureless data would score: draws like the sample, and how a score compares with theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import gumbel_r, norm

from distspec.clustering.config import GAUSSIAN, NULL_MODELS, OBSERVED
from distspec.clustering.plan import DatasetSpec
from distspec.core.spectrum import Floats

MIN_TAIL_DRAWS = 5
"""Fewest draws of a kind that a tail is fitted to."""
MIN_EXCEEDANCES = 10
"""From so many draws on that reach a score their count says how often that is; below it the tail does."""
MIN_SPREAD = 0.02
"""Of a score's draws: an algorithm that finds nothing in most of them has no spread to be measured by."""


def draw_null_data(x: Floats, dataset: DatasetSpec, seed: int) -> Floats:
    """Return data like `x`, (N, D), without its structure; `x` itself where `dataset` is the sample or D is 0.

    Parameters
    ----------
    x : (N, D)
    dataset : Data
        ``gaussian``: one Gaussian of the same mean and covariance; ``permuted``: each column shuffled by
        itself, so that every single distribution stays and nothing of what joins them.
    seed : int
    """
    if dataset.null_model == OBSERVED or not x.size:
        return x
    rng = np.random.default_rng([seed, NULL_MODELS.index(dataset.null_model), dataset.draw])
    if dataset.null_model == GAUSSIAN:
        spread = np.atleast_2d(np.cov(x.T))
        return rng.multivariate_normal(x.mean(axis=0), spread, len(x), check_valid="ignore", method="eigh")
    return rng.permuted(x, axis=0)


@dataclass(frozen=True)
class NullTest:
    """How scores compare with those of structureless data.

    Attributes
    ----------
    percentile : mapping
        Of each name: the share of draws that score less, ties half, of the kind that scores more.
    null_mean : mapping
        Of each name: the mean of the draws, of the kind that scores more.
    z_score : mapping
        Of each name: score less the mean of the draws, in their standard deviations; the lesser of kinds.
    p_value : mapping
        Of each name: how often structureless data would score so far beyond its like under any name; of the
        kind where that is more often.
    """

    percentile: Mapping[Any, float]
    null_mean: Mapping[Any, float]
    z_score: Mapping[Any, float]
    p_value: Mapping[Any, float]


def run_null_test(
    scores: Mapping[Any, float],
    null_scores: Mapping[str, Mapping[Any, Sequence[float]]],
    family: Callable[[Any], object] = lambda name: None,
) -> NullTest | None:
    """Hold each score against those of the same name on draws of structureless data.

    A sweep of many settings has many chances: an excess is therefore held against the largest of its family
    on each draw, itself held against the other draws. A Gumbel distribution fitted to these largest gives
    the chance where it is rarer than draws can tell, so that 19 of them say something of a level of 1 %.
    Families are tested apart, each having its share of the chances (Bonferroni), since a score that is
    mostly still and seldom leaps, such as that of an algorithm that finds no clusters in most draws, would
    hide what the steady ones have to say.

    Parameters
    ----------
    scores : mapping
        Name to score; more is better.
    null_scores : mapping
        Kind of null, to name, to a score of each draw.
    family : callable
        Of a name.

    Returns
    -------
    Against or None
        None where nothing was drawn.
    """
    kinds = [
        kind for kind in null_scores if null_scores[kind] and min(map(len, null_scores[kind].values())) >= 2
    ]
    if not kinds:
        return None
    families: dict[object, list[Any]] = {}
    for name in scores:
        families.setdefault(family(name), []).append(name)
    each = [
        _run_family_test({name: scores[name] for name in names}, null_scores[kind], len(families))
        for kind in kinds
        for names in families.values()
    ]
    worst: dict[str, dict[Any, float]] = {}
    for field, most in (("percentile", min), ("null_mean", max), ("z_score", min), ("p_value", max)):
        found: dict[Any, float] = {}
        for against in each:
            for name, value in getattr(against, field).items():
                found[name] = most(found.get(name, value), value)
        worst[field] = found
    return NullTest(**worst)


def _run_family_test(
    scores: Mapping[Any, float], null_scores: Mapping[Any, Sequence[float]], n_families: int
) -> NullTest:
    names = [name for name in scores if name in null_scores]
    own = np.array([scores[name] for name in names])
    draws = np.array([null_scores[name] for name in names], np.float64)  # (names, draws)
    n = draws.shape[1]
    below = (draws < own[:, None]).sum(axis=1) + 0.5 * (draws == own[:, None]).sum(axis=1)
    excess = _z_scores(own, draws)
    largest = np.array([_z_scores(draws[:, i], np.delete(draws, i, axis=1)).max() for i in range(n)])
    chance = np.minimum(n_families * _tail_probability(largest, excess), 1.0)
    values = below / n, draws.mean(axis=1), excess, chance
    return NullTest(*(dict(zip(names, each.tolist(), strict=True)) for each in values))


def _z_scores(scores: Floats, draws: Floats) -> Floats:
    """Return (own − mean) / standard deviation of draws, (S, n), widened as their number asks for."""
    n = draws.shape[1]
    spread = draws.std(axis=1, ddof=1) * np.sqrt(1.0 + 1.0 / n) if n > 1 else np.zeros(len(draws))
    return (scores - draws.mean(axis=1)) / np.maximum(spread, MIN_SPREAD)


def _tail_probability(max_z_scores: Floats, z_scores: Floats) -> Floats:
    """Return how often the largest excess of a draw reaches others, (S,)."""
    n = len(max_z_scores)
    reached = (max_z_scores >= z_scores[:, None]).sum(axis=1)
    counted = (1.0 + reached) / (1.0 + n)
    if n < MIN_TAIL_DRAWS:
        return counted
    # Moments, not the likelihood: the fit of a few draws shall not hang on the least of them. Their own
    # uncertainty widens it, as a prediction interval does.
    scale = max(float(max_z_scores.std(ddof=1)) * np.sqrt(6.0) / np.pi, 1e-9)
    place = float(max_z_scores.mean()) - np.euler_gamma * scale
    wider = 1.0 + norm.isf(0.16) / np.sqrt(2.0 * (n - 1))
    tail: Any = gumbel_r(place, scale * wider)
    return np.where(reached >= MIN_EXCEEDANCES, counted, tail.sf(z_scores))
