"""False alarms of the null test on data without classes, and detections of Gaussians, with intervals.

    python -m tests.benchmarks.null_control [--runs N] [--detections N] [--draws N] [--first-seed N]
        [--jobs N]

`--runs` is the number of samples of each of six shapes without classes. Each sample is swept once; the
selected setting is tested against all null models, and against the two of earlier versions by the same
draws. A run announces classes if the setting beats all null models and is reproducible as well. With
`--spaces latents map` UMAPs are made as well, which takes three times as long.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

import numpy as np
import torch
from scipy.stats import binomtest

from distspec.clustering.config import GAUSSIAN, NULL_MODELS, OBSERVED, PERMUTED, ClusteringConfig
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.selection import select_setting
from distspec.clustering.sweep_scores import score_sweep
from distspec.core.spectrum import Floats
from distspec.pipeline.recipes import CONSENSUS_CLUSTERING
from tests.benchmarks.classes import run_sweep

N_POINTS, N_DIMS = 400, 9
WIDTHS = 0.8 ** np.arange(N_DIMS)
"""Standard deviations along the axes."""
CONFIG = replace(
    CONSENSUS_CLUSTERING,
    covariance_types=("tied",),
    k_min=4,
    k_max=4,
    n_models=1,
    n_seeds=4,
    n_init=1,
    umap_n_neighbors=(5,),
    n_umap_seeds=2,
)
"""The recipe's algorithms with one k, one covariance type, four members, one initialization and two maps."""
NULL_SETS = {"beats two null models": (GAUSSIAN, PERMUTED), "beats all null models": NULL_MODELS}
ANNOUNCED = "announced as classes"
OUTCOMES = (*NULL_SETS, ANNOUNCED)
Draw = Callable[[np.random.Generator], Floats]


def draw_gaussian(rng: np.random.Generator) -> Floats:
    """Return a Gaussian."""
    return rng.normal(size=(N_POINTS, N_DIMS))


def draw_student_t(rng: np.random.Generator) -> Floats:
    """Return a multivariate t distribution with five degrees of freedom."""
    return rng.normal(size=(N_POINTS, N_DIMS)) * np.sqrt(5.0 / rng.chisquare(5.0, (N_POINTS, 1)))


def draw_heteroscedastic(rng: np.random.Generator) -> Floats:
    """Return a Gaussian whose spread along the other axes grows along the first, e-fold over 2σ."""
    x = rng.normal(size=(N_POINTS, N_DIMS))
    x[:, 1:] *= np.exp(0.5 * x[:, :1])
    return x


def draw_skewed(rng: np.random.Generator) -> Floats:
    """Return gamma distributions of shape 2 along all axes."""
    return (rng.gamma(2.0, size=(N_POINTS, N_DIMS)) - 2.0) / np.sqrt(2.0)


def draw_curved(rng: np.random.Generator) -> Floats:
    """Return a Gaussian that is bent along a parabola in the first two axes, and in the next two."""
    x = rng.normal(size=(N_POINTS, N_DIMS))
    x[:, [1, 3]] += 0.7 * (x[:, [0, 2]] ** 2 - 1.0)
    return x


def draw_flat(rng: np.random.Generator) -> Floats:
    """Return uniform distributions along all axes."""
    return rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), (N_POINTS, N_DIMS))


STRUCTURELESS: Mapping[str, Draw] = {
    "Gaussian": draw_gaussian,
    "Student t, 5 degrees": draw_student_t,
    "heteroscedastic": draw_heteroscedastic,
    "skewed (gamma)": draw_skewed,
    "curved": draw_curved,
    "flat": draw_flat,
}


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

    def draw(self, rng: np.random.Generator) -> Floats:
        """Return points."""
        weights = rng.dirichlet(np.full(self.k, 8.0))
        member = rng.choice(self.k, N_POINTS, p=weights)
        centers = np.zeros((self.k, N_DIMS))
        directions = np.linalg.qr(rng.normal(size=(5, 5)))[0][: self.k]
        centers[:, :5] = directions * self.distance / np.sqrt(2.0)
        return centers[member] + rng.normal(size=(N_POINTS, N_DIMS))


MIXTURES = {
    f"{distance:g}σ apart": [Mixture(k, distance) for k in (3, 4, 5)] for distance in (3.0, 4.0, 5.0, 6.0)
}


def sweep_sample(draw: Draw, seed: int, config: ClusteringConfig) -> dict[str, bool]:
    """Sweep a sample, and return which of `OUTCOMES` hold for the setting that is selected."""
    torch.set_num_threads(1)
    rng = np.random.default_rng([seed, 7])
    x = draw(rng) * WIDTHS @ np.linalg.qr(rng.normal(size=(N_DIMS, N_DIMS)))[0]
    inputs = ClusteringInputs(x.astype(np.float32), np.zeros((N_POINTS, 0), np.float32))
    results = run_sweep(inputs, config, seed)
    on_data = [result for result in results if not result.trial.dataset.is_null]
    outcomes: dict[str, bool] = {}
    for name, null_models in NULL_SETS.items():
        used = [result for result in results if result.trial.dataset.null_model in (OBSERVED, *null_models)]
        scores = score_sweep(used, config)
        selection = select_setting(on_data, scores, config)
        assert selection is not None
        outcomes[name] = bool(scores.beats_null(selection.setting))
        is_reproducible = scores.mean_stability(selection.setting) >= config.min_stability
        outcomes[ANNOUNCED] = outcomes[name] and is_reproducible
    return outcomes


def format_fraction(outcomes: Sequence[bool]) -> str:
    """Return a number of successes with the 95 % interval of their probability (Clopper & Pearson 1934)."""
    interval = binomtest(sum(outcomes), len(outcomes)).proportion_ci()
    return f"{sum(outcomes)} of {len(outcomes)} ({interval.low:.2f}–{interval.high:.2f})"


def format_row(name: str, outcomes: Sequence[Mapping[str, bool]]) -> str:
    """Return a row of the table."""
    fractions = [format_fraction([each[outcome] for each in outcomes]) for outcome in OUTCOMES]
    return f"| {' | '.join([name, *fractions])} |"


def main() -> None:
    """Print a table of false alarms and detections."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=10, help="number of samples of each shape without classes"
    )
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first sample")
    parser.add_argument("--detections", type=int, default=2, help="number of samples of each mixture")
    parser.add_argument("--draws", type=int, default=10, help="number of draws of each null model")
    parser.add_argument("--spaces", nargs="+", default=["latents"], help="spaces to cluster in")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes, with one thread each")
    args = parser.parse_args()
    config = replace(CONFIG, spaces=tuple(args.spaces), n_null_draws=args.draws)
    samples = {name: [draw] * args.runs for name, draw in STRUCTURELESS.items()}
    samples |= {
        name: [mixture.draw for mixture in mixtures] * args.detections for name, mixtures in MIXTURES.items()
    }
    outcomes: dict[str, list[dict[str, bool]]] = {}
    print(f"| sample | {' | '.join(OUTCOMES)} |")
    print("|---" * (1 + len(OUTCOMES)) + "|")
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for name, draws in samples.items():
            sweep = partial(sweep_sample, config=config)
            seeds = range(args.first_seed, args.first_seed + len(draws))
            outcomes[name] = list(pool.map(sweep, draws, seeds))
            print(format_row(name, outcomes[name]), flush=True)
    without_classes = [one for name in STRUCTURELESS for one in outcomes[name]]
    print(format_row("all without classes", without_classes))


if __name__ == "__main__":
    main()
