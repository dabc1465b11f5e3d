"""Residuals of reconstructions, beyond the noise and beyond the model's usual error.

The chi-squared of an imperfect model grows with the signal-to-noise ratio, and is large wherever the model
fails for all spectra: at Lyα and the brightest lines. Each pixel's variance is therefore the sum of its
noise and of the model's usual error there, which is estimated from a sample. What is left is summarized by
its mean square, and by the largest residual averaged over the width of a line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser, fill_detector_positions, unpack_disperser
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid

MAX_PIXEL_RESIDUAL, MAX_LINE_RESIDUAL = 10.0, 5.0
"""Largest residual of a pixel that counts in the mean square and in a line [sigma]: an unmasked spike is no
anomaly."""
LINE_HALF_WIDTH = 2.0
"""Half of the width over which the line statistic averages residuals [detector pixels]."""
CHI2_MEDIAN = 0.4549
"""Median of the chi-squared distribution with one degree of freedom."""
MIN_SPECTRA, MIN_MODEL_ERROR, MAX_MODEL_ERROR, N_BISECTIONS = 30, 1e-3, 10.0, 24
"""Fewest valid spectra of a pixel whose model error is estimated, range of that error, steps of the
bisection."""
MIN_SCATTER_RATIO = 0.3
"""Lower limit of the ratio of a spectrum's noise to its errors."""


def estimate_model_error(
    flux: Floats32, ivar: Floats32, recon: Floats32, scatter_ratio: Floats32
) -> Floats32:
    """Estimate a model's usual relative error in each pixel.

    With that error, the median squared residual over the sample equals that of a chi-squared distribution.

    Parameters
    ----------
    flux, ivar, recon : ndarray of shape (n_spectra, n_pixels)
        A sample's flux, inverse variance (0 where masked), and reconstruction.
    scatter_ratio : ndarray of shape (n_spectra,)
        Ratio of each spectrum's noise to its errors.

    Returns
    -------
    ndarray of shape (n_pixels,)
        Error as a fraction of the reconstruction.
    """
    valid = ivar > 0
    variance = np.where(
        valid,
        np.square(np.maximum(scatter_ratio, MIN_SCATTER_RATIO))[:, None] / np.where(valid, ivar, 1.0),
        0.0,
    )
    squared = np.where(valid, np.square(flux - recon), np.nan)
    low = np.full(flux.shape[1], np.log(MIN_MODEL_ERROR))
    high = np.full(flux.shape[1], np.log(MAX_MODEL_ERROR))
    n_valid = np.count_nonzero(valid, axis=0)
    for _ in range(N_BISECTIONS):
        middle = 0.5 * (low + high)
        expected = CHI2_MEDIAN * (variance + np.square(np.exp(middle) * recon))
        is_larger = 2 * np.count_nonzero(squared > expected, axis=0) > n_valid
        low, high = np.where(is_larger, middle, low), np.where(is_larger, high, middle)
    return np.where(n_valid >= MIN_SPECTRA, np.exp(0.5 * (low + high)), MIN_MODEL_ERROR).astype(np.float32)


def compute_residual_statistics(
    flux: Floats32,
    ivar: Floats32,
    recon: Floats32,
    scatter_ratio: Floats32,
    model_error: Floats32,
    z: Floats,
    grid: WavelengthGrid,
    disperser: Disperser | None,
) -> dict[str, Floats32]:
    """Compute how far spectra depart from their reconstructions; each depends on that spectrum alone.

    Parameters
    ----------
    flux, ivar, recon : ndarray of shape (n_spectra, n_pixels)
        Flux, inverse variance (0 where masked), and reconstruction.
    scatter_ratio : ndarray of shape (n_spectra,)
        Ratio of each spectrum's noise to its errors.
    model_error : ndarray of shape (n_pixels,)
        Result of `estimate_model_error`.
    z : ndarray of shape (n_spectra,)
        Redshifts, which give the position of each pixel on the detector.
    grid : WavelengthGrid
        Rest-frame grid of the spectra.
    disperser : Disperser or None
        The instrument. If None, each grid pixel is taken for one detector pixel.

    Returns
    -------
    dict of str to ndarray of shape (n_spectra,)
        ``recon``: mean squared residual per pixel, each limited to `MAX_PIXEL_RESIDUAL`. ``line``: largest
        residual, positive or negative, of a run of pixels as wide as a line [sigma].
    """
    result = np.zeros((len(z), 2))
    log_wave_table, position_table, pixels_per_fwhm = unpack_disperser(disperser)
    _compute_residual_statistics(
        flux,
        ivar,
        recon,
        np.maximum(scatter_ratio, MIN_SCATTER_RATIO).astype(np.float64),
        model_error.astype(np.float64),
        np.asarray(z, np.float64),
        np.log(grid.edges),
        log_wave_table,
        position_table,
        pixels_per_fwhm,
        result,
    )
    return {name: result[:, i].astype(np.float32) for i, name in enumerate(("recon", "line"))}


@njit_nogil
def _compute_residual_statistics(
    flux: Floats32,
    ivar: Floats32,
    recon: Floats32,
    scatter_ratio: Floats,
    model_error: Floats,
    z: Floats,
    log_edges: Floats,
    log_wave_table: Floats,
    position_table: Floats,
    pixels_per_fwhm: float,
    result: Floats,
) -> None:
    """Fill `result`, (n_spectra, 2)."""
    n_pixels = flux.shape[1]
    position, width, clipped = np.zeros(n_pixels), np.zeros(n_pixels), np.zeros(n_pixels)
    weight: NDArray[np.float64] = np.zeros(n_pixels)
    for k in range(len(z)):
        fill_detector_positions(
            log_edges, z[k], log_wave_table, position_table, pixels_per_fwhm, position, width
        )
        total, n = 0.0, 0
        for i in range(n_pixels):
            clipped[i], weight[i] = 0.0, 0.0
            if ivar[k, i] > 0.0:
                variance = scatter_ratio[k] ** 2 / ivar[k, i] + (model_error[i] * recon[k, i]) ** 2
                residual = (flux[k, i] - recon[k, i]) / np.sqrt(variance)
                total += min(residual**2, MAX_PIXEL_RESIDUAL**2)
                n += 1
                if not np.isnan(position[i]):
                    # Several grid pixels may show the same detector pixel, whose noise counts once.
                    weight[i] = min(1.0, width[i])
                    clipped[i] = min(max(residual, -MAX_LINE_RESIDUAL), MAX_LINE_RESIDUAL)
        result[k, 0] = total / max(n, 1)
        result[k, 1] = _largest_run(position, clipped, weight)


@njit_nogil
def _largest_run(position: Floats, residual: Floats, weight: Floats) -> float:
    """Return the largest significance of weighted residuals within `LINE_HALF_WIDTH` of any pixel [sigma]."""
    n_pixels = len(position)
    largest, low, high, run, total_weight = 0.0, 0, 0, 0.0, 0.0
    for i in range(n_pixels):
        if np.isnan(position[i]):
            continue
        if high < i:
            low, high, run, total_weight = i, i, 0.0, 0.0
        while high < n_pixels and position[high] - position[i] <= LINE_HALF_WIDTH:
            run += weight[high] * residual[high]
            total_weight += weight[high]
            high += 1
        while position[i] - position[low] > LINE_HALF_WIDTH:
            run -= weight[low] * residual[low]
            total_weight -= weight[low]
            low += 1
        if total_weight > 0.5:
            largest = max(largest, abs(run) / np.sqrt(total_weight))
    return largest
