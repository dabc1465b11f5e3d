"""The spaces that are clustered: a model's latents, physical measures of its reconstructions, and maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distspec.clustering.config import FeatureSpace
from distspec.clustering.null_tests import draw_null_data
from distspec.clustering.plan import DatasetSpec
from distspec.core.spectrum import Floats, Floats32

N_REFERENCE_POINTS = 1_000
RARE_FRACTION = 0.1
"""Of the sample, for those in the thinnest places."""
_BLOCK = 16_384


def isolation_distances(x: Floats32, rng: np.random.Generator) -> Floats32:
    """Return how far each point lies from the nearest of some drawn at random, (N,); streams over rows.

    Parameters
    ----------
    x : (N, D)
    rng : numpy Generator
    """
    scale = np.maximum(x[:: max(1, len(x) // 100_000)].std(axis=0), 1e-12)
    pilots = x[rng.choice(len(x), min(N_REFERENCE_POINTS, len(x)), replace=False)] / scale
    squares = np.einsum("pd,pd->p", pilots, pilots)
    found = np.empty(len(x), np.float32)
    for start in range(0, len(x), _BLOCK):
        block = x[start : start + _BLOCK] / scale
        nearest = (squares - 2.0 * block @ pilots.T).min(axis=1) + np.einsum("nd,nd->n", block, block)
        found[start : start + _BLOCK] = np.sqrt(np.maximum(nearest, 0.0))
    return found


def select_sample_rows(x: Floats32, n_sample: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which rows are fitted, in their order: all, or `n_sample` of them.

    `RARE_FRACTION` of the sample are the points farthest from others: a small class in a thin place is never
    missed. The rest is drawn at random from all others, in whose places the sample is thereby
    representative.

    Parameters
    ----------
    x : (N, D)
    n_sample : int
    rng : numpy Generator
    """
    n = len(x)
    if n <= n_sample:
        return np.arange(n)
    distance = isolation_distances(x, rng)
    n_rare = round(RARE_FRACTION * n_sample)
    rare = np.argpartition(-distance, n_rare)[:n_rare]
    others = np.setdiff1d(np.arange(n), rare, assume_unique=True)
    return np.sort(np.concatenate([rare, rng.choice(others, n_sample - n_rare, replace=False)]))


@dataclass(frozen=True)
class ClusteringInputs:
    """What spectra are told by: one model's answers, or those of structureless data.

    Attributes
    ----------
    latents : (N, D)
        With what is measured beside them.
    features : (N, F)
        `distspec.measurements.features.compute_features`; F may be 0.
    """

    latents: Floats32
    features: Floats32

    def __len__(self) -> int:
        return len(self.latents)

    def take(self, rows: NDArray[np.int64] | slice) -> ClusteringInputs:
        """Return some of the spectra."""
        return ClusteringInputs(self.latents[rows], self.features[rows])

    def draw_null_data(self, dataset: DatasetSpec, seed: int) -> ClusteringInputs:
        """Return data of as many spectra without structure; this one where `dataset` is the sample itself."""
        return ClusteringInputs(
            *(
                draw_null_data(x.astype(np.float64), dataset, seed).astype(np.float32)
                for x in (self.latents, self.features)
            )
        )

    def get_points(self, space: FeatureSpace) -> Floats32:
        """Return where spectra lie in a space, or what its map is made of, (N, D)."""
        return self.features if space.name == "features" else self.latents


@dataclass(frozen=True)
class LatentScaler:
    """What brings one model's answers to where the spectra of a run lie, other spectra's as well.

    Attributes
    ----------
    latent_widths : (D,)
        What latents are divided by: `compute_posterior_widths`, or 1.
    measurement_scale : (M,)
        What the numbers beside them are multiplied by: `compute_measurement_scale`.
    """

    latent_widths: Floats
    measurement_scale: Floats

    @classmethod
    def from_latents(cls, z_mean: Floats32, latent_widths: Floats, measurements: Floats) -> LatentScaler:
        """Return that of a run's own spectra: latents (N, D), numbers beside them (N, M)."""
        return cls(
            latent_widths,
            compute_measurement_scale((z_mean / latent_widths).astype(np.float32), measurements),
        )

    def transform(self, z_mean: Floats32, measurements: Floats, features: Floats32) -> ClusteringInputs:
        """Return where spectra lie: by latents (N, D), numbers beside them (N, M), features (N, F)."""
        latents = (z_mean / self.latent_widths).astype(np.float32)
        return ClusteringInputs(
            np.hstack([latents, measurements * self.measurement_scale]).astype(np.float32), features
        )


def compute_measurement_scale(latents: Floats32, measurements: Floats) -> Floats:
    """Return what makes numbers, (N, M), as wide as the widest of latents, (N, D); 0 for constants."""
    spread = np.std(measurements, axis=0)
    widest = latents.std(axis=0, dtype=np.float64).max()
    return np.divide(widest, spread, out=np.zeros_like(spread), where=spread > 0)


def join_measurements(latents: Floats32, measurements: Floats) -> Floats32:
    """Return latents (N, D), and other numbers (N, M) as wide as the widest of them, (N, D + M).

    Examples
    --------
    >>> join_measurements(np.array([[0, 1], [0, 3]], np.float32), np.array([[0.0], [8.0]]))
    array([[0., 1., 0.],
           [0., 3., 2.]], dtype=float32)
    """
    return np.hstack([latents, measurements * compute_measurement_scale(latents, measurements)]).astype(
        np.float32
    )


def compute_posterior_widths(z_log_var: Floats32) -> Floats:
    """Return the root mean square width of the posteriors along each latent, (D,)."""
    return np.sqrt(np.exp(z_log_var, dtype=np.float64).mean(axis=0))


def scale_by_posterior_width(z_mean: Floats32, z_log_var: Floats32) -> Floats32:
    """Return latents in units of their posteriors' root mean square width, (N, D).

    A latent that says nothing has a posterior as wide as the prior, and shrinks.

    Examples
    --------
    >>> scale_by_posterior_width(np.ones((2, 1), np.float32), np.log(np.full((2, 1), 0.25, np.float32)))
    array([[2.],
           [2.]], dtype=float32)
    """
    return (z_mean / compute_posterior_widths(z_log_var)).astype(np.float32)
