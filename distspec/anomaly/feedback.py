"""Anomalies with a person in the loop: what somebody marks interesting or ordinary re-ranks the rest.

Active anomaly discovery (Das et al. 2017, arXiv 1708.09441) by coniferest's `AADForest`: an isolation forest
whose leaves are weighed anew so that marked spectra come out on the right side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from distspec.core.spectrum import Floats, Floats32

PARTIAL_SCORES = ("anomaly_recon", "anomaly_line", "anomaly_density", "anomaly_neighbours", "anomaly_forest")
N_TREES, N_SUBSAMPLES = 100, 256
INTERESTING, ORDINARY = 1, -1
"""Marks; 0 is none."""


def rescore_with_marks(
    partial_scores: Mapping[str, Floats32],
    latents: Floats32,
    score: Floats32,
    marks: NDArray[np.int8],
    seed: int,
) -> Floats:
    """Return how odd spectra are after what was said of some, (N,), the higher the odder [dex].

    The sum of −log10 of the shares at least as odd: by the run's own score, and by the forest that has
    learnt from the marks. Without marks the run's own score alone.

    Parameters
    ----------
    partial_scores : mapping
        `PARTS` of `distspec.anomaly.score.compute_anomaly_scores`, (N,) each.
    latents : (N, D)
        In posterior widths.
    score : (N,)
        The run's own.
    marks : (N,)
        `INTERESTING`, `ORDINARY` or 0.
    seed : int
        Of the forest: the same seed and marks give the same scores.

    Raises
    ------
    RuntimeError
        When coniferest is not installed; says how to.
    """
    own = _log_tail_fraction(score.astype(np.float64))
    if not marks.any():
        return own
    x = np.column_stack([*(partial_scores[name] for name in PARTIAL_SCORES), latents]).astype(np.float64)
    return own + _log_tail_fraction(score_with_aad_forest(x, marks, seed))


def score_with_aad_forest(x: Floats, marks: NDArray[np.int8], seed: int) -> Floats:
    """Return how odd a forest finds points that has been told of some, (N,), the higher the odder.

    Parameters
    ----------
    x : (N, D)
    marks : (N,) int8
        `INTERESTING`, `ORDINARY`, or 0 of those nobody marked.
    seed : int

    Raises
    ------
    RuntimeError
        When coniferest is not installed.
    """
    try:
        from coniferest.aadforest import AADForest
    except ImportError as error:
        raise RuntimeError(
            "marks re-rank anomalies by coniferest, which is not installed: pip install 'distspec[feedback]'"
        ) from error
    known = np.flatnonzero(marks)
    sample = min(N_SUBSAMPLES, len(x))
    forest: Any = AADForest(n_trees=N_TREES, n_subsamples=sample, n_jobs=1, random_seed=seed)
    forest.fit_known(x, x[known], -marks[known].astype(np.int64))  # its anomalies are −1
    return -np.asarray(forest.score_samples(x), np.float64)  # its lowest is the oddest


def _log_tail_fraction(scores: Floats) -> Floats:
    return -np.log10(rankdata(-scores, method="average") / max(len(scores), 1))


@dataclass(frozen=True)
class DiscoveryCurve:
    """How many interesting spectra were found after each of M marks, (M + 1,) each.

    Attributes
    ----------
    n_found : of marks, in order of time
    n_found_by_rank : of those interesting, by the run's own order
    n_unmarked_by_rank : by the run's own order, of which nobody has said anything
    """

    n_found: NDArray[np.int64]
    n_found_by_rank: NDArray[np.int64]
    n_unmarked_by_rank: NDArray[np.int64]

    @classmethod
    def from_marks(cls, interesting: NDArray[np.bool_], ranks: NDArray[np.int64]) -> DiscoveryCurve:
        """Return it of marks in order of time, (M,), and the run's ranks of those spectra, 1 the oddest.

        Examples
        --------
        >>> progress = Progress.of(np.array([True, False, True]), np.array([9, 1, 2]))
        >>> progress.found.tolist(), progress.own.tolist(), progress.unmarked.tolist()
        ([0, 1, 1, 2], [0, 0, 1, 1], [0, 0, 0, 1])
        """
        looks = np.arange(len(ranks) + 1)
        found = np.concatenate([[0], np.cumsum(interesting)])
        own, known = (
            np.searchsorted(np.sort(each), looks, side="right") for each in (ranks[interesting], ranks)
        )
        return cls(found, own, looks - known)
