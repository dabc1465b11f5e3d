"""Points to cluster: scaled latents and physical features of spectra, and a sample of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distspec.clustering.config import FeatureSpace
from distspec.clustering.null_models import draw_null_data
from distspec.clustering.plan import DatasetSpec
from distspec.core.spectrum import Floats, Floats32

N_REFERENCE_POINTS = 1_000
"""Number of random points that isolation is measured against."""
RARE_FRACTION = 0.1
"""Fraction of a sample that is reserved for the most isolated points."""
_BLOCK_ROWS = 16_384


def isolation_distances(x: Floats32, rng: np.random.Generator) -> Floats32:
    """Return the distance of each point to the nearest of some random points.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Points; columns are scaled to unit variance.
    rng : numpy.random.Generator
        Draws the random points.

    Returns
    -------
    ndarray of shape (n_points,)
    """
    scale = np.maximum(x[:: max(1, len(x) // 100_000)].std(axis=0), 1e-12)
    reference = x[rng.choice(len(x), min(N_REFERENCE_POINTS, len(x)), replace=False)] / scale
    squares = np.einsum("pd,pd->p", reference, reference)
    distance = np.empty(len(x), np.float32)
    for start in range(0, len(x), _BLOCK_ROWS):
        block = x[start : start + _BLOCK_ROWS] / scale
        nearest = (squares - 2.0 * block @ reference.T).min(axis=1) + np.einsum("nd,nd->n", block, block)
        distance[start : start + _BLOCK_ROWS] = np.sqrt(np.maximum(nearest, 0.0))
    return distance


def select_sample_rows(x: Floats32, n_sample: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Select the rows that a sweep is fitted to.

    `RARE_FRACTION` of the sample are the most isolated points, so that a small class in a sparse region is
    not missed. The rest is drawn at random from all other points.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        All points.
    n_sample : int
        Size of the sample; all rows are taken if there are no more.
    rng : numpy.random.Generator
        Draws the sample.

    Returns
    -------
    ndarray of int64, shape (n_sample,)
        Row numbers in increasing order.
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
    """Spectra as points, derived from one model.

    Attributes
    ----------
    latents : ndarray of shape (n_spectra, n_dims)
        Scaled latents, followed by scaled measurements if the configuration names any.
    features : ndarray of shape (n_spectra, n_features)
        `distspec.measurements.features.compute_features`; ``n_features`` is 0 if the space is not used.
    """

    latents: Floats32
    features: Floats32

    def __len__(self) -> int:
        return len(self.latents)

    def take(self, rows: NDArray[np.int64] | slice) -> ClusteringInputs:
        """Return some of the spectra.

        Parameters
        ----------
        rows : ndarray of int64, shape (n_rows,)
            Rows of the sample.

        Returns
        -------
        ClusteringInputs
        """
        return ClusteringInputs(self.latents[rows], self.features[rows])

    def draw_null_data(self, dataset: DatasetSpec, seed: int) -> ClusteringInputs:
        """Return structureless data for as many spectra, or these spectra if `dataset` is the sample itself.

        Parameters
        ----------
        dataset : DatasetSpec
            Null model and number of the draw.
        seed : int
            Seed of the run.
        """
        return ClusteringInputs(
            *(
                draw_null_data(x.astype(np.float64), dataset, seed).astype(np.float32)
                for x in (self.latents, self.features)
            )
        )

    def get_points(self, space: FeatureSpace) -> Floats32:
        """Return the points of a space; for a UMAP space, the points that it embeds.

        Parameters
        ----------
        space : FeatureSpace
            The space.

        Returns
        -------
        ndarray of float32, shape (n_spectra, n_dimensions)
            Latents or features, which UMAP embeds if the space is an embedding.
        """
        return self.features if space.name == "features" else self.latents


@dataclass(frozen=True)
class LatentScaler:
    """Scales the latents and measurements of one model to the space that a run was clustered in.

    Attributes
    ----------
    latent_widths : ndarray of shape (n_latents,)
        Divisors of the latents: `compute_posterior_widths`, or 1.
    measurement_scale : ndarray of shape (n_measurements,)
        Factors of the measurements: `compute_measurement_scale`.
    """

    latent_widths: Floats
    measurement_scale: Floats

    @classmethod
    def from_latents(cls, z_mean: Floats32, latent_widths: Floats, measurements: Floats) -> LatentScaler:
        """Determine the scale from the spectra of a run.

        Parameters
        ----------
        z_mean : ndarray of shape (n_spectra, n_latents)
            Posterior means.
        latent_widths : ndarray of shape (n_latents,)
            Divisors of the latents.
        measurements : ndarray of shape (n_spectra, n_measurements)
            Measurements on an arcsinh scale; there may be none.
        """
        latents = (z_mean / latent_widths).astype(np.float32)
        return cls(latent_widths, compute_measurement_scale(latents, measurements))

    def transform(self, z_mean: Floats32, measurements: Floats, features: Floats32) -> ClusteringInputs:
        """Scale spectra, of the run or others.

        Parameters
        ----------
        z_mean : ndarray of shape (n_spectra, n_latents)
            Posterior means.
        measurements : ndarray of shape (n_spectra, n_measurements)
            Measurements on an arcsinh scale.
        features : ndarray of shape (n_spectra, n_features)
            Features, which are passed on unchanged.
        """
        latents = (z_mean / self.latent_widths).astype(np.float32)
        scaled = np.hstack([latents, measurements * self.measurement_scale]).astype(np.float32)
        return ClusteringInputs(scaled, features)


def compute_measurement_scale(latents: Floats32, measurements: Floats) -> Floats:
    """Return factors that give each measurement the standard deviation of the widest latent.

    Parameters
    ----------
    latents : ndarray of shape (n_spectra, n_latents)
        Scaled latents.
    measurements : ndarray of shape (n_spectra, n_measurements)
        Measurements.

    Returns
    -------
    ndarray of shape (n_measurements,)
        0 for constant measurements.
    """
    spread = np.std(measurements, axis=0)
    widest = latents.std(axis=0, dtype=np.float64).max()
    return np.divide(widest, spread, out=np.zeros_like(spread), where=spread > 0)


def join_measurements(latents: Floats32, measurements: Floats) -> Floats32:
    """Append measurements to latents, scaled by `compute_measurement_scale`.

    Parameters
    ----------
    latents : ndarray of shape (n_spectra, n_latents)
        Scaled latents.
    measurements : ndarray of shape (n_spectra, n_measurements)
        Measurements.

    Returns
    -------
    ndarray of shape (n_spectra, n_latents + n_measurements)

    Examples
    --------
    >>> join_measurements(np.array([[0, 1], [0, 3]], np.float32), np.array([[0.0], [8.0]]))
    array([[0., 1., 0.],
           [0., 3., 2.]], dtype=float32)
    """
    scaled = measurements * compute_measurement_scale(latents, measurements)
    return np.hstack([latents, scaled]).astype(np.float32)


def compute_posterior_widths(z_log_var: Floats32) -> Floats:
    """Return the root mean square width of the posteriors along each latent.

    Parameters
    ----------
    z_log_var : ndarray of shape (n_spectra, n_latents)
        Log variances of the posteriors.

    Returns
    -------
    ndarray of shape (n_latents,)
    """
    return np.sqrt(np.exp(z_log_var, dtype=np.float64).mean(axis=0))


def scale_by_posterior_width(z_mean: Floats32, z_log_var: Floats32) -> Floats32:
    """Return latents in units of the root mean square width of their posteriors.

    A latent without information has a posterior as wide as the prior, so that it shrinks.

    Parameters
    ----------
    z_mean, z_log_var : ndarray of shape (n_spectra, n_latents)
        Posterior means and log variances.

    Returns
    -------
    ndarray of shape (n_spectra, n_latents)

    Examples
    --------
    >>> scale_by_posterior_width(np.ones((2, 1), np.float32), np.log(np.full((2, 1), 0.25, np.float32)))
    array([[2.],
           [2.]], dtype=float32)
    """
    return (z_mean / compute_posterior_widths(z_log_var)).astype(np.float32)
