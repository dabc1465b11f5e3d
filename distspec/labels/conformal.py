"""Conformal prediction sets, which contain the true label with a given probability, for each label.

Cross-conformal prediction (Vovk 2015, Ann. Math. Artif. Intell. 74, 9), Mondrian by label: a prediction set
at level alpha leaves out a label if at most a fraction alpha of the spectra with that label conform to it
as little. The score of a labeled spectrum is its probability by a model that was trained without its
source. It is compared with the probability that the same model gives to the new spectrum (CV+: Romano et
al. 2020, NeurIPS 33, 3581). Spectra of one source share one weight (Lee, Barber & Willett 2023,
arXiv:2306.06342).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from distspec.core.spectrum import Floats

Ints = NDArray[np.int64]


def min_sources_to_exclude(alpha: float) -> int:
    """Return the number of labeled sources that a label needs before a prediction set can exclude it.

    Parameters
    ----------
    alpha : float
        Miscoverage level.

    Returns
    -------
    int
        Number of sources.

    Examples
    --------
    >>> min_sources_to_exclude(0.1), min_sources_to_exclude(0.05)
    (9, 19)
    """
    return math.ceil(1.0 / alpha - 1e-9) - 1


def compute_source_weights(source_id: NDArray[np.str_]) -> Floats:
    """Return the weight of each spectrum, 1 / number of spectra of its source.

    Parameters
    ----------
    source_id : ndarray of str, shape (n_spectra,)
        Sources of the spectra.

    Returns
    -------
    ndarray of shape (n_spectra,)
    """
    _, index, n = np.unique(source_id, return_inverse=True, return_counts=True)
    return 1.0 / n[index]


def conformal_p_values(
    true_label_prob: Floats, label_code: Ints, sample_weight: Floats, fold: Ints, prob: Floats
) -> Floats:
    """Compute conformal p-values of new spectra; that of the true label is uniform or larger.

    Parameters
    ----------
    true_label_prob : ndarray of shape (n_labeled,)
        Probability of the true label of each labeled spectrum, by the model of its fold.
    label_code : ndarray of shape (n_labeled,)
        Index of that label.
    sample_weight : ndarray of shape (n_labeled,)
        Result of `compute_source_weights`.
    fold : ndarray of shape (n_labeled,)
        Index of the model that was trained without the spectrum.
    prob : ndarray of shape (n_folds, n_spectra, n_labels)
        Probabilities of new spectra by each model.

    Returns
    -------
    ndarray of shape (n_spectra, n_labels)

    Examples
    --------
    Nine spectra of one label and one model; the last new spectrum is less probable than all of them:

    >>> true_label_prob, prob = np.arange(1, 10) / 10, np.array([[[0.95], [0.55], [0.05]]])
    >>> zeros = np.zeros(9, np.int64)
    >>> conformal_p_values(true_label_prob, zeros, np.ones(9), zeros, prob)[:, 0].tolist()
    [1.0, 0.6, 0.1]
    """
    _, n, n_labels = prob.shape
    p_values = np.zeros((n, n_labels))
    for k in range(n_labels):
        total = sample_weight[label_code == k].sum()
        for f in range(len(prob)):
            members = (label_code == k) & (fold == f)
            order = np.argsort(true_label_prob[members])
            below = np.concatenate([[0.0], np.cumsum(sample_weight[members][order])])
            rank = np.searchsorted(true_label_prob[members][order], prob[f, :, k], side="right")
            p_values[:, k] += below[rank]
        p_values[:, k] = (p_values[:, k] + 1.0) / (total + 1.0)
    return p_values


def prediction_sets(p_values: Floats, alpha: float) -> NDArray[np.bool_]:
    """Return which labels each prediction set contains: those whose p-value exceeds alpha.

    Parameters
    ----------
    p_values : ndarray of shape (n_spectra, n_labels)
        Result of `conformal_p_values`.
    alpha : float
        Miscoverage level: sets miss the true label with at most this probability.

    Returns
    -------
    ndarray of bool, shape (n_spectra, n_labels)

    Examples
    --------
    >>> prediction_sets(np.array([[0.1, 0.5]]), 0.1).tolist()
    [[False, True]]
    """
    return p_values > alpha + 1e-12
