"""Net equivalent width of Lya from a fit of continuum, forest and unresolved line to the blended break."""

from __future__ import annotations

from math import erfc, exp, sqrt

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser, compute_noise_correlation, interpolate_detector_position
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.indices import GriddedSpectra

LYA_WAVE = GALAXY_LINES["Lyα"]
LYA_WINDOW = (1150.0, 1290.0)
"""Rest-frame window of the line and the break [Angstrom]."""
CONTINUUM_WINDOWS = ((1290.0, 1520.0), (1680.0, 1860.0))
"""Rest-frame windows of the continuum, clear of strong lines [Angstrom]."""
PIVOT_WAVE, PRIOR_BETA, PRIOR_BETA_SIGMA = 1400.0, -2.0, 1.0
"""Pivot of the power law [Angstrom], and mean and standard deviation of the Gaussian prior of its index."""
PRIOR_FOREST_SIGMA = 1.0
"""Standard deviation of the Gaussian prior of the forest's amplitude, relative to the continuum."""
CLIP_SIGMA, N_CLIP_ITERATIONS = 4.0, 2
"""Continuum pixels beyond this distance from the fit are left out; number of repetitions."""
MAX_RELATIVE_WEIGHT, MIN_DETERMINANT = 1e4, 1e-10
"""Largest weight of a pixel relative to the median of the continuum, and the smallest determinant of the
normalized normal equations that is still solved."""
MIN_LINE_COVERAGE, MIN_CONTINUUM_COVERAGE = 0.8, 0.3
"""Fractions of the line's profile and of the continuum windows that valid pixels must cover."""
EW_ERROR_FLOOR, RELATIVE_EW_ERROR_FLOOR = 1.5, 0.05
"""Systematic error of the fit, absolute [Angstrom] and relative, because dust bends the continuum."""


def measure_lya_ew(spectra: GriddedSpectra, disperser: Disperser) -> tuple[Floats, Floats]:
    """Measure the net rest-frame equivalent width of Lya, positive in emission.

    A weighted linear least-squares fit has four amplitudes: the continuum f and its first derivative in beta
    at `PRIOR_BETA` (a power law redward of Lya), the light that the Lya forest transmits below it, and an
    unresolved line. The line and the break are convolved with the instrument's Gaussian LSF. Continuum pixels
    beyond `CLIP_SIGMA` are left out. Damped absorption makes the result negative.

    The error includes the continuum's, increases with the scatter of the continuum over its errors, and has a
    floor. Noise that several grid pixels share counts once. A continuum below its own 1 sigma is replaced by
    that sigma: the equivalent width is then a lower limit, with an error at least as large.

    Parameters
    ----------
    spectra : GriddedSpectra
        The spectra.
    disperser : Disperser
        The instrument.

    Returns
    -------
    equivalent_width, error : ndarray of shape (n_spectra,)
        Equivalent width and its 1 sigma error [Angstrom]; NaN where line or continuum are not covered.

    References
    ----------
    Becker, Hewett, Worseck & Prochaska 2013, MNRAS 430, 2067: equation 5, the forest's mean transmission.
    """
    wave, edges = spectra.grid.wave_rest, spectra.grid.edges
    near = (wave >= LYA_WINDOW[0]) & (wave < LYA_WINDOW[1])
    redward = np.any([(low <= wave) & (wave < high) for low, high in CONTINUUM_WINDOWS], axis=0)
    result = np.full((len(spectra.z), 2), np.nan)
    if near.any() and redward.any():
        instrument = disperser.log_wave, disperser.detector_position, float(disperser.pixels_per_fwhm)
        columns = np.flatnonzero(near), np.flatnonzero(redward)
        z = np.asarray(spectra.z, np.float64)
        _measure_lya_ew(spectra.flux, spectra.ivar, z, wave, edges, *columns, *instrument, result)
    return result[:, 0], result[:, 1]


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
    """Fill `result`, (n_spectra, 2), with equivalent width and error where Lya is covered."""
    # Width of an unresolved line [FWHM]: the LSF, the detector's pixel, and that pixel cut by the grid.
    sigma = np.sqrt(1.0 / 2.3548**2 + 1.0 / (6.0 * pixels_per_fwhm**2))
    power, log_wave_ratio = (wave / PIVOT_WAVE) ** PRIOR_BETA, np.log(wave / PIVOT_WAVE)
    at_lya = (LYA_WAVE / PIVOT_WAVE) ** PRIOR_BETA * np.array([1.0, np.log(LYA_WAVE / PIVOT_WAVE), 0.0, 0.0])
    log_edges, term = np.log(edges), np.zeros(4)
    n_continuum = len(continuum_columns)
    y, weight, repeats = np.zeros(n_continuum), np.zeros(n_continuum), np.zeros(n_continuum)
    continuum_power, continuum_log_ratio = power[continuum_columns], log_wave_ratio[continuum_columns]
    for k in range(len(z)):
        log_shift = np.log(1e-4 * (1.0 + z[k]))
        line_at = interpolate_detector_position(np.log(LYA_WAVE) + log_shift, log_wave_table, position_table)
        n_valid = _load_continuum(
            flux[k],
            ivar[k],
            continuum_columns,
            log_edges + log_shift,
            log_wave_table,
            position_table,
            pixels_per_fwhm,
            y,
            weight,
            repeats,
        )
        if n_valid == 0 or n_valid < MIN_CONTINUUM_COVERAGE * n_continuum:
            continue
        max_weight = MAX_RELATIVE_WEIGHT * np.median(weight[weight > 0.0])
        clipped = np.minimum(weight, max_weight)
        error = clipped**-0.5  # infinite where masked
        # The continuum windows contain neither line nor forest; the pixels near Lya are added to their sums.
        normal, right, excess = _fit_continuum(
            y, error, clipped / repeats, continuum_power, continuum_log_ratio
        )
        coverage = 0.0
        lower = interpolate_detector_position(
            log_edges[lya_columns[0]] + log_shift, log_wave_table, position_table
        )
        cdf_lower = _normal_cdf((lower - line_at) / sigma)
        for i in lya_columns:
            upper = interpolate_detector_position(
                log_edges[i + 1] + log_shift, log_wave_table, position_table
            )
            cdf_upper = _normal_cdf((upper - line_at) / sigma)
            share, cdf_lower = cdf_upper - cdf_lower, cdf_upper
            step = _normal_cdf((0.5 * (lower + upper) - line_at) / sigma)
            width, lower = pixels_per_fwhm * (upper - lower), upper
            if not (ivar[k, i] > 0.0 and width > 0.0):
                continue
            coverage += share
            term[0] = power[i] * step
            term[1] = term[0] * log_wave_ratio[i]
            term[2] = power[i] * (1.0 - step) * _forest_transmission(wave[i] / LYA_WAVE * (1.0 + z[k]))
            term[3] = share / (edges[i + 1] - edges[i])
            w = min(np.float64(ivar[k, i]), max_weight) / compute_noise_correlation(width)
            for m in range(4):
                right[m] += w * term[m] * flux[k, i]
                for n in range(4):
                    normal[m, n] += w * term[m] * term[n]
        if coverage >= MIN_LINE_COVERAGE and not np.isnan(excess):
            _solve_for_line(normal, right, excess, at_lya, result[k])


@njit_nogil
def _load_continuum(
    flux: Floats32,
    ivar: Floats32,
    columns: NDArray[np.int64],
    log_edges: Floats,
    log_wave_table: Floats,
    position_table: Floats,
    pixels_per_fwhm: float,
    y: Floats,
    weight: Floats,
    repeats: Floats,
) -> int:
    """Fill in flux, inverse variance and noise correlation of continuum pixels; return how many are valid."""
    n_valid = 0
    for j in range(len(columns)):
        i = int(columns[j])
        lower = interpolate_detector_position(log_edges[i], log_wave_table, position_table)
        upper = interpolate_detector_position(log_edges[i + 1], log_wave_table, position_table)
        width = pixels_per_fwhm * (upper - lower)
        is_valid = ivar[i] > 0.0 and width > 0.0
        y[j], weight[j], repeats[j] = 0.0, 0.0, 1.0
        if is_valid:
            y[j], weight[j], repeats[j] = flux[i], ivar[i], compute_noise_correlation(width)
        n_valid += int(is_valid)
    return n_valid


@njit_nogil
def _solve_for_line(normal: Floats, right: Floats, excess: float, at_lya: Floats, result: Floats) -> None:
    """Solve the normal equations; fill in equivalent width and error, unless they are near singular."""
    unit = 1.0 / np.sqrt(np.diag(normal))
    normal *= np.outer(unit, unit)
    if not np.linalg.det(normal) > MIN_DETERMINANT:
        return
    covariance = np.linalg.inv(normal) * np.outer(unit, unit)
    fit = covariance @ right
    covariance *= excess
    continuum_var = at_lya @ covariance @ at_lya
    continuum = max(at_lya @ fit, np.sqrt(continuum_var))
    ew, covariance_sum = fit[3] / continuum, np.sum(covariance[3] * at_lya)
    variance = (covariance[3, 3] - 2.0 * ew * covariance_sum + ew**2 * continuum_var) / continuum**2
    result[0] = ew
    result[1] = np.sqrt(variance + EW_ERROR_FLOOR**2 + (RELATIVE_EW_ERROR_FLOOR * ew) ** 2)


@njit_nogil
def _fit_continuum(
    flux: Floats, error: Floats, weight: Floats, power: Floats, log_wave_ratio: Floats
) -> tuple[Floats, Floats, float]:
    """Return the normal equations of continuum windows and priors, (4, 4) and (4,), and the excess variance.

    Pixels beyond `CLIP_SIGMA`, in units of the larger of their error and the robust scatter, are left out,
    starting from the median. The last result is chi-squared per degree of freedom, at least 1; NaN if no
    pixel is left.
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
        if normal[0, 0] == 0.0:
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
    """Return the cumulative distribution function of the standard normal distribution."""
    return 0.5 * erfc(-x / sqrt(2.0))


@njit_nogil
def _forest_transmission(one_plus_z: float) -> float:
    """Return the mean transmission of the Lya forest (Becker et al. 2013, equation 5)."""
    return exp(0.132 - 0.751 * (one_plus_z / 4.5) ** 2.90)
