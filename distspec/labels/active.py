"""Active learning: select the spectra whose labels would help the classifier most."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from distspec.core.spectrum import Floats

POOL_FACTOR = 20
"""Number of candidates, the most uncertain spectra, per suggestion."""


def margin_uncertainty(prob: Floats) -> Floats:
    """Compute how uncertain a classifier is: 1 minus the margin between the two most probable labels.

    Parameters
    ----------
    prob : ndarray of shape (n_spectra, n_labels)
        Probabilities of the labels.

    Returns
    -------
    ndarray of shape (n_spectra,)
        From 0, certain, to 1.

    Examples
    --------
    >>> margin_uncertainty(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    top = np.sort(prob, axis=1)[:, -2:]
    return 1.0 - (top[:, 1] - top[:, 0])


def suggest_spectra(
    points: Floats, prob: Floats, source_id: NDArray[np.str_], n_suggestions: int
) -> NDArray[np.int64]:
    """Select spectra to label next: uncertain ones, at most one per source, spread over the space.

    The most uncertain spectra are grouped by k-means, weighted by their uncertainty, and the spectrum
    nearest to the center of each group is selected.

    Parameters
    ----------
    points : ndarray of shape (n_spectra, n_dimensions)
        Positions of unlabeled spectra in the classifier's input space.
    prob : ndarray of shape (n_spectra, n_labels)
        Probabilities of the labels.
    source_id : ndarray of str, shape (n_spectra,)
        Sources of the spectra.
    n_suggestions : int
        Largest number of suggestions.

    Returns
    -------
    ndarray of shape (n_selected,)
        Indices of the selected spectra, the most uncertain first.

    References
    ----------
    Zhdanov 2019, arXiv:1901.05954.
    """
    uncertainty = margin_uncertainty(prob)
    order = np.argsort(-uncertainty, kind="stable")
    _, first = np.unique(source_id[order], return_index=True)
    pool = order[np.sort(first)][: POOL_FACTOR * n_suggestions]
    if len(pool) <= n_suggestions:
        return pool
    k_means: Any = KMeans  # n_init is an int or "auto", which its type stub does not allow
    groups = k_means(n_suggestions, n_init=1, random_state=0).fit(
        points[pool], sample_weight=uncertainty[pool] + 1e-9
    )
    distance = groups.transform(points[pool])
    return pool[np.unique(distance.argmin(axis=0))]
