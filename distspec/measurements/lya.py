"""Lyα, measured on the spectrum itself: its net equivalent width, whatever the instrument blurs."""

from __future__ import annotations

from math import erfc, exp, sqrt

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser, compute_noise_correlation, interpolate_detector_position
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid

LYA_WAVE = GALAXY_LINES["Lyα"]
LYA_WINDOW, CONTINUUM_WINDOWS = (1150.0, 1290.0), ((1290.0, 1520.0), (1680.0, 1860.0))
"""Rest windows [Å]: Lyα with its break, and the continuum clear of strong lines."""
PIVOT_WAVE, PRIOR_BETA, PRIOR_BETA_SIGMA = 1400.0, -2.0, 1.0
"""Expected UV slope β: it counts where a spectrum says little of its own."""
PRIOR_FOREST_SIGMA = 1.0
"""Likewise, of the light that the Lyman forest lets through over its mean."""
CLIP_SIGMA, N_CLIP_ITERATIONS = 4.0, 2
MAX_RELATIVE_WEIGHT, MIN_DETERMINANT = 1e4, 1e-10
"""No pixel has more than so many times the continuum's usual weight; what is less determined than this is not
measured."""
MIN_LINE_COVERAGE, MIN_CONTINUUM_COVERAGE = 0.8, 0.3
"""Lyα is covered where valid pixels hold these shares of the line's profile and of the windows."""
EW_ERROR_FLOOR, RELATIVE_EW_ERROR_FLOOR = 1.5, 0.05
"""What the fit gets wrong without any noise [Å, and share of the width]: dust bends the continuum."""


def measure_lya_ew(
    flux: Floats32, ivar: Floats32, z: Floats, grid: WavelengthGrid, disperser: Disperser
) -> dict[str, Floats32]:
    """Measure the net rest equivalent width of Lyα: emission positive, damped absorption negative.

    Weighted least squares of four amplitudes: a power law redward of Lyα (expanded about `PRIOR_BETA`, pixels
    beyond `CLIP` σ of it left out), the light that the forest lets through, and a line that the instrument
    does not resolve; the break is as sharp as the instrument. Where grid pixels are finer than the
    detector's, they show one noise several times, which counts once. The error holds the continuum's share,
    grows where the continuum scatters more than `ivar` says, and is never below `FLOOR`. A continuum below
    its own 1σ is taken to be that σ: the width is then a lower limit, with an error at least as large.

    Parameters
    ----------
    flux, ivar : (N, L) [f_λ / f_λ(reference)]
    z : (N,)
    grid : WaveGrid
    disperser : Disperser

    Returns
    -------
    dict
        ``lya_ew``, ``lya_ew_err`` [Å, rest], (N,) float32; NaN where not covered.
    """
    wave = grid.wave_rest
    near = (wave >= LYA_WINDOW[0]) & (wave < LYA_WINDOW[1])
    redward = np.any([(low <= wave) & (wave < high) for low, high in CONTINUUM_WINDOWS], axis=0)
    result = np.full((len(z), 2), np.nan)
    if near.any() and redward.any():
        instrument = disperser.log_wave, disperser.detector_position, float(disperser.pixels_per_fwhm)
        columns = np.flatnonzero(near), np.flatnonzero(redward)
        _measure_lya_ew(
            flux, ivar, np.asarray(z, np.float64), wave, grid.edges, *columns, *instrument, result
        )
    return {name: result[:, i].astype(np.float32) for i, name in enumerate(("lya_ew", "lya_ew_err"))}


@njit_nogil
def _measure_lya_ew(
    flux: Floats32,
    ivar: Floats32,
    z: Floats,
    wave: Floats,
    edges: Floats,
    lya_columns: NDArray[np.int64],
    continuum_columns: NDArray[np.int64],
    log_wave_table: Floats,
    position_table: Floats,
    pixels_per_fwhm: float,
    result: Floats,
) -> None:
    """Fill `result`, (N, 2), where Lyα is covered."""
    # Of a line: the instrument's width, the detector's pixel, and that pixel again, which the grid cuts.
    sigma = np.sqrt(1.0 / 2.3548**2 + 1.0 / (6.0 * pixels_per_fwhm**2))
    power, bend = (wave / PIVOT_WAVE) ** PRIOR_BETA, np.log(wave / PIVOT_WAVE)
    at_lya = (LYA_WAVE / PIVOT_WAVE) ** PRIOR_BETA * np.array([1.0, np.log(LYA_WAVE / PIVOT_WAVE), 0.0, 0.0])
    log_edges, term = np.log(edges), np.zeros(4)
    # Of the windows redward: flux, inverse variance, and how often its noise is seen.
    y, weight, repeats = (
        np.zeros(len(continuum_columns)),
        np.zeros(len(continuum_columns)),
        np.zeros(len(continuum_columns)),
    )
    red_power, red_bend = power[continuum_columns], bend[continuum_columns]
    for k in range(len(z)):
        stretch, n_valid = np.log(1e-4 * (1.0 + z[k])), 0
        line_at = interpolate_detector_position(np.log(LYA_WAVE) + stretch, log_wave_table, position_table)
        for j in range(len(continuum_columns)):
            i = continuum_columns[j]
            below = interpolate_detector_position(log_edges[i] + stretch, log_wave_table, position_table)
            spanned = pixels_per_fwhm * (
                interpolate_detector_position(log_edges[i + 1] + stretch, log_wave_table, position_table)
                - below
            )
            known = ivar[k, i] > 0.0 and spanned > 0.0
            y[j], weight[j], repeats[j] = 0.0, 0.0, 1.0
            if known:
                y[j], weight[j], repeats[j] = flux[k, i], ivar[k, i], compute_noise_correlation(spanned)
            n_valid += known
        if n_valid == 0 or n_valid < MIN_CONTINUUM_COVERAGE * len(continuum_columns):
            continue
        most = MAX_RELATIVE_WEIGHT * np.median(weight[weight > 0.0])
        weight = np.minimum(weight, most)
        error = weight**-0.5  # infinite where masked
        # Sums of the windows redward, which hold neither line nor forest; those come on top.
        normal, right, excess = _fit_continuum(y, error, weight / repeats, red_power, red_bend)
        seen, below = (
            0.0,
            interpolate_detector_position(
                log_edges[lya_columns[0]] + stretch, log_wave_table, position_table
            ),
        )
        share_below = _normal_cdf((below - line_at) / sigma)
        for i in lya_columns:
            above = interpolate_detector_position(log_edges[i + 1] + stretch, log_wave_table, position_table)
            share_above = _normal_cdf((above - line_at) / sigma)
            share, share_below = share_above - share_below, share_above
            step = _normal_cdf((0.5 * (below + above) - line_at) / sigma)
            spanned, below = pixels_per_fwhm * (above - below), above
            if not (ivar[k, i] > 0.0 and spanned > 0.0):
                continue
            seen += share
            term[0] = power[i] * step
            term[1] = term[0] * bend[i]
            term[2] = power[i] * (1.0 - step) * _forest_transmission(wave[i] / LYA_WAVE * (1.0 + z[k]))
            term[3] = share / (edges[i + 1] - edges[i])
            w = min(np.float64(ivar[k, i]), most) / compute_noise_correlation(spanned)
            for m in range(4):
                right[m] += w * term[m] * flux[k, i]
                for n in range(4):
                    normal[m, n] += w * term[m] * term[n]
        if seen >= MIN_LINE_COVERAGE and not np.isnan(excess):
            unit = 1.0 / np.sqrt(np.diag(normal))
            normal *= np.outer(unit, unit)
            if not np.linalg.det(normal) > MIN_DETERMINANT:
                continue
            covariance = np.linalg.inv(normal) * np.outer(unit, unit)
            fit = covariance @ right
            covariance *= excess
            under_var = at_lya @ covariance @ at_lya
            under = max(at_lya @ fit, np.sqrt(under_var))
            ew, shared = fit[3] / under, np.sum(covariance[3] * at_lya)
            variance = (covariance[3, 3] - 2.0 * ew * shared + ew**2 * under_var) / under**2
            result[k, 0] = ew
            result[k, 1] = np.sqrt(variance + EW_ERROR_FLOOR**2 + (RELATIVE_EW_ERROR_FLOOR * ew) ** 2)


@njit_nogil
def _fit_continuum(
    flux: Floats, error: Floats, weight: Floats, power: Floats, log_wave_ratio: Floats
) -> tuple[Floats, Floats, float]:
    """Return normal equations (4, 4), (4,) of the windows and priors, and how much too small errors are.

    Pixels further than `CLIP` from it, in units of the larger of their own error and the scatter, are left
    out, starting from the median.
    """
    normal, right = np.zeros((4, 4)), np.zeros(4)
    ratio = (flux / power)[weight > 0.0]
    level, slope = float(np.median(ratio)), 0.0
    spread = 1.4826 * float(np.median(np.abs(ratio - level)))
    reach, first, second = CLIP_SIGMA * np.maximum(error, spread * power), power**2, power**2 * log_wave_ratio
    near = weight
    for _ in range(N_CLIP_ITERATIONS + 1):
        off = flux - power * (level + slope * log_wave_ratio)
        near = np.where(np.abs(off) <= reach, weight, 0.0)
        normal[0, 0], normal[0, 1] = near @ first, near @ second
        right[0], right[1] = near @ (power * flux), near @ (power * log_wave_ratio * flux)
        if normal[0, 0] == 0.0:  # nothing is near: a spectrum of outliers has no continuum
            return normal, right, np.nan
        scale = max(abs(right[0] / normal[0, 0]), normal[0, 0] ** -0.5)
        normal[1, 0] = normal[0, 1]
        normal[1, 1] = near @ (second * log_wave_ratio) + (PRIOR_BETA_SIGMA * scale) ** -2
        normal[2, 2] = (PRIOR_FOREST_SIGMA * scale) ** -2
        right[2] = normal[2, 2] * scale
        det = normal[0, 0] * normal[1, 1] - normal[0, 1] ** 2
        level = (normal[1, 1] * right[0] - normal[0, 1] * right[1]) / det
        slope = (normal[0, 0] * right[1] - normal[0, 1] * right[0]) / det
    off = flux - power * (level + slope * log_wave_ratio)
    n_free = np.sum(np.where(near > 0.0, near * error**2, 0.0)) - 2.0
    return normal, right, max(1.0, float(np.sum(near * off**2) / max(n_free, 1.0)))


@njit_nogil
def _normal_cdf(x: float) -> float:
    """Return the normal distribution's share below x."""
    return 0.5 * erfc(-x / sqrt(2.0))


@njit_nogil
def _forest_transmission(one_plus_z: float) -> float:
    """Return the mean share of light that the Lyα forest lets through (Becker et al. 2013, eq. 5)."""
    return exp(0.132 - 0.751 * (one_plus_z / 4.5) ** 2.90)
