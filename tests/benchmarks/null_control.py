"""How often does a sweep find classes where there are none, and how often where there are some?

``python -m tests.benchmarks.null_control --runs 40``: each run draws data of 500 points in 16 latents, sweeps
them and 19 draws of either null, and asks whether the clustering that is chosen beats its null at 1 %. Data
without classes are of `STRUCTURELESS`, in turns; after every fourth come some of `CLASSES`. The sweep is
recipe `dja`'s in latents and on maps, smaller: `CONFIG`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.selection import score_sweep, select_setting
from distspec.core.spectrum import Floats
from distspec.pipeline.recipes import CONSENSUS_CLUSTERING
from tests.benchmarks.classes import swept

N, D = 500, 16
WIDTHS = 0.8 ** np.arange(D)
CONFIG = replace(
    CONSENSUS_CLUSTERING,
    build_spaces=("latents", "map"),
    covariance_types=("tied",),
    k_min=4,
    k_max=4,
    n_seeds=4,
    n_init=1,
    umap_n_neighbors=(5,),
    maps=2,
    n_null_draws=19,
)
"""gmm, kmeans and hdbscan as in the recipe, but one k and covariance, 4 repeats of one start, 2 maps."""

Draw = Callable[[np.random.Generator], Floats]


def gaussian(rng: np.random.Generator) -> Floats:
    """Return one Gaussian whose axes are not the columns."""
    return rng.normal(size=(N, D)) * WIDTHS @ np.linalg.qr(rng.normal(size=(D, D)))[0]


def heavy(rng: np.random.Generator) -> Floats:
    """Return independent columns with tails: Student's t of four degrees."""
    return rng.standard_t(4.0, (N, D)) * WIDTHS


def skewed(rng: np.random.Generator) -> Floats:
    """Return independent columns with one tail: gamma of shape 2."""
    return rng.gamma(2.0, size=(N, D)) * WIDTHS


def flat(rng: np.random.Generator) -> Floats:
    """Return independent columns without tails."""
    return rng.uniform(-1.7, 1.7, (N, D)) * WIDTHS


def gaussians(rng: np.random.Generator, k: int, apart: float) -> Floats:
    """Return `k` Gaussians of unlike sizes whose centres are `apart` standard deviations from each other."""
    share = rng.dirichlet(np.full(k, 8.0))
    member = rng.choice(k, N, p=share)
    centres = np.zeros((k, D))
    centres[:, :5] = np.linalg.qr(rng.normal(size=(5, 5)))[0][:k] * apart / np.sqrt(2.0)
    return (centres[member] + rng.normal(size=(N, D))) * WIDTHS


STRUCTURELESS: tuple[Draw, ...] = (gaussian, heavy, skewed, flat)
CLASSES = ((4, 4.0), (3, 5.0), (5, 6.0), (4, 3.0), (4, 5.0), (3, 4.0), (5, 5.0), (4, 6.0))
"""How many Gaussians, how far apart."""


def found(draw: Draw, seed: int) -> bool:
    """Sweep data, say what is chosen, and tell whether it beats its null."""
    x = draw(np.random.default_rng([seed, 7])).astype(np.float32)
    results = swept(ClusteringInputs(x, np.zeros((N, 0), np.float32)), CONFIG, seed)
    judgement = score_sweep(results, CONFIG)
    choice = select_setting([each for each in results if not each.trial.dataset.is_null], judgement, CONFIG)
    assert choice is not None
    assert judgement.silhouette_test is not None
    assert judgement.stability_test is not None
    beats = judgement.beats_null(choice.setting)
    chances = [test.p_value[choice.setting] for test in (judgement.silhouette_test, judgement.stability_test)]
    print(
        f"{seed:5d} {choice.setting!s:34s} stability {judgement.mean_stability(choice.setting):.2f}, "
        f"chance by silhouette {chances[0]:.4f}, by stability {chances[1]:.4f}: "
        f"{'beats' if beats else 'does not beat'} its null",
        flush=True,
    )
    return bool(beats)


def main() -> None:
    """Count false alarms, and classes found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=40, help="of data without classes")
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    alarms, classes = [], []
    for i in range(runs):
        draw = STRUCTURELESS[i % len(STRUCTURELESS)]
        print(f"{draw.__name__:9s}", end="")
        alarms.append(found(draw, i))
        if i % 4 == 3 and i // 4 < len(CLASSES):
            k, apart = CLASSES[i // 4]
            print(f"{k} at {apart:g}σ ", end="")
            classes.append(found(partial(gaussians, k=k, apart=apart), 1000 + i))
    print(f"false alarms: {sum(alarms)} of {len(alarms)}; classes found: {sum(classes)} of {len(classes)}")


if __name__ == "__main__":
    main()
