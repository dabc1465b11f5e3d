"""Sets of labels that hold the right one at a stated rate, for each label by itself.

Cross-conformal prediction (Vovk 2015, Ann. Math. Artif. Intell. 74, 9), Mondrian by label: a label is in a
spectrum's set unless at most a share `error` of the spectra that people gave it look as little like it. Each
labelled spectrum was judged by a model that had not seen its source, and is compared with what that same
model says of the new one (CV+; Romano et al. 2020, NeurIPS 33, 3581). Sources count, not spectra: repeats
of one share its weight (Lee, Barber & Willett 2023, arXiv 2306.06342).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from distspec.core.spectrum import Floats

Ints = NDArray[np.int64]


def min_sources_to_exclude(alpha: float) -> int:
    """Return how many labelled sources a label takes before any set can leave it out.

    Examples
    --------
    >>> needed(0.1), needed(0.05)
    (9, 19)
    """
    return math.ceil(1.0 / alpha - 1e-9) - 1


def compute_source_weights(source_id: NDArray[np.str_]) -> Floats:
    """Return the weight of each spectrum, (N,): one over how many its source has."""
    _, at, n = np.unique(source_id, return_inverse=True, return_counts=True)
    return 1.0 / n[at]


def conformal_p_values(
    true_label_prob: Floats, label_code: Ints, sample_weight: Floats, fold: Ints, prob: Floats
) -> Floats:
    """Return how well new spectra go with each label, (N, K): uniform for the right one.

    Parameters
    ----------
    true_label_prob : (n,)
        Probability of its own label for each labelled spectrum, by the model of its fold.
    label_code : (n,)
        That label, 0 … K − 1.
    sample_weight : (n,)
        `compute_source_weights`.
    fold : (n,)
        Which model has not seen it, 0 … F − 1.
    prob : (F, N, K)
        Probabilities of new spectra by each model.

    Examples
    --------
    Nine spectra of one label, judged by one model: nothing is as unlike it as the last.

    >>> own, said = np.arange(1, 10) / 10, np.array([[[0.95], [0.55], [0.05]]])
    >>> zeros = np.zeros(9, np.int64)
    >>> p_values(own, zeros, np.ones(9), zeros, said)[:, 0].tolist()
    [1.0, 0.6, 0.1]
    """
    _, n, n_labels = prob.shape
    found = np.zeros((n, n_labels))
    for k in range(n_labels):
        total = sample_weight[label_code == k].sum()
        for f in range(len(prob)):
            mine = (label_code == k) & (fold == f)
            order = np.argsort(true_label_prob[mine])
            below = np.concatenate([[0.0], np.cumsum(sample_weight[mine][order])])
            found[:, k] += below[np.searchsorted(true_label_prob[mine][order], prob[f, :, k], side="right")]
        found[:, k] = (found[:, k] + 1.0) / (total + 1.0)
    return found


def prediction_sets(p_values: Floats, alpha: float) -> NDArray[np.bool_]:
    """Return which labels each spectrum may have, (N, K): all that are not refuted.

    Examples
    --------
    >>> sets(np.array([[0.1, 0.5]]), 0.1).tolist()
    [[False, True]]
    """
    return p_values > alpha + 1e-12
