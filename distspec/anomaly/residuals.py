"""What a reconstruction does not explain of a spectrum, beyond noise and beyond what models usually miss.

χ² of an imperfect model grows with S/N and sits where models fail for everybody: Lyα, the brightest lines.
Each pixel's variance is therefore that of its noise and of the model's usual error there, taken from a
sample; what is left over is told by its sum, and by the strongest run of it as wide as a line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser, fill_detector_positions, unpack_disperser
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid

MAX_PIXEL_RESIDUAL, MAX_LINE_RESIDUAL = 10.0, 5.0
"""No pixel counts for more [σ]: a spike that nobody masked is no oddity."""
LINE_HALF_WIDTH = 2.0
"""Half the width of what a line leaves [detector pixels]."""
CHI2_MEDIAN = 0.4549
"""Median of χ² of one degree of freedom."""
MIN_SPECTRA, MIN_MODEL_ERROR, MAX_MODEL_ERROR, N_BISECTIONS = 30, 1e-3, 10.0, 24
MIN_SCATTER_RATIO = 0.3
"""Of a spectrum's noise over its errors, whatever was measured."""


def estimate_model_error(
    flux: Floats32, ivar: Floats32, recon: Floats32, scatter_ratio: Floats32
) -> Floats32:
    """Return by which share of itself a reconstruction is usually wrong in each pixel, (L,).

    With that error squared residuals are, in the median over the sample, what they should be.

    Parameters
    ----------
    flux, ivar, recon : (N, L)
        A sample; ivar 0 where masked.
    scatter_ratio : (N,)
        By which factor each spectrum's noise exceeds its errors.
    """
    valid = ivar > 0
    variance = np.where(
        valid,
        np.square(np.maximum(scatter_ratio, MIN_SCATTER_RATIO))[:, None] / np.where(valid, ivar, 1.0),
        0.0,
    )
    squared = np.where(valid, np.square(flux - recon), np.nan)
    low, high = (
        np.full(flux.shape[1], np.log(MIN_MODEL_ERROR)),
        np.full(flux.shape[1], np.log(MAX_MODEL_ERROR)),
    )
    enough = np.count_nonzero(valid, axis=0) >= MIN_SPECTRA
    for _ in range(N_BISECTIONS):
        middle = 0.5 * (low + high)
        expected = CHI2_MEDIAN * (variance + np.square(np.exp(middle) * recon))
        more = 2 * np.count_nonzero(squared > expected, axis=0) > np.count_nonzero(valid, axis=0)
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return np.where(enough, np.exp(0.5 * (low + high)), MIN_MODEL_ERROR).astype(np.float32)


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
    """Return how badly spectra are reconstructed; a row's answer depends on that row alone.

    Parameters
    ----------
    flux, ivar, recon : (N, L)
    scatter_ratio : (N,)
    model_error : (L,)
        `estimate_model_error`.
    z : (N,)
    grid : WaveGrid
    disperser : Disperser or None

    Returns
    -------
    dict
        ``recon``: mean squared residual a pixel, each at most `CLIP` σ; ``line``: the largest residual, up or
        down, of a run of pixels as wide as a line [σ]; (N,) each.
    """
    result = np.zeros((len(z), 2))
    table, place, pixels = unpack_disperser(disperser)
    _compute_residual_statistics(
        flux,
        ivar,
        recon,
        np.maximum(scatter_ratio, MIN_SCATTER_RATIO).astype(np.float64),
        model_error.astype(np.float64),
        np.asarray(z, np.float64),
        np.log(grid.edges),
        table,
        place,
        pixels,
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
    n_pixels = flux.shape[1]
    at, width, left = np.zeros(n_pixels), np.zeros(n_pixels), np.zeros(n_pixels)
    weight: NDArray[np.float64] = np.zeros(n_pixels)
    for k in range(len(z)):
        fill_detector_positions(log_edges, z[k], log_wave_table, position_table, pixels_per_fwhm, at, width)
        total, n = 0.0, 0
        for i in range(n_pixels):
            left[i], weight[i] = 0.0, 0.0
            if ivar[k, i] > 0.0:
                variance = scatter_ratio[k] ** 2 / ivar[k, i] + (model_error[i] * recon[k, i]) ** 2
                residual = (flux[k, i] - recon[k, i]) / np.sqrt(variance)
                total += min(residual**2, MAX_PIXEL_RESIDUAL**2)
                n += 1
                if not np.isnan(at[i]):
                    # Several pixels of the grid may show one of the detector's: its noise counts once.
                    weight[i] = min(1.0, width[i])
                    left[i] = min(max(residual, -MAX_LINE_RESIDUAL), MAX_LINE_RESIDUAL)
        result[k, 0] = total / max(n, 1)
        strongest, low, high, run, seen = 0.0, 0, 0, 0.0, 0.0
        for i in range(n_pixels):
            if np.isnan(at[i]):
                continue
            if high < i:
                low, high, run, seen = i, i, 0.0, 0.0
            while high < n_pixels and at[high] - at[i] <= LINE_HALF_WIDTH:
                run += weight[high] * left[high]
                seen += weight[high]
                high += 1
            while at[i] - at[low] > LINE_HALF_WIDTH:
                run -= weight[low] * left[low]
                seen -= weight[low]
                low += 1
            if seen > 0.5:
                strongest = max(strongest, abs(run) / np.sqrt(seen))
        result[k, 1] = strongest
