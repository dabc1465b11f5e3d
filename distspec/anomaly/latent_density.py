"""Density of latent variables, relative to a sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from distspec.clustering.gaussian_mixture import GaussianMixture, MixtureInit, fit_mixtures
from distspec.core.spectrum import Floats32

SPECTRA_PER_COMPONENT, MAX_COMPONENTS = 100, 10
"""Points per component of the Gaussian mixture, and the largest number of components."""
MIN_COMPONENT_WEIGHT = 0.02
"""Smallest weight of a component that describes ordinary spectra."""


@dataclass(frozen=True)
class LatentDensity:
    """Density of the ordinary spectra in latent space; it can be sent to workers.

    Attributes
    ----------
    mixture : GaussianMixture or None
        The large components of a mixture fitted to the sample; None if the sample is too small.
    """

    mixture: GaussianMixture | None

    def log_prob(self, latents: Floats32) -> Floats32:
        """Compute the natural logarithm of the density.

        Parameters
        ----------
        latents : ndarray of shape (n_spectra, n_latents)
            Latents in units of the posterior widths.

        Returns
        -------
        ndarray of shape (n_spectra,)
            0 if the sample was too small.
        """
        if self.mixture is None or not len(latents):
            return np.zeros(len(latents), np.float32)
        return self.mixture.log_prob(latents.astype(np.float64)).astype(np.float32)


def fit_latent_density(latents: Floats32, seed: int) -> LatentDensity:
    """Fit the density of the ordinary spectra to a sample.

    Small components of the mixture are removed: a Gaussian fitted to a few outliers would make them ordinary.

    Parameters
    ----------
    latents : ndarray of shape (n_spectra, n_latents)
        Latents of the sample in units of the posterior widths.
    seed : int
        Seed of the mixture.

    Returns
    -------
    LatentDensity
    """
    n, n_latents = latents.shape
    if n < 2:
        return LatentDensity(None)
    k = int(np.clip(n // SPECTRA_PER_COMPONENT, 1, MAX_COMPONENTS))
    mixture = fit_mixtures(latents.astype(np.float64), [MixtureInit(k, "full", seed)])[0]
    is_large = mixture.weights * n >= max(2 * n_latents, MIN_COMPONENT_WEIGHT * n)
    if is_large.any():
        mixture = replace(
            mixture,
            weights=mixture.weights[is_large] / mixture.weights[is_large].sum(),
            means=mixture.means[is_large],
            covariances=mixture.covariances[is_large],
        )
    return LatentDensity(mixture)
