"""One trial of the sweep, `fit` and `score`, on 2,743 points of a map with nine islands, one core.

Against its fit alone: the rest is the silhouette and the Davies–Bouldin index.
"""

from __future__ import annotations

import numpy as np

from distspec.clustering import ClusteringConfig, Trial, fit, score
from distspec.spectrum import Floats
from tests.benchmarks.timing import Row, paired

N_POINTS, N_ISLANDS = 2743, 9


def run() -> list[Row]:
    return [row for k in (5, 15) for row in _measure(k)]


def _points() -> Floats:
    rng = np.random.default_rng(0)
    centres = rng.uniform(-5.0, 15.0, (N_ISLANDS, 2))
    shapes = rng.normal(0.0, 1.0, (N_ISLANDS, 2, 2))
    island = rng.integers(0, N_ISLANDS, N_POINTS)
    return centres[island] + np.einsum("nij,nj->ni", shapes[island], rng.normal(size=(N_POINTS, 2)))


def _measure(k: int) -> list[Row]:
    points, trial, sample = _points(), Trial("gmm", k, 0), ClusteringConfig().silhouette_sample
    whole, alone = paired(lambda: score(points, fit(points, trial), sample), lambda: fit(points, trial))
    fitted = Row(f"fit alone, k = {k}", "s", alone)
    return [Row(f"trial, k = {k}", "s", whole).against(fitted), fitted]
