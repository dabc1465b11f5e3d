"""Slopes, flux ratios and equivalent widths from mean flux densities in fixed rest-frame windows.

The errors of the means follow exactly from ``ivar``; those of an index follow from them to first order. The
numbers of a spectrum depend on that spectrum alone, and are NaN where it does not cover the windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser, compute_noise_correlation, interpolate_detector_position
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid

Window = tuple[float, float]
"""First and last rest-frame wavelength [Angstrom]."""
MIN_COVERAGE = 0.5
"""Fraction of a continuum window that valid pixels must cover."""
FULL_COVERAGE = 0.999
"""Fraction of a line's window that valid pixels must cover."""
F_NU, F_LAMBDA = 2, 0
"""Power of the wavelength by which f_lambda is multiplied before it is averaged. Galaxies are nearly flat
in f_nu, so that means of f_nu depend least on which pixels of a window are masked."""


class WindowMeans(NamedTuple):
    """Mean flux densities over the valid pixels of windows.

    Attributes
    ----------
    value, variance : ndarray of shape (n_spectra, n_windows)
        NaN where no pixel is valid.
    mean_wave : ndarray of shape (n_spectra, n_windows)
        Mean rest-frame wavelength of the valid pixels [Angstrom].
    coverage : ndarray of shape (n_spectra, n_windows)
        Fraction of the window that valid pixels cover.
    """

    value: Floats
    variance: Floats
    mean_wave: Floats
    coverage: Floats


class GriddedSpectra(NamedTuple):
    """A batch of spectra on one rest-frame grid: the part of a `SpectrumBatch` that measuring needs.

    Attributes
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Flux density f_lambda in any unit, and its inverse variance; ``ivar`` 0 marks masked pixels.
    z : ndarray of shape (n_spectra,)
        Redshifts, which give the position of each pixel on the detector.
    grid : WavelengthGrid
        The grid.
    """

    flux: Floats32
    ivar: Floats32
    z: Floats
    grid: WavelengthGrid


class LineMeasurement(NamedTuple):
    """Equivalent width of a line.

    Attributes
    ----------
    equivalent_width, error : ndarray of shape (n_spectra,)
        Rest-frame equivalent width, positive in emission, and its 1 sigma error [Angstrom].
    snr : ndarray of shape (n_spectra,)
        Signal-to-noise ratio of the line flux.
    """

    equivalent_width: Floats
    error: Floats
    snr: Floats


def compute_window_means(
    spectra: GriddedSpectra, windows: Sequence[Window], wave_power: int, disperser: Disperser
) -> WindowMeans:
    """Compute mean flux densities in windows, of flux times (wavelength / mean of all windows) ** power.

    A pixel that a window's limit cuts counts by the fraction inside. Where grid pixels are narrower than the
    detector's, they share one noise, which counts once; where the grid or a window cuts a detector pixel,
    both sides share its noise. The variance of a mean of n detector pixels whose neighbors correlate with
    coefficient r is 1 + 2 r (n - 1) / n times that of independent ones.

    Parameters
    ----------
    spectra : GriddedSpectra
        The spectra.
    windows : sequence of (float, float)
        Rest-frame windows [Angstrom].
    wave_power : int
        `F_NU` or `F_LAMBDA`.
    disperser : Disperser
        The instrument, for the width of the detector's pixels.

    Returns
    -------
    WindowMeans
        In the unit of the flux.
    """
    edges, wave = spectra.grid.edges, spectra.grid.wave_rest
    inside = np.array([np.diff(np.clip(edges, low, high)) for low, high in windows])
    used = np.flatnonzero(inside.any(axis=0))
    means = WindowMeans(*(np.full((len(spectra.z), len(windows)), np.nan) for _ in WindowMeans._fields))
    means.coverage[:] = 0.0
    if len(used):
        columns = slice(int(used[0]), int(used[-1]) + 1)
        _compute_window_means(
            spectra.flux[:, columns],
            spectra.ivar[:, columns],
            np.asarray(spectra.z, np.float64),
            wave[columns],
            np.log(edges[columns.start : columns.stop + 1]),
            inside[:, columns] / np.array([high - low for low, high in windows])[:, None],
            inside[:, columns] / np.diff(edges)[columns],
            (wave[columns] / np.mean(windows)) ** wave_power,
            disperser.log_wave,
            disperser.detector_position,
            float(disperser.pixels_per_fwhm),
            float(disperser.noise_correlation),
            *means,
        )
    return means


@njit_nogil
def _compute_window_means(
    flux: Floats32,
    ivar: Floats32,
    z: Floats,
    wave: Floats,
    log_edges: Floats,
    window_fractions: Floats,
    pixel_fractions: Floats,
    scale: Floats,
    log_wave_table: Floats,
    position_table: Floats,
    pixels_per_fwhm: float,
    noise_correlation: float,
    value: Floats,
    variance: Floats,
    mean_wave: Floats,
    coverage: Floats,
) -> None:
    """Fill the four arrays of `WindowMeans`.

    `window_fractions` and `pixel_fractions`, (n_windows, n_pixels), give the overlap of pixel and window as
    fractions of the window and of the pixel; `scale` is the power of the wavelength.
    """
    n_windows = len(window_fractions)
    # Per window: coverage; flux, variance and wavelength weighted by it; width in detector pixels.
    sums = np.zeros((n_windows, 5))
    for row in range(len(z)):
        log_shift = np.log(1e-4 * (1.0 + z[row]))
        sums[:] = 0.0
        lower = interpolate_detector_position(log_edges[0] + log_shift, log_wave_table, position_table)
        for i in range(len(wave)):
            upper = interpolate_detector_position(
                log_edges[i + 1] + log_shift, log_wave_table, position_table
            )
            width, lower = pixels_per_fwhm * (upper - lower), upper
            # The width is NaN beyond the detector's range, where there is no measurement.
            if not (ivar[row, i] > 0.0 and width > 0.0):
                continue
            y = flux[row, i] * scale[i]
            noise = scale[i] ** 2 / ivar[row, i] * compute_noise_correlation(width)
            for k in range(n_windows):
                share = window_fractions[k, i]
                if share > 0.0:
                    sums[k, 0] += share
                    sums[k, 1] += share * y
                    sums[k, 2] += share**2 * noise
                    sums[k, 3] += share * wave[i]
                    sums[k, 4] += pixel_fractions[k, i] * width
        for k in range(n_windows):
            coverage[row, k] = sums[k, 0]
            if sums[k, 0] > 0.0:
                value[row, k] = sums[k, 1] / sums[k, 0]
                n = sums[k, 4]
                covariance = 1.0 + 2.0 * noise_correlation * max(n - 1.0, 0.0) / n
                variance[row, k] = covariance * sums[k, 2] / sums[k, 0] ** 2 / compute_noise_correlation(n)
                mean_wave[row, k] = sums[k, 3] / sums[k, 0]


def fit_slope(
    spectra: GriddedSpectra, windows: Sequence[Window], disperser: Disperser
) -> tuple[Floats, Floats]:
    """Fit the index beta of f_lambda ~ lambda**beta: a straight line through ln f over ln lambda.

    Window means have weights equal to their widths in ln lambda, not to their noise, so that every spectrum
    is measured in the same way. A mean below its own 1 sigma is replaced by that sigma.

    Parameters
    ----------
    spectra : GriddedSpectra
        The spectra.
    windows : sequence of (float, float)
        Line-free rest-frame windows [Angstrom].
    disperser : Disperser
        The instrument.

    Returns
    -------
    beta, error : ndarray of shape (n_spectra,)
        Index and its 1 sigma error; NaN where a window is not covered.

    References
    ----------
    Calzetti, Kinney & Storchi-Bergmann 1994, ApJ 429, 582, define beta and its windows in the ultraviolet.
    """
    means = compute_window_means(spectra, windows, F_NU, disperser)
    low, high = np.log(np.array(windows).T)
    x, weight = 0.5 * (low + high), high - low
    x -= np.average(x, weights=weight)
    share = weight * x / np.sum(weight * x**2)
    level, relative = _clip_to_sigma(means.value, means.variance)
    beta = (share * np.log(level)).sum(axis=1) - F_NU
    error = np.sqrt((share**2 * relative).sum(axis=1))
    return _mask_uncovered(means.coverage >= MIN_COVERAGE, beta, error)


def measure_flux_ratio(
    spectra: GriddedSpectra, numerator: Window, denominator: Window, wave_power: int, disperser: Disperser
) -> tuple[Floats, Floats]:
    """Measure the ratio of the mean flux densities in two windows.

    A denominator below its own 1 sigma is replaced by that sigma: the ratio is then a lower limit.

    Parameters
    ----------
    spectra : GriddedSpectra
        The spectra.
    numerator, denominator : (float, float)
        Rest-frame windows [Angstrom].
    wave_power : int
        `F_NU` or `F_LAMBDA`: which flux density is averaged.
    disperser : Disperser
        The instrument.

    Returns
    -------
    ratio, error : ndarray of shape (n_spectra,)
        Ratio and its 1 sigma error; NaN where a window is not covered.
    """
    means = compute_window_means(spectra, (numerator, denominator), wave_power, disperser)
    level, relative = _clip_to_sigma(means.value[:, 1], means.variance[:, 1])
    ratio = means.value[:, 0] / level
    error = np.sqrt(means.variance[:, 0] / level**2 + ratio**2 * relative)
    return _mask_uncovered(means.coverage >= MIN_COVERAGE, ratio, error)


def measure_line(
    spectra: GriddedSpectra,
    blue_window: Window,
    line_window: Window,
    red_window: Window,
    disperser: Disperser,
) -> LineMeasurement:
    """Measure a line's equivalent width by integration over a window.

    The continuum is a straight line in f_nu through the means of two windows, on both sides of the line or
    both on one side. A continuum below its own 1 sigma is replaced by that sigma: the equivalent width is
    then a lower limit. The signal-to-noise ratio of the line flux is not affected.

    Parameters
    ----------
    spectra : GriddedSpectra
        The spectra.
    blue_window, red_window : (float, float)
        Rest-frame windows of the continuum [Angstrom].
    line_window : (float, float)
        Rest-frame window of the line [Angstrom].
    disperser : Disperser
        The instrument.

    Returns
    -------
    LineMeasurement
        NaN where a window is not covered.
    """
    means = compute_window_means(spectra, (blue_window, line_window, red_window), F_NU, disperser)
    share = (means.mean_wave[:, 1] - means.mean_wave[:, 0]) / (means.mean_wave[:, 2] - means.mean_wave[:, 0])
    continuum = (1.0 - share) * means.value[:, 0] + share * means.value[:, 2]
    variance = (1.0 - share) ** 2 * means.variance[:, 0] + share**2 * means.variance[:, 2]
    level, relative = _clip_to_sigma(continuum, variance)
    excess = (means.value[:, 1] - continuum) / level
    error = np.sqrt(means.variance[:, 1] / level**2 + (1.0 + excess) ** 2 * relative)
    snr = (means.value[:, 1] - continuum) / np.sqrt(means.variance[:, 1] + variance)
    span = line_window[1] - line_window[0]
    covered = means.coverage >= np.array([MIN_COVERAGE, FULL_COVERAGE, MIN_COVERAGE])
    width, error = _mask_uncovered(covered, span * excess, span * error)
    return LineMeasurement(width, error, np.where(np.isnan(width), np.nan, snr))


def _clip_to_sigma(value: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Return a mean, at least its own sigma, and its relative variance."""
    level = np.maximum(value, np.sqrt(variance))
    return level, variance / level**2


def _mask_uncovered(is_covered: NDArray[np.bool_], value: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Return values and errors, NaN where not all windows, (n_spectra, n_windows), are covered."""
    complete = np.count_nonzero(is_covered, axis=1) == is_covered.shape[1]
    return np.where(complete, value, np.nan), np.where(complete, error, np.nan)
