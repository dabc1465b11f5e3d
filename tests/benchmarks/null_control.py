"""False alarms and detections of the null test, on structureless data and on data with classes.

    python -m tests.benchmarks.null_control [--runs N]

Each run draws 500 points in 16 dimensions, sweeps them and 19 draws of each null model, and tests whether the
selected clustering beats its null at 1 %. Data without classes are drawn from `STRUCTURELESS` in turn; after
every fourth run, data with classes are drawn from `MIXTURES`. The sweep is that of recipe `dja` in latents
and on UMAPs, with fewer settings (`CONFIG`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.selection import score_sweep, select_setting
from distspec.core.spectrum import Floats
from distspec.pipeline.recipes import CONSENSUS_CLUSTERING
from tests.benchmarks.classes import run_sweep

N_POINTS, N_DIMS = 500, 16
WIDTHS = 0.8 ** np.arange(N_DIMS)
"""Standard deviations of the columns."""
CONFIG = replace(
    CONSENSUS_CLUSTERING,
    spaces=("latents", "map"),
    covariance_types=("tied",),
    k_min=4,
    k_max=4,
    n_seeds=4,
    n_init=1,
    umap_n_neighbors=(5,),
    n_umap_seeds=2,
    n_null_draws=19,
)
"""The recipe's algorithms with one k, one covariance type, four members, one initialization and two maps."""
RUNS_PER_MIXTURE = 4
Draw = Callable[[np.random.Generator], Floats]


def gaussian(rng: np.random.Generator) -> Floats:
    """Return a Gaussian whose axes are not the columns."""
    return rng.normal(size=(N_POINTS, N_DIMS)) * WIDTHS @ np.linalg.qr(rng.normal(size=(N_DIMS, N_DIMS)))[0]


def heavy_tailed(rng: np.random.Generator) -> Floats:
    """Return independent columns of Student's t distribution with four degrees of freedom."""
    return rng.standard_t(4.0, (N_POINTS, N_DIMS)) * WIDTHS


def skewed(rng: np.random.Generator) -> Floats:
    """Return independent columns of the gamma distribution of shape 2."""
    return rng.gamma(2.0, size=(N_POINTS, N_DIMS)) * WIDTHS


def flat(rng: np.random.Generator) -> Floats:
    """Return independent uniform columns."""
    return rng.uniform(-1.7, 1.7, (N_POINTS, N_DIMS)) * WIDTHS


STRUCTURELESS: tuple[Draw, ...] = (gaussian, heavy_tailed, skewed, flat)


@dataclass(frozen=True)
class Mixture:
    """Gaussians of different weights whose centers have equal distances from each other.

    Attributes
    ----------
    k : int
        Number of Gaussians.
    distance : float
        Distance of the centers [standard deviations].
    """

    k: int
    distance: float

    def __str__(self) -> str:
        return f"{self.k} at {self.distance:g}σ"

    def draw(self, rng: np.random.Generator) -> Floats:
        """Return points."""
        weights = rng.dirichlet(np.full(self.k, 8.0))
        member = rng.choice(self.k, N_POINTS, p=weights)
        centers = np.zeros((self.k, N_DIMS))
        directions = np.linalg.qr(rng.normal(size=(5, 5)))[0][: self.k]
        centers[:, :5] = directions * self.distance / np.sqrt(2.0)
        return (centers[member] + rng.normal(size=(N_POINTS, N_DIMS))) * WIDTHS


MIXTURES = tuple(
    Mixture(k, distance)
    for k, distance in ((4, 4.0), (3, 5.0), (5, 6.0), (4, 3.0), (4, 5.0), (3, 4.0), (5, 5.0), (4, 6.0))
)


def beats_null(name: str, draw: Draw, seed: int) -> bool:
    """Sweep data, print the selected setting, and return whether it beats its null."""
    x = draw(np.random.default_rng([seed, 7])).astype(np.float32)
    results = run_sweep(ClusteringInputs(x, np.zeros((N_POINTS, 0), np.float32)), CONFIG, seed)
    scores = score_sweep(results, CONFIG)
    on_data = [result for result in results if not result.trial.dataset.is_null]
    selection = select_setting(on_data, scores, CONFIG)
    assert selection is not None
    assert scores.silhouette_test is not None
    assert scores.stability_test is not None
    setting = selection.setting
    beats = scores.beats_null(setting)
    print(
        f"{name:12s} {seed:5d} {setting!s:34s} stability {scores.mean_stability(setting):.2f}, "
        f"p-value of the silhouette {scores.silhouette_test.p_value[setting]:.4f}, "
        f"of the stability {scores.stability_test.p_value[setting]:.4f}: "
        f"{'beats' if beats else 'does not beat'} its null",
        flush=True,
    )
    return bool(beats)


def main() -> None:
    """Count false alarms and detections."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=40, help="number of runs on data without classes")
    n_runs = parser.parse_args().runs
    torch.set_num_threads(1)
    alarms: list[bool] = []
    detections: list[bool] = []
    for i in range(n_runs):
        draw = STRUCTURELESS[i % len(STRUCTURELESS)]
        alarms.append(beats_null(draw.__name__, draw, i))
        is_last, number = i % RUNS_PER_MIXTURE == RUNS_PER_MIXTURE - 1, i // RUNS_PER_MIXTURE
        if is_last and number < len(MIXTURES):
            mixture = MIXTURES[number]
            detections.append(beats_null(str(mixture), mixture.draw, 1000 + i))
    print(f"false alarms: {sum(alarms)} of {len(alarms)}; detections: {sum(detections)} of {len(detections)}")


if __name__ == "__main__":
    main()
