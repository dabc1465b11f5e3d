"""Null tests: the significance of scores against those of structureless data."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from scipy.stats import gumbel_r, norm

from distspec.core.spectrum import Floats

Key = TypeVar("Key", bound=Hashable)
"""What scores are named by, such as a setting of the sweep."""
MIN_TAIL_DRAWS = 5
"""Number of draws of a null model below which no tail is fitted."""
MIN_EXCEEDANCES = 10
"""Number of draws that reach a score from which their fraction is used as its p-value instead of the fitted
tail."""
MIN_SPREAD = 0.02
"""Smallest standard deviation of null scores; an algorithm that finds no clusters in most draws has none."""


@dataclass(frozen=True)
class NullTest(Generic[Key]):
    """Comparison of scores with those of structureless data, by key.

    With several null models, each value is that of the model that is less favorable to the score.

    Attributes
    ----------
    quantile : mapping
        Fraction of the draws that score less; ties count half.
    null_mean : mapping
        Mean score of the draws.
    z_score : mapping
        Score minus the mean of the draws, in their standard deviations.
    p_value : mapping
        Probability that structureless data reach this z-score under at least one key: corrected for the
        number of keys that were tried.
    """

    quantile: Mapping[Key, float]
    null_mean: Mapping[Key, float]
    z_score: Mapping[Key, float]
    p_value: Mapping[Key, float]


def run_null_test(
    scores: Mapping[Key, float],
    null_scores: Mapping[str, Mapping[Key, Sequence[float]]],
    family: Callable[[Key], Hashable] = lambda key: None,
) -> NullTest[Key] | None:
    """Test scores against those of structureless data.

    A sweep of many settings has many chances to score high. The z-score of a setting is therefore compared
    with the largest z-score of its family in each draw, where a draw's z-scores are taken against the other
    draws. A Gumbel distribution fitted to these maxima gives p-values smaller than the number of draws
    resolves. Families are tested separately with a Bonferroni correction: an algorithm that finds no clusters
    in most draws has rare, large maxima, which would hide significant scores of the others.

    Parameters
    ----------
    scores : mapping of key to float
        Scores of the data; higher is better.
    null_scores : mapping of str to mapping of key to sequence of float
        For each null model and key, the score of each draw.
    family : callable
        Maps a key to the family that it is tested with; by default all keys are one family.

    Returns
    -------
    NullTest or None
        None if fewer than two draws were made.
    """
    null_models = [
        name for name in null_scores if null_scores[name] and min(map(len, null_scores[name].values())) >= 2
    ]
    if not null_models:
        return None
    families: dict[Hashable, list[Key]] = {}
    for key in scores:
        families.setdefault(family(key), []).append(key)
    tests = [
        _run_family_test({key: scores[key] for key in keys}, null_scores[name], len(families))
        for name in null_models
        for keys in families.values()
    ]
    return NullTest(
        quantile=_combine([test.quantile for test in tests], min),
        null_mean=_combine([test.null_mean for test in tests], max),
        z_score=_combine([test.z_score for test in tests], min),
        p_value=_combine([test.p_value for test in tests], max),
    )


def _combine(
    mappings: Sequence[Mapping[Key, float]], least_favorable: Callable[..., float]
) -> dict[Key, float]:
    """Return for each key the least favorable of its values."""
    combined: dict[Key, float] = {}
    for mapping in mappings:
        for key, value in mapping.items():
            combined[key] = least_favorable(combined.get(key, value), value)
    return combined


def _run_family_test(
    scores: Mapping[Key, float], null_scores: Mapping[Key, Sequence[float]], n_families: int
) -> NullTest[Key]:
    """Test the scores of one family against one null model."""
    keys = [key for key in scores if key in null_scores]
    observed = np.array([scores[key] for key in keys])
    draws = np.array([null_scores[key] for key in keys], np.float64)  # (n_keys, n_draws)
    n = draws.shape[1]
    n_below = (draws < observed[:, None]).sum(axis=1) + 0.5 * (draws == observed[:, None]).sum(axis=1)
    z_scores = _z_scores(observed, draws)
    max_z_scores = np.array([_z_scores(draws[:, i], np.delete(draws, i, axis=1)).max() for i in range(n)])
    p_values = np.minimum(n_families * _tail_probability(max_z_scores, z_scores), 1.0)
    columns = n_below / n, draws.mean(axis=1), z_scores, p_values
    return NullTest(*(dict(zip(keys, column.tolist(), strict=True)) for column in columns))


def _z_scores(scores: Floats, draws: Floats) -> Floats:
    """Return (score - mean) / standard deviation of draws, widened for the finite number of draws."""
    n = draws.shape[1]
    spread = draws.std(axis=1, ddof=1) * np.sqrt(1.0 + 1.0 / n) if n > 1 else np.zeros(len(draws))
    return (scores - draws.mean(axis=1)) / np.maximum(spread, MIN_SPREAD)


def _tail_probability(max_z_scores: Floats, z_scores: Floats) -> Floats:
    """Return for each z-score the probability that the largest z-score of a draw is at least as high."""
    n = len(max_z_scores)
    n_reached = (max_z_scores >= z_scores[:, None]).sum(axis=1)
    counted = (1.0 + n_reached) / (1.0 + n)
    if n < MIN_TAIL_DRAWS:
        return counted
    # Moments instead of maximum likelihood, so that the fit to a few draws does not depend on the lowest of
    # them. The scale is widened by its own uncertainty, as in a prediction interval.
    scale = max(float(max_z_scores.std(ddof=1)) * np.sqrt(6.0) / np.pi, 1e-9)
    location = float(max_z_scores.mean()) - np.euler_gamma * scale
    widening = 1.0 + norm.isf(0.16) / np.sqrt(2.0 * (n - 1))
    tail: Any = gumbel_r(location, scale * widening)
    return np.where(n_reached >= MIN_EXCEEDANCES, counted, tail.sf(z_scores))
