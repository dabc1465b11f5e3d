"""Agreement of labels and ranks with a known truth, always beside what chance would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

BAD_PIXEL_PREFIX = "artefact"
"""Anomaly types that begin so are bad pixels, not odd physics."""
N_PERMUTATIONS = 200
TOP_FRACTIONS = (0.01, 0.05)


def score_labels(
    labels: Sequence[int], truth: Sequence[str], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return ARI and NMI of labels against true classes, with the same scores of shuffled labels.

    Parameters
    ----------
    labels, truth : (N,)
    rng : numpy Generator

    Returns
    -------
    list of {measure, value, null_p50, null_p95}
    """
    given, true = np.asarray(labels), np.asarray(truth)
    rows: list[dict[str, Any]] = []
    for name, measure in (
        ("ARI", adjusted_rand_score),
        ("NMI", normalized_mutual_info_score),
    ):
        null = [float(measure(true, rng.permutation(given))) for _ in range(N_PERMUTATIONS)]
        p50, p95 = np.percentile(null, [50, 95])
        rows.append(
            {
                "measure": name,
                "value": float(measure(true, given)),
                "null_p50": float(p50),
                "null_p95": float(p95),
            }
        )
    return rows


def score_anomalies(
    anomaly_ranks: NDArray[np.int64], anomaly_types: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return which share of the true oddities is among the top ranks, with that of a random order.

    Parameters
    ----------
    anomaly_ranks : (N,) int
        1 = oddest.
    anomaly_types : (N,) str
        "" for ordinary spectra; types that begin with `BAD_PIXEL_PREFIX` are bad pixels and no oddities.

    Returns
    -------
    dict
        ``oddities``: {selected, recall, null, null_p95, n_oddities, artefacts} for each of `TOP_FRACTIONS`,
        the null being a random order's expected recall and its 95th percentile (hypergeometric), and
        artefacts the number of bad spectra selected; ``by_type``: {type, n, recall by selection}.
    """
    types = np.asarray(anomaly_types, dtype=object).astype(str)
    artefact = np.char.startswith(types, BAD_PIXEL_PREFIX)
    odd = (types != "") & ~artefact
    n, n_odd, order = len(types), int(odd.sum()), np.argsort(np.argsort(anomaly_ranks))
    rows: list[dict[str, Any]] = []
    tops: dict[str, NDArray[np.bool_]] = {}
    for share in TOP_FRACTIONS:
        n_top = max(1, round(share * n))
        name = f"top {100 * share:g} %"
        tops[name] = order < n_top
        rows.append(
            {
                "selected": name,
                "recall": float(odd[tops[name]].sum() / n_odd) if n_odd else float("nan"),
                "null": n_top / n,
                "null_p95": float(hypergeom.ppf(0.95, n, n_odd, n_top)) / max(n_odd, 1),
                "n_oddities": n_odd,
                "artefacts": int(artefact[tops[name]].sum()),
            }
        )
    by_type = [
        {
            "type": kind,
            "n": int((types == kind).sum()),
            "recall": {name: float(top[types == kind].mean()) for name, top in tops.items()},
        }
        for kind in np.unique(types[types != ""]).tolist()
    ]
    return {"oddities": rows, "by_type": by_type}
