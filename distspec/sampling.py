"""Which spectra a sweep is fitted on where there are too many: at random, and all that lie alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distspec.spectrum import Floats32

N_PILOTS = 1_000
RARE_SHARE = 0.1
"""Of the sample, for those in the thinnest places."""
_BLOCK = 16_384


def thin_places(x: Floats32, rng: np.random.Generator) -> Floats32:
    """Return how far each point lies from the nearest of some drawn at random, (N,); streams over rows.

    Parameters
    ----------
    x : (N, D)
    rng : numpy Generator
    """
    scale = np.maximum(x[:: max(1, len(x) // 100_000)].std(axis=0), 1e-12)
    pilots = x[rng.choice(len(x), min(N_PILOTS, len(x)), replace=False)] / scale
    squares = np.einsum("pd,pd->p", pilots, pilots)
    found = np.empty(len(x), np.float32)
    for start in range(0, len(x), _BLOCK):
        block = x[start : start + _BLOCK] / scale
        nearest = (squares - 2.0 * block @ pilots.T).min(axis=1) + np.einsum("nd,nd->n", block, block)
        found[start : start + _BLOCK] = np.sqrt(np.maximum(nearest, 0.0))
    return found


def sample_rows(x: Floats32, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which rows are fitted, in their order: all, or `size` of them.

    `RARE_SHARE` of the sample are the points farthest from others: a small class in a thin place is never
    missed. The rest is drawn at random from all others, in whose places the sample is thereby
    representative.

    Parameters
    ----------
    x : (N, D)
    size : int
    rng : numpy Generator
    """
    n = len(x)
    if n <= size:
        return np.arange(n)
    distance = thin_places(x, rng)
    n_rare = round(RARE_SHARE * size)
    rare = np.argpartition(-distance, n_rare)[:n_rare]
    others = np.setdiff1d(np.arange(n), rare, assume_unique=True)
    return np.sort(np.concatenate([rare, rng.choice(others, size - n_rare, replace=False)]))
