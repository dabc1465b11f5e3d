"""Intrinsic width of a line, after subtraction of the instrument's variance."""

from __future__ import annotations

from math import erfc, exp, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser, compute_noise_correlation, interpolate_detector_position
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.indices import GriddedSpectra

FIT_HALF_WIDTH = 0.05
"""Half-width of the fitted range as a fraction of the line's wavelength."""
MAX_INSTRUMENT_FWHM = 2000.0
"""Instrumental FWHM [km/s] from which on nothing is measured: broad lines of active nuclei are not
resolved."""
MIN_LINE_SNR = 10.0
"""Smallest signal-to-noise ratio of a line that is measured."""
RELATIVE_LSF_ERROR = 0.1
"""Relative uncertainty of the instrument's FWHM, which is a pre-launch value for uniformly filled
shutters."""
N_ITERATIONS, MAX_LINE_SHIFT = 12, 1.0
"""Gauss-Newton steps, and the largest offset of a line from its expected position [instrumental FWHM]."""
MIN_COVERAGE, MIN_EXCESS_VARIANCE, MIN_DETERMINANT = 0.9, -0.7, 1e-9
"""Fraction of the range that valid pixels must cover, smallest variance beyond the instrument's [its square
FWHM], and the smallest determinant of the normalized normal equations that is still solved."""
SPEED_OF_LIGHT = 299792.458
"""[km/s]"""
_FWHM_PER_SIGMA = 2.0 * sqrt(2.0 * np.log(2.0))


def measure_line_width(
    spectra: GriddedSpectra, line_wave: float, disperser: Disperser
) -> tuple[Floats, Floats]:
    """Measure a line's FWHM after subtraction of the instrument's variance.

    A Gaussian of free position and variance on a straight continuum is fitted. A variance below the
    instrument's gives an FWHM of 0. Point sources do not fill a shutter, and their lines are sharper than the
    instrument's nominal FWHM: theirs are lower limits. The error includes `RELATIVE_LSF_ERROR` and grows with
    the reduced chi-squared of the fit.

    Parameters
    ----------
    spectra : GriddedSpectra
        The spectra.
    line_wave : float
        Rest-frame wavelength of the line [Angstrom].
    disperser : Disperser
        The instrument.

    Returns
    -------
    fwhm, error : ndarray of shape (n_spectra,)
        Intrinsic FWHM and its 1 sigma error [km/s]. NaN where the line is not covered or weaker than
        `MIN_LINE_SNR`, or the instrument's FWHM exceeds `MAX_INSTRUMENT_FWHM`.
    """
    wave, edges = spectra.grid.wave_rest, spectra.grid.edges
    near = np.flatnonzero(np.abs(wave / line_wave - 1.0) < FIT_HALF_WIDTH)
    result = np.full((len(spectra.z), 2), np.nan)
    if len(near):
        z = np.asarray(spectra.z, np.float64)
        table = disperser.log_wave, disperser.detector_position, float(disperser.pixels_per_fwhm)
        _measure_line_width(spectra.flux, spectra.ivar, z, line_wave, np.log(edges), near, *table, result)
    return result[:, 0], result[:, 1]


@njit_nogil
def _measure_line_width(
    flux: Floats32,
    ivar: Floats32,
    z: Floats,
    line_wave: float,
    log_edges: Floats,
    columns: NDArray[np.int64],
    log_wave_table: Floats,
    position_table: Floats,
    pixels_per_fwhm: float,
    result: Floats,
) -> None:
    """Fill `result`, (n_spectra, 2), from the pixels `columns` around the line."""
    log_step = 1e-3
    for row in range(len(z)):
        log_shift = np.log(1e-4 * (1.0 + z[row]))
        log_wave = np.log(line_wave) + log_shift
        line_position = interpolate_detector_position(log_wave, log_wave_table, position_table)
        shifted_position = interpolate_detector_position(log_wave + log_step, log_wave_table, position_table)
        instrument_fwhm = SPEED_OF_LIGHT * log_step / (shifted_position - line_position)
        if not instrument_fwhm < MAX_INSTRUMENT_FWHM:
            continue
        positions = np.zeros((len(columns), 2))
        for k in range(len(columns)):
            for side in range(2):
                log_edge = log_edges[columns[k] + side] + log_shift
                positions[k, side] = (
                    interpolate_detector_position(log_edge, log_wave_table, position_table) - line_position
                )
        _fit_gaussian(flux[row], ivar[row], columns, positions, pixels_per_fwhm, instrument_fwhm, result[row])


@njit_nogil
def _fit_gaussian(
    flux: Floats32,
    ivar: Floats32,
    columns: NDArray[np.int64],
    positions: Floats,
    pixels_per_fwhm: float,
    instrument_fwhm: float,
    result: Floats,
) -> None:
    """Fill `result`, (2,), from one spectrum by Gauss-Newton steps, if the fit succeeds.

    `positions`, (n_columns, 2), are those of the pixels' edges from the line [instrumental FWHM]. Parameters
    are the continuum's level and slope, and the line's height, shift and excess variance.
    """
    term, n_all = np.zeros(5), len(columns)
    shift, beyond = 0.0, 0.0
    height, height_var, beyond_var, chi2 = 0.0, np.inf, np.inf, 1.0
    for _ in range(N_ITERATIONS):
        normal, right, total, n = np.zeros((5, 5)), np.zeros(5), 0.0, 0.0
        s = sqrt((1.0 + beyond) / _FWHM_PER_SIGMA**2 + 1.0 / (6.0 * pixels_per_fwhm**2))
        for k in range(n_all):
            i, a, b = columns[k], positions[k, 0] - shift, positions[k, 1] - shift
            if not (ivar[i] > 0.0 and b > a):
                continue
            p, q = _normal_pdf(a / s), _normal_pdf(b / s)
            middle = 0.5 * (a + b)
            # Means over the pixel of each parameter's derivative.
            term[0], term[1] = 1.0, middle + shift
            term[2] = 0.5 * (erfc(-b / s / sqrt(2.0)) - erfc(-a / s / sqrt(2.0))) / (b - a)
            term[3] = (p - q) / s / (b - a)
            term[4] = 0.5 * (a * p - b * q) / (s**3 * _FWHM_PER_SIGMA**2) / (b - a)
            w = ivar[i] / compute_noise_correlation(pixels_per_fwhm * (b - a))
            for m in range(5):
                right[m] += w * term[m] * flux[i]
                for o in range(5):
                    normal[m, o] += w * term[m] * term[o]
            total += w * flux[i] ** 2
            n += 1.0
        if not n >= MIN_COVERAGE * n_all:
            return
        unit = 1.0 / np.sqrt(np.diag(normal))
        normal *= np.outer(unit, unit)
        if not np.linalg.det(normal) > MIN_DETERMINANT:
            return
        covariance = np.linalg.inv(normal) * np.outer(unit, unit)
        fit = covariance @ right
        height, height_var = fit[2], covariance[2, 2]
        chi2 = max(1.0, (total - fit @ right) / max(n - 5.0, 1.0))
        if not height > 0.0:
            return
        beyond_var = covariance[4, 4] / height**2
        shift = min(max(shift + min(max(fit[3] / height, -0.5), 0.5), -MAX_LINE_SHIFT), MAX_LINE_SHIFT)
        limit = 0.5 * (1.0 + beyond)
        beyond = max(beyond + min(max(fit[4] / height, -limit), limit), MIN_EXCESS_VARIANCE)
    if height**2 > MIN_LINE_SNR**2 * height_var * chi2:
        sigma = sqrt(beyond_var * chi2 + (2.0 * RELATIVE_LSF_ERROR) ** 2)
        width = sqrt(max(beyond, 0.0))
        result[0] = instrument_fwhm * width
        result[1] = instrument_fwhm * (sqrt(width**2 + sigma) - width)


@njit_nogil
def _normal_pdf(x: float) -> float:
    """Return the standard normal density."""
    return exp(-0.5 * x**2) / sqrt(2.0 * pi)
