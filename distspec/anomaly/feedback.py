"""Anomaly scores that learn from spectra which people marked as interesting or ordinary.

Active anomaly discovery (Das et al. 2017, arXiv:1708.09441) with coniferest's `AADForest`: an isolation
forest whose leaf weights are fitted so that marked spectra rank as they were marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from distspec.core.errors import LabelError
from distspec.core.schema.objects import ANOMALY_COMPONENTS
from distspec.core.spectrum import Floats, Floats32

PARTIAL_SCORES = tuple(column.name for column in ANOMALY_COMPONENTS)
"""Names of the partial scores, which are inputs of the forest in addition to the latents."""
N_TREES, N_SUBSAMPLES = 100, 256
"""Trees of the forest, and spectra from which each tree is grown."""
INTERESTING, ORDINARY = 1, -1
"""Values of marks; 0 means no mark."""


def rescore_with_marks(
    partial_scores: Mapping[str, Floats32],
    latents: Floats32,
    score: Floats32,
    marks: NDArray[np.int8],
    seed: int,
) -> Floats:
    """Compute anomaly scores that take marks into account.

    The score is the sum of two terms -log10(fraction of the spectra that are at least as anomalous): by the
    run's own score, and by a forest that has learned from the marks. Without marks it is the first term
    alone.

    Parameters
    ----------
    partial_scores : mapping of str to ndarray of shape (n_spectra,)
        `PARTIAL_SCORES` by `distspec.anomaly.score.compute_anomaly_scores`.
    latents : ndarray of shape (n_spectra, n_latents)
        Latents in units of the posterior widths.
    score : ndarray of shape (n_spectra,)
        The run's own anomaly scores.
    marks : ndarray of shape (n_spectra,)
        `INTERESTING`, `ORDINARY` or 0.
    seed : int
        Seed of the forest.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Scores [dex]; higher is more anomalous.

    Raises
    ------
    LabelError
        If there are marks and coniferest is not installed.
    """
    own = _log_tail_fraction(score.astype(np.float64))
    if not marks.any():
        return own
    x = np.column_stack([*(partial_scores[name] for name in PARTIAL_SCORES), latents]).astype(np.float64)
    return own + _log_tail_fraction(score_with_aad_forest(x, marks, seed))


def score_with_aad_forest(x: Floats, marks: NDArray[np.int8], seed: int) -> Floats:
    """Score points with a forest that has learned from marks.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dimensions)
        The points.
    marks : ndarray of shape (n_points,)
        `INTERESTING`, `ORDINARY` or 0.
    seed : int
        Seed of the forest.

    Returns
    -------
    ndarray of shape (n_points,)
        Scores; higher is more anomalous.

    Raises
    ------
    LabelError
        If coniferest is not installed.
    """
    try:
        from coniferest.aadforest import AADForest
    except ImportError as error:
        raise LabelError(
            "re-ranking by marks needs coniferest, which is not installed: pip install 'distspec[feedback]'"
        ) from error
    known = np.flatnonzero(marks)
    sample = min(N_SUBSAMPLES, len(x))
    forest: Any = AADForest(n_trees=N_TREES, n_subsamples=sample, n_jobs=1, random_seed=seed)
    # In coniferest an anomaly is -1, and the lowest score is the most anomalous.
    forest.fit_known(x, x[known], -marks[known].astype(np.int64))
    return -np.asarray(forest.score_samples(x), np.float64)


def _log_tail_fraction(scores: Floats) -> Floats:
    """Return -log10 of the fraction of scores that are at least as high."""
    return -np.log10(rankdata(-scores, method="average") / max(len(scores), 1))


@dataclass(frozen=True)
class DiscoveryCurve:
    """Number of interesting spectra found after each mark.

    Attributes
    ----------
    n_found : ndarray of shape (n_marks + 1,)
        Number found by the marks in their order of time.
    n_found_by_rank : ndarray of shape (n_marks + 1,)
        Number of those spectra that the run's own ranking would have shown by then.
    n_unmarked_by_rank : ndarray of shape (n_marks + 1,)
        Number of spectra that the run's own ranking would have shown and that are not marked.
    """

    n_found: NDArray[np.int64]
    n_found_by_rank: NDArray[np.int64]
    n_unmarked_by_rank: NDArray[np.int64]

    @classmethod
    def from_marks(cls, interesting: NDArray[np.bool_], ranks: NDArray[np.int64]) -> DiscoveryCurve:
        """Compute the curve of marks.

        Parameters
        ----------
        interesting : ndarray of bool, shape (n_marks,)
            Whether each mark is "interesting", in order of time.
        ranks : ndarray of shape (n_marks,)
            Ranks of the marked spectra in the run; 1 is the most anomalous.

        Returns
        -------
        DiscoveryCurve
            The numbers of interesting spectra after each mark.

        Examples
        --------
        >>> curve = DiscoveryCurve.from_marks(np.array([True, False, True]), np.array([9, 1, 2]))
        >>> curve.n_found.tolist(), curve.n_found_by_rank.tolist(), curve.n_unmarked_by_rank.tolist()
        ([0, 1, 1, 2], [0, 0, 1, 1], [0, 0, 0, 1])
        """
        n_seen = np.arange(len(ranks) + 1)
        n_found = np.concatenate([[0], np.cumsum(interesting)])
        by_rank = np.searchsorted(np.sort(ranks[interesting]), n_seen, side="right")
        n_marked = np.searchsorted(np.sort(ranks), n_seen, side="right")
        return cls(n_found, by_rank, n_seen - n_marked)
