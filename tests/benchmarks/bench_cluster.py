"""The published sweep, 5 to 15 Gaussians × 100 seeds with silhouettes, on a UMAP of 2,743 points.

It is compared with a loop over scikit-learn's `GaussianMixture` and `silhouette_score`, both on one thread. A
pair is the whole sweep and a fifth of the seeds of the loop, whose time is multiplied by five. The sweep in
two threads, which share the numbers of Gaussians, is compared with the sweep in one. The points are a UMAP of
overlapping classes; the time for structureless data, in which trials differ more, is measured as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture

from distspec.clustering.gaussian_mixture import MixtureInit, fit_mixtures
from distspec.clustering.silhouette import silhouette_scores
from distspec.clustering.umap import UmapParams, build_neighbor_graph, compute_umap
from distspec.core.spectrum import Floats
from tests.benchmarks.timing import Row, time_call, time_pair

N_POINTS, N_LATENTS, N_CLASSES = 2743, 16, 8
KS, SEEDS, N_PARTS = range(5, 16), range(100), 5


def run() -> list[Row]:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    points = make_umap()
    return [*_compare_with_loop(points), *_compare_threads(points), *_time_structureless()]


def _make_latents() -> Floats:
    """Return classes of different sizes and shapes, (N_POINTS, N_LATENTS); a fifth lies between classes."""
    rng = np.random.default_rng(0)
    members = rng.choice(N_CLASSES, N_POINTS, p=rng.dirichlet(np.full(N_CLASSES, 3.0)))
    centers = rng.normal(0.0, 0.6, (N_CLASSES, N_LATENTS))
    shapes = rng.normal(0.0, 0.2, (N_CLASSES, N_LATENTS, N_LATENTS))
    x = centers[members] + np.einsum("nij,nj->ni", shapes[members], rng.normal(size=(N_POINTS, N_LATENTS)))
    between = rng.random(N_POINTS) < 0.2
    x[between] = 0.5 * (x[between] + x[rng.permutation(N_POINTS)[: between.sum()]])
    return x + rng.normal(0.0, 0.3, x.shape)


def make_umap() -> Floats:
    """Return simulated points on a UMAP, (N_POINTS, 2)."""
    return _embed(_make_latents())


def _embed(latents: Floats) -> Floats:
    return compute_umap(build_neighbor_graph(latents, 15), UmapParams(0))


def _sweep(points: Floats, ks: Sequence[int] = KS) -> float:
    """Return the highest silhouette of a sweep with distspec."""
    mixtures = fit_mixtures(points, [MixtureInit(k, "full", seed) for k in ks for seed in SEEDS])
    labels = np.array([mixture.predict_proba(points).argmax(axis=1) for mixture in mixtures], np.int32)
    return float(np.nanmax(silhouette_scores(points, labels).silhouette))


def _loop(points: Floats, seeds: Sequence[int]) -> float:
    """Return the highest silhouette of a loop over scikit-learn's mixtures."""
    fits = (GaussianMixture(k, random_state=seed).fit(points) for k in KS for seed in seeds)
    return max(float(silhouette_score(points, fit.predict(points))) for fit in fits)


def _compare_with_loop(points: Floats) -> list[Row]:
    sweep_silhouettes: list[float] = []
    loop_silhouettes: list[float] = []
    seconds: list[tuple[float, float]] = []
    _sweep(points, [5])  # compiles
    for part in range(N_PARTS):
        sweep = time_call(lambda: sweep_silhouettes.append(_sweep(points)))
        loop = time_call(lambda seeds=SEEDS[part::N_PARTS]: loop_silhouettes.append(_loop(points, seeds)))
        seconds.append((sweep, N_PARTS * loop))
    reference = Row("scikit-learn's loop", "s", tuple(loop for _, loop in seconds))
    row = Row("sweep of 1,100 trials, one thread", "s", tuple(sweep for sweep, _ in seconds))
    gain = max(sweep_silhouettes) - max(loop_silhouettes)
    return [row.relative_to(reference), reference, Row("highest silhouette minus the loop's", "", (gain,))]


def _compare_threads(points: Floats) -> list[Row]:
    with ThreadPoolExecutor(2) as pool:
        two, one = time_pair(
            lambda: max(pool.map(lambda ks: _sweep(points, ks), (KS[0::2], KS[1::2]))),
            lambda: _sweep(points),
            repeats=3,
        )
    return [Row("sweep in two threads", "s", two).relative_to(Row("sweep in one thread", "s", one))]


def _time_structureless() -> list[Row]:
    """Time the sweep on a UMAP of a single Gaussian, and on its first two columns."""
    noise = np.random.default_rng(1).normal(size=(N_POINTS, N_LATENTS))
    data = {"UMAP of a single Gaussian": _embed(noise), "a single Gaussian": noise[:, :2]}
    return [
        Row(f"sweep of {name}", "s", tuple(time_call(lambda x=x: _sweep(x)) for _ in range(3)))
        for name, x in data.items()
    ]
