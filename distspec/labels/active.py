"""Which spectra to label next: those that the classifier is torn about, spread over where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from distspec.core.spectrum import Floats

POOL_FACTOR = 20
"""Of so many of the most uncertain for each that is asked for."""


def margin_uncertainty(prob: Floats) -> Floats:
    """Return how undecided each spectrum is, (N,): 1 less the margin between its two likeliest labels.

    Examples
    --------
    >>> torn(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    top = np.sort(prob, axis=1)[:, -2:]
    return 1.0 - (top[:, 1] - top[:, 0])


def suggest_spectra(
    points: Floats, prob: Floats, source_id: NDArray[np.str_], n_suggestions: int
) -> NDArray[np.int64]:
    """Return which spectra are most useful to label next, (≤ n,), the most torn first.

    The most torn, one of each source, are gathered in `n_suggestions` groups by k-means weighted with how torn they are,
    and each group gives the one nearest its centre (Zhdanov 2019, arXiv 1901.05954).

    Parameters
    ----------
    points : (N, D)
        Where spectra without a label lie.
    prob : (N, K)
    source_id : (N,) str
    n_suggestions : int
    """
    doubt = margin_uncertainty(prob)
    order = np.argsort(-doubt, kind="stable")
    _, first = np.unique(source_id[order], return_index=True)
    pool = order[np.sort(first)][: POOL_FACTOR * n_suggestions]
    if len(pool) <= n_suggestions:
        return pool
    k_means: Any = KMeans  # n_init is an int or "auto"
    groups = k_means(n_suggestions, n_init=1, random_state=0).fit(
        points[pool], sample_weight=doubt[pool] + 1e-9
    )
    distance = groups.transform(points[pool])
    picked = np.unique(distance.argmin(axis=0))
    return pool[picked]
