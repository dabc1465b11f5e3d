"""Observed pixels as they are compared with templates: of unit scale, weighted, and without spikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from distspec.core.spectrum import Floats, Floats32

SMOOTHING_PIXELS = 5
"""Pixels over which flux is smoothed where it sets the error floor."""
CONTINUUM_PIXELS = 15
"""Pixels whose median is the continuum below spikes: more than twice as many as a line has."""
SPIKE_SIGMAS = 4.0
"""Significance from which a pixel is left out as a spike."""
MIN_NEIGHBOR_RATIO = 0.4
"""Smallest ratio between the brighter neighbor of a pixel and the pixel itself in an unresolved line, whose
FWHM is 2.2 pixels or more."""


@dataclass(frozen=True)
class WeightedPixels:
    """Spectra with the same pixels, scaled to unit flux.

    Attributes
    ----------
    weight : ndarray of shape (n_spectra, n_pixels)
        Inverse variance, the error floor included; 0 where a pixel is left out.
    flux : ndarray of shape (n_spectra, n_pixels)
        Flux.
    weighted_flux : ndarray of shape (n_spectra, n_pixels)
        Weight times flux.
    """

    weight: Floats32
    flux: Floats32
    weighted_flux: Floats32

    @classmethod
    def from_spectra(
        cls, flux: Floats, ivar: Floats, error_floor: float, noise_correlation: float
    ) -> WeightedPixels:
        """Scale spectra to unit flux, weight pixels by their errors, and leave out spikes and negative flux.

        Parameters
        ----------
        flux, ivar : ndarray of shape (n_spectra, n_pixels)
            Flux density and its inverse variance, 0 where masked.
        error_floor : float
            Error that is added in quadrature, as a fraction of the smoothed flux.
        noise_correlation : float
            Correlation of the noise of neighboring pixels.

        Returns
        -------
        WeightedPixels
        """
        total, signal = ivar.sum(axis=1, keepdims=True), (ivar * flux**2).sum(axis=1, keepdims=True)
        scale = np.sqrt(np.divide(signal, total, out=np.ones_like(total), where=signal > 0))
        flux, variance = flux / scale, 1.0 / np.maximum(ivar * scale**2, 1e-30)
        filled = _interpolate_masked(flux, ivar)
        smooth, continuum = (median_filter(filled, (1, n)) for n in (SMOOTHING_PIXELS, CONTINUUM_PIXELS))
        is_negative = flux < -SPIKE_SIGMAS * np.sqrt(variance)
        is_used = (ivar > 0) & ~is_negative & ~find_spikes(filled, continuum, variance)
        variance += (error_floor * np.abs(smooth)) ** 2
        weight = np.where(is_used, 1.0 / (variance * (1.0 + 2.0 * noise_correlation)), 0.0)
        return cls(weight.astype(np.float32), flux.astype(np.float32), (weight * flux).astype(np.float32))

    def take(self, rows: NDArray[np.int64]) -> WeightedPixels:
        """Return some of the spectra.

        Parameters
        ----------
        rows : ndarray of int
            Their positions.

        Returns
        -------
        WeightedPixels
        """
        return WeightedPixels(self.weight[rows], self.flux[rows], self.weighted_flux[rows])


def find_spikes(flux: Floats, continuum: Floats, variance: Floats) -> NDArray[np.bool_]:
    """Find pixels whose flux the line-spread function would have spread to their neighbors.

    The first and the last pixel, which have one neighbor, are never spikes.

    Parameters
    ----------
    flux, continuum, variance : ndarray of shape (n_spectra, n_pixels)
        Flux, the continuum below it, and the variance of the flux.

    Returns
    -------
    ndarray of bool, shape (n_spectra, n_pixels)
    """
    left, middle, right = (slice(None, -2), slice(1, -1), slice(2, None))
    is_left = flux[:, left] > flux[:, right]
    neighbor, of_neighbor = (
        np.where(is_left, values[:, left], values[:, right]) for values in (flux, variance)
    )
    level = continuum[:, middle]
    narrow = flux[:, middle] - level - np.maximum(neighbor - level, 0.0) / MIN_NEIGHBOR_RATIO
    noise = np.sqrt(variance[:, middle] + of_neighbor / MIN_NEIGHBOR_RATIO**2)
    return np.pad(narrow > SPIKE_SIGMAS * noise, ((0, 0), (1, 1)))


def _interpolate_masked(flux: Floats, ivar: Floats) -> Floats:
    """Return spectra with masked pixels interpolated."""
    filled, pixels = flux.copy(), np.arange(flux.shape[1])
    for row, is_valid in zip(filled, ivar > 0, strict=True):
        if not is_valid.any():
            continue
        row[~is_valid] = np.interp(pixels[~is_valid], pixels[is_valid], row[is_valid])
    return filled
