"""How much broader a line is than the instrument makes it; pure, over whole batches."""

from __future__ import annotations

from math import erfc, exp, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser, compute_noise_correlation, interpolate_detector_position
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.indices import Spectra

FIT_HALF_WIDTH = 0.05
"""The line is fitted with the continuum so far to both sides, as a share of its wavelength."""
MAX_INSTRUMENT_FWHM = 2000.0
"""Where the instrument itself is this broad [km/s, FWHM], the broad lines of active nuclei do not show."""
MIN_LINE_SNR = 10.0
"""A line is measured from so many σ on."""
RELATIVE_LSF_ERROR = 0.1
"""How well the instrument's width is known: before launch, for evenly filled shutters."""
N_ITERATIONS, MAX_LINE_SHIFT = 12, 1.0
"""Steps to the best fit, and how far from its place a line is sought, in instrument's FWHM."""
MIN_COVERAGE, MIN_EXCESS_VARIANCE, MIN_DETERMINANT = 0.9, -0.7, 1e-9
SPEED_OF_LIGHT = 299792.458
"""Of light [km/s]."""
_FWHM_PER_SIGMA = 2.0 * sqrt(2.0 * np.log(2.0))


def measure_line_width(spectra: Spectra, line_wave: float, disperser: Disperser) -> tuple[Floats, Floats]:
    """Return a line's FWHM beyond the instrument's [km/s] and its error, (N,) each.

    A Gaussian over a straight line, fitted with its place and its variance free. What it has beyond the
    instrument's variance may be negative, which is given as 0: point sources fill less of a shutter and are
    seen sharper than the instrument's width is given for, so that theirs are lower limits. The error holds
    `RELATIVE_LSF_ERROR`, and how much worse than `ivar` says the fit is. NaN where the line is not covered or weak, or the
    instrument coarse.

    Parameters
    ----------
    spectra : Spectra
    line_wave : float
        Of the line [Å, rest].
    disperser : Disperser
    """
    centres, edges = spectra.grid.wave_rest, spectra.grid.edges
    near = np.flatnonzero(np.abs(centres / line_wave - 1.0) < FIT_HALF_WIDTH)
    found = np.full((len(spectra.z), 2), np.nan)
    if len(near):
        z = np.asarray(spectra.z, np.float64)
        table = disperser.log_wave, disperser.detector_position, float(disperser.pixels_per_fwhm)
        _measure_line_width(spectra.flux, spectra.ivar, z, line_wave, np.log(edges), near, *table, found)
    return found[:, 0], found[:, 1]


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
    """Fill `result`, (N, 2), from the pixels `columns` the line at `line_wave`."""
    term, n_all = np.zeros(5), len(columns)
    for row in range(len(z)):
        stretch = np.log(1e-4 * (1.0 + z[row]))
        at = interpolate_detector_position(np.log(line_wave) + stretch, log_wave_table, position_table)
        # An instrument's FWHM, in km/s, is what one step of its place is worth.
        step = 1e-3
        wide = (
            SPEED_OF_LIGHT
            * step
            / (
                interpolate_detector_position(
                    np.log(line_wave) + stretch + step, log_wave_table, position_table
                )
                - at
            )
        )
        if not wide < MAX_INSTRUMENT_FWHM:
            continue
        shift, beyond = 0.0, 0.0
        height, height_var, beyond_var, worse, good = 0.0, np.inf, np.inf, 1.0, True
        for _ in range(N_ITERATIONS):
            normal, right, total, n = np.zeros((5, 5)), np.zeros(5), 0.0, 0.0
            s = sqrt((1.0 + beyond) / _FWHM_PER_SIGMA**2 + 1.0 / (6.0 * pixels_per_fwhm**2))
            for k in range(n_all):
                i = columns[k]
                a = (
                    interpolate_detector_position(log_edges[i] + stretch, log_wave_table, position_table)
                    - at
                    - shift
                )
                b = (
                    interpolate_detector_position(log_edges[i + 1] + stretch, log_wave_table, position_table)
                    - at
                    - shift
                )
                if not (ivar[row, i] > 0.0 and b > a):
                    continue
                p, q = _normal_pdf(a / s), _normal_pdf(b / s)
                middle = 0.5 * (a + b)
                term[0], term[1] = 1.0, middle + shift
                term[2] = 0.5 * (erfc(-b / s / sqrt(2.0)) - erfc(-a / s / sqrt(2.0))) / (b - a)
                term[3] = (p - q) / s / (b - a)
                term[4] = 0.5 * (a * p - b * q) / (s**3 * _FWHM_PER_SIGMA**2) / (b - a)
                w = ivar[row, i] / compute_noise_correlation(pixels_per_fwhm * (b - a))
                for m in range(5):
                    right[m] += w * term[m] * flux[row, i]
                    for o in range(5):
                        normal[m, o] += w * term[m] * term[o]
                total += w * flux[row, i] ** 2
                n += 1.0
            good = n >= MIN_COVERAGE * n_all
            if not good:
                break
            unit = 1.0 / np.sqrt(np.diag(normal))
            normal *= np.outer(unit, unit)
            good = np.linalg.det(normal) > MIN_DETERMINANT
            if not good:
                break
            covariance = np.linalg.inv(normal) * np.outer(unit, unit)
            fit = covariance @ right
            height, height_var = fit[2], covariance[2, 2]
            worse = max(1.0, (total - fit @ right) / max(n - 5.0, 1.0))
            if not height > 0.0:
                good = False
                break
            beyond_var = covariance[4, 4] / height**2
            shift = min(max(shift + min(max(fit[3] / height, -0.5), 0.5), -MAX_LINE_SHIFT), MAX_LINE_SHIFT)
            limit = 0.5 * (1.0 + beyond)
            beyond = max(beyond + min(max(fit[4] / height, -limit), limit), MIN_EXCESS_VARIANCE)
        if good and height**2 > MIN_LINE_SNR**2 * height_var * worse:
            sigma = sqrt(beyond_var * worse + (2.0 * RELATIVE_LSF_ERROR) ** 2)
            width = sqrt(max(beyond, 0.0))
            result[row, 0] = wide * width
            result[row, 1] = wide * (sqrt(width**2 + sigma) - width)


@njit_nogil
def _normal_pdf(x: float) -> float:
    return exp(-0.5 * x**2) / sqrt(2.0 * pi)
