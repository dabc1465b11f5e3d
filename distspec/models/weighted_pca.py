"""Noise-weighted principal components of linear flux: the encoder with which the model is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from distspec.core.spectrum import Floats, Floats32

N_COMPONENTS = 16
N_ITERATIONS = 25


class Embedding(NamedTuple):
    """Latents of spectra.

    Attributes
    ----------
    mean, variance : ndarray of shape (n_spectra, n_latents)
        Means and variances of the posteriors.
    recon : ndarray of shape (n_spectra, n_pixels)
        Reconstructed linear flux.
    """

    mean: Floats
    variance: Floats
    recon: Floats32


@dataclass(frozen=True)
class WeightedPCA:
    """Principal components to which each pixel contributes by its inverse variance.

    Spectra are divided by their weighted mean flux. Coefficients have a Gaussian prior of the variance that
    they have in the training sample.

    Attributes
    ----------
    mean : ndarray of shape (n_pixels,)
        Mean spectrum.
    components : ndarray of shape (n_components, n_pixels)
        Components, scaled so that coefficients have unit variance.

    References
    ----------
    Bailey 2012, PASP 124, 1015.
    """

    mean: Floats
    components: Floats

    @classmethod
    def fit(cls, flux: Any, ivar: Any, seed: int) -> Self:
        """Fit the components to a sample by expectation maximization.

        Parameters
        ----------
        flux, ivar : ndarray of shape (n_spectra, n_pixels)
            Normalized flux and its inverse variance, 0 where masked.
        seed : int
            Seed of the first components.

        Returns
        -------
        WeightedPCA
        """
        flux, ivar, _ = _normalize(flux, ivar)
        mean = (ivar * flux).sum(axis=0) / np.maximum(ivar.sum(axis=0), 1e-12)
        components = np.random.default_rng(seed).normal(size=(N_COMPONENTS, flux.shape[1]))
        components *= 0.1
        model = cls(mean, components)
        for _ in range(N_ITERATIONS):
            coefficients, covariance = model._project(flux, ivar)
            second_moments = coefficients[:, :, None] * coefficients[:, None, :] + covariance
            precision = np.tensordot(ivar.T, second_moments, axes=1) + 1e-6 * np.eye(N_COMPONENTS)
            moments = (ivar * (flux - mean)).T @ coefficients
            components = np.linalg.solve(precision, moments[:, :, None])[:, :, 0].T
            scale = np.linalg.cholesky(second_moments.mean(axis=0))
            model = cls(mean, scale.T @ components)
        return model

    def embed(self, flux: Any, ivar: Any) -> Embedding:
        """Return the coefficients of spectra and their reconstructions.

        Parameters
        ----------
        flux, ivar : ndarray of shape (n_spectra, n_pixels)
            Normalized flux and its inverse variance, 0 where masked.

        Returns
        -------
        Embedding
        """
        flux, ivar, amplitude = _normalize(flux, ivar)
        coefficients, covariance = self._project(flux, ivar)
        fit = amplitude * (self.mean + coefficients @ self.components)
        return Embedding(coefficients, np.diagonal(covariance, axis1=1, axis2=2), fit.astype(np.float32))

    def scale_to_reconstructions(self, coefficients: Floats) -> Floats:
        """Return coordinates whose distances are those between the reconstructions of spectra of mean flux 1.

        Coefficients have unit variance, so that distances between them count components that are mostly noise
        as much as the first.

        Parameters
        ----------
        coefficients : ndarray of shape (n_spectra, n_components)
            As of `embed`.

        Returns
        -------
        ndarray of shape (n_spectra, n_components)
        """
        return coefficients @ np.linalg.cholesky(self.components @ self.components.T)

    def _project(self, flux: Floats, ivar: Floats) -> tuple[Floats, Floats]:
        """Return means and covariances of the coefficients."""
        products = self.components[:, None, :] * self.components[None, :, :]
        precision = np.tensordot(ivar, products, axes=([1], [2])) + np.eye(N_COMPONENTS)
        covariance: Any = np.linalg.inv(precision)
        projected = (ivar * (flux - self.mean)) @ self.components.T
        return (covariance @ projected[:, :, None])[:, :, 0], covariance


def _normalize(flux: Any, ivar: Any) -> tuple[Floats, Floats, Floats]:
    """Return float64 flux over its weighted mean, its inverse variance, and that mean."""
    flux, ivar = flux.astype(np.float64), ivar.astype(np.float64)
    mean = (ivar * flux).sum(axis=1, keepdims=True) / np.maximum(ivar.sum(axis=1, keepdims=True), 1e-12)
    error = np.maximum(ivar.sum(axis=1, keepdims=True), 1e-12) ** -0.5
    mean = np.maximum(mean, error)
    return flux / mean, ivar * mean**2, mean
