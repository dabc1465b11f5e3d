"""How often does a sweep find classes where there are none, and how often where there are some?

``python -m tests.benchmarks.null_control --runs 40``: each run draws data of 500 points in 16 latents, sweeps them
and their nulls as recipe `dja` does, smaller (`CONFIG`), and asks whether the clustering that is chosen
beats its null at 1 %. Without classes are, in turns, `STRUCTURELESS`; with classes `CLASSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from distspec.config import CONSENSUS
from distspec.spectrum import Floats

N, D = 500, 16
DECAY = 0.8
"""Each latent's width over that of the one before."""
CONFIG = replace(
    CONSENSUS,
    spaces=("latents", "map"),
    covariances=("tied", "diag"),
    k_min=4,
    k_max=5,
    seeds=4,
    starts=1,
    maps=2,
    null_draws=19,
)
"""Recipe `dja` with k = 4, 5 instead of 5–12, 4 repeats instead of 10, 1 start instead of 5, 2 maps instead of 3."""

Draw = Callable[[np.random.Generator], Floats]
WIDTHS = DECAY ** np.arange(D)


def gaussian(rng: np.random.Generator) -> Floats:
    """One Gaussian, in a direction of its own."""
    turn, _ = np.linalg.qr(rng.normal(size=(D, D)))
    return rng.normal(size=(N, D)) * WIDTHS @ turn


def heavy(rng: np.random.Generator) -> Floats:
    """Columns with tails, each by itself: Student's t of four degrees."""
    return rng.standard_t(4.0, (N, D)) * WIDTHS


def skewed(rng: np.random.Generator) -> Floats:
    """Columns with one tail, each by itself: gamma of shape 2."""
    return rng.gamma(2.0, size=(N, D)) * WIDTHS


def flat(rng: np.random.Generator) -> Floats:
    """Columns without tails, each by itself: uniform."""
    return rng.uniform(-1.7, 1.7, (N, D)) * WIDTHS


def classes(rng: np.random.Generator, k: int, apart: float) -> Floats:
    """`k` Gaussians of unlike sizes, `apart` of their own widths, in the four widest latents."""
    share = rng.dirichlet(np.full(k, 5.0))
    centres = np.zeros((k, D))
    centres[:, :4] = (
        apart / np.sqrt(2.0) * np.linalg.qr(rng.normal(size=(max(k, 4), 4)))[0][:k] * np.sqrt(k / 4)
    )
    member = rng.choice(k, N, p=share)
    return (centres[member] + rng.normal(size=(N, D))) * WIDTHS
