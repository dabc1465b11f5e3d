"""The paper's sweep, 5 to 15 Gaussians × 100 seeds with their silhouettes, on a map of 2,743 points.

Against a loop of scikit-learn's `GaussianMixture` and `silhouette_score`, both on one thread. A pair is our
whole sweep, then every fifth seed of the loop, times five: five pairs run the loop once. Then ours in two
threads, which share the numbers of Gaussians, against ours in one. The map is UMAP's, of classes that run
into each other; sweeps of noise, where trials have less in common, are shown beside it.
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
from tests.benchmarks.timing import Row, paired, seconds

N_POINTS, N_LATENTS, N_CLASSES = 2743, 16, 8
KS, SEEDS, SHARES = range(5, 16), range(100), 5


def run() -> list[Row]:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    points = paper_map()
    return [*_against_a_loop(points), *_two_threads(points), *_noise()]


def _latents() -> Floats:
    """Return classes of unlike shares and shapes, (N, 16); a fifth of all points lies between two of them."""
    rng = np.random.default_rng(0)
    members = rng.choice(N_CLASSES, N_POINTS, p=rng.dirichlet(np.full(N_CLASSES, 3.0)))
    centres = rng.normal(0.0, 0.6, (N_CLASSES, N_LATENTS))
    shapes = rng.normal(0.0, 0.2, (N_CLASSES, N_LATENTS, N_LATENTS))
    x = centres[members] + np.einsum("nij,nj->ni", shapes[members], rng.normal(size=(N_POINTS, N_LATENTS)))
    between = rng.random(N_POINTS) < 0.2
    x[between] = 0.5 * (x[between] + x[rng.permutation(N_POINTS)[: between.sum()]])
    return x + rng.normal(0.0, 0.3, x.shape)


def paper_map() -> Floats:
    """Return 2,743 made-up points on a map, (N, 2)."""
    return _map(_latents())


def _map(latents: Floats) -> Floats:
    return compute_umap(build_neighbor_graph(latents, 15), UmapParams(0))


def _ours(points: Floats, ks: Sequence[int] = KS) -> float:
    """Return the best silhouette."""
    starts = [MixtureInit(k, "full", seed) for k in ks for seed in SEEDS]
    mixtures = fit_mixtures(points, starts)
    labels = np.array([mixture.predict_proba(points).argmax(axis=1) for mixture in mixtures], np.int32)
    return float(np.nanmax(silhouette_scores(points, labels).silhouette))


def _loop(points: Floats, seeds: Sequence[int]) -> float:
    fits = (GaussianMixture(k, random_state=seed).fit(points) for k in KS for seed in seeds)
    return max(float(silhouette_score(points, fit.predict(points))) for fit in fits)


def _against_a_loop(points: Floats) -> list[Row]:
    found: dict[str, list[float]] = {"ours": [], "loop": []}
    times: list[tuple[float, float]] = []
    _ours(points, [5])  # compiled
    for share in range(SHARES):
        first = seconds(lambda: found["ours"].append(_ours(points)))
        second = seconds(lambda seeds=SEEDS[share::SHARES]: found["loop"].append(_loop(points, seeds)))
        times.append((first, SHARES * second))
    loop = Row("scikit-learn's loop", "s", tuple(second for _, second in times))
    ours = Row("sweep of 1,100 trials, one thread", "s", tuple(first for first, _ in times))
    gain = max(found["ours"]) - max(found["loop"])
    return [ours.run_null_test(loop), loop, Row("best silhouette less the loop's", "", (gain,))]


def _two_threads(points: Floats) -> list[Row]:
    with ThreadPoolExecutor(2) as pool:
        two, one = paired(
            lambda: max(pool.map(lambda ks: _ours(points, ks), (KS[0::2], KS[1::2]))),
            lambda: _ours(points),
            repeats=3,
        )
    alone = Row("sweep on one thread", "s", one)
    return [Row("sweep on two threads", "s", two).run_null_test(alone)]


def _noise() -> list[Row]:
    """One Gaussian: the map of it, and its two leading columns as they are."""
    noise = np.random.default_rng(1).normal(size=(N_POINTS, N_LATENTS))
    cases = {"UMAP of a single Gaussian": _map(noise), "a single Gaussian": noise[:, :2]}
    return [
        Row(f"sweep of {name}", "s", tuple(seconds(lambda x=x: _ours(x)) for _ in range(3)))
        for name, x in cases.items()
    ]
