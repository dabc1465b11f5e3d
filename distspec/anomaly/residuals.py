"""What a reconstruction does not explain of a spectrum, beyond noise and beyond what models usually miss.

χ² of an imperfect model grows with S/N and sits where models fail for everybody: Lyα, the brightest lines.
Each pixel's variance is therefore that of its noise and of the model's usual error there, taken from a
sample; what is left over is told by its sum, and by the strongest run of it as wide as a line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser, laid_out, positions
from distspec.core.spectrum import Floats, Floats32, WaveGrid

CLIP, LINE_CLIP = 10.0, 5.0
"""No pixel counts for more [σ]: a spike that nobody masked is no oddity."""
HALF_LINE = 2.0
"""Half the width of what a line leaves [detector pixels]."""
HALF = 0.4549
"""Median of χ² of one degree of freedom."""
MIN_SPECTRA, LEAST, MOST, HALVINGS = 30, 1e-3, 10.0, 24
LEAST_SCATTER = 0.3
"""Of a spectrum's noise over its errors, whatever was measured."""


def model_error(flux: Floats32, ivar: Floats32, recon: Floats32, scatter: Floats32) -> Floats32:
    """Return by which share of itself a reconstruction is usually wrong in each pixel, (L,).

    With that error squared residuals are, in the median over the sample, what they should be.

    Parameters
    ----------
    flux, ivar, recon : (N, L)
        A sample; ivar 0 where masked.
    scatter : (N,)
        By which factor each spectrum's noise exceeds its errors.
    """
    valid = ivar > 0
    variance = np.where(
        valid, np.square(np.maximum(scatter, LEAST_SCATTER))[:, None] / np.where(valid, ivar, 1.0), 0.0
    )
    squared = np.where(valid, np.square(flux - recon), np.nan)
    low, high = np.full(flux.shape[1], np.log(LEAST)), np.full(flux.shape[1], np.log(MOST))
    enough = np.count_nonzero(valid, axis=0) >= MIN_SPECTRA
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        expected = HALF * (variance + np.square(np.exp(middle) * recon))
        more = 2 * np.count_nonzero(squared > expected, axis=0) > np.count_nonzero(valid, axis=0)
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return np.where(enough, np.exp(0.5 * (low + high)), LEAST).astype(np.float32)


def misfit(
    flux: Floats32,
    ivar: Floats32,
    recon: Floats32,
    scatter: Floats32,
    error: Floats32,
    z: Floats,
    grid: WaveGrid,
    detector: Disperser | None,
) -> dict[str, Floats32]:
    """Return how badly spectra are reconstructed; a row's answer depends on that row alone.

    Parameters
    ----------
    flux, ivar, recon : (N, L)
    scatter : (N,)
    error : (L,)
        `model_error`.
    z : (N,)
    grid : WaveGrid
    detector : Disperser or None

    Returns
    -------
    dict
        ``recon``: mean squared residual a pixel, each at most `CLIP` σ; ``line``: the largest residual, up or
        down, of a run of pixels as wide as a line [σ]; (N,) each.
    """
    result = np.zeros((len(z), 2))
    table, place, pixels = laid_out(detector)
    _misfit(
        flux,
        ivar,
        recon,
        np.maximum(scatter, LEAST_SCATTER).astype(np.float64),
        error.astype(np.float64),
        np.asarray(z, np.float64),
        np.log(grid.edges),
        table,
        place,
        pixels,
        result,
    )
    return {name: result[:, i].astype(np.float32) for i, name in enumerate(("recon", "line"))}


@njit_nogil
def _misfit(
    flux: Floats32,
    ivar: Floats32,
    recon: Floats32,
    scatter: Floats,
    error: Floats,
    z: Floats,
    log_edges: Floats,
    table: Floats,
    place: Floats,
    pixels: float,
    result: Floats,
) -> None:
    n_pixels = flux.shape[1]
    at, width, left = np.zeros(n_pixels), np.zeros(n_pixels), np.zeros(n_pixels)
    weight: NDArray[np.float64] = np.zeros(n_pixels)
    for k in range(len(z)):
        positions(log_edges, z[k], table, place, pixels, at, width)
        total, n = 0.0, 0
        for i in range(n_pixels):
            left[i], weight[i] = 0.0, 0.0
            if ivar[k, i] > 0.0:
                variance = scatter[k] ** 2 / ivar[k, i] + (error[i] * recon[k, i]) ** 2
                residual = (flux[k, i] - recon[k, i]) / np.sqrt(variance)
                total += min(residual**2, CLIP**2)
                n += 1
                if not np.isnan(at[i]):
                    # Several pixels of the grid may show one of the detector's: its noise counts once.
                    weight[i] = min(1.0, width[i])
                    left[i] = min(max(residual, -LINE_CLIP), LINE_CLIP)
        result[k, 0] = total / max(n, 1)
        strongest, low, high, run, seen = 0.0, 0, 0, 0.0, 0.0
        for i in range(n_pixels):
            if np.isnan(at[i]):
                continue
            if high < i:
                low, high, run, seen = i, i, 0.0, 0.0
            while high < n_pixels and at[high] - at[i] <= HALF_LINE:
                run += weight[high] * left[high]
                seen += weight[high]
                high += 1
            while at[i] - at[low] > HALF_LINE:
                run -= weight[low] * left[low]
                seen -= weight[low]
                low += 1
            if seen > 0.5:
                strongest = max(strongest, abs(run) / np.sqrt(seen))
        result[k, 1] = strongest
