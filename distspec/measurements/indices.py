"""Slopes, ratios and equivalent widths over fixed rest windows: pure functions over whole batches.

Each is made of the mean flux density in a few windows, whose errors follow from `ivar` exactly, and of a
formula of those means, whose errors are those of its first derivatives. A row's numbers depend on that row
alone, and on no other's mask: what is not covered is NaN.
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
"""Rest wavelengths [Å] of its ends."""
MIN_COVERAGE = 0.5
"""A window of the continuum is covered where valid pixels hold this share of it; a line's needs all."""
FULL_COVERAGE = 0.999
F_NU, F_LAMBDA = 2, 0
"""What is averaged: flux density times λ to this power. Galaxies are nearly flat in f_ν, where it therefore
matters least which pixels of a window are missing."""


class WindowMeans(NamedTuple):
    """Mean flux densities over the valid pixels of K windows.

    Attributes
    ----------
    value, variance : (N, K)
        NaN where no pixel is valid.
    mean_wave : (N, K) [Å]
        Mean wavelength of the valid pixels.
    coverage : (N, K)
        Their share of the window.
    """

    value: Floats
    variance: Floats
    mean_wave: Floats
    coverage: Floats


class Spectra(NamedTuple):
    """Spectra to be measured, as `distspec.core.spectrum.SpectrumBatch` has them.

    Attributes
    ----------
    flux, ivar : (N, L)
        In any unit of f_λ; masked pixels, of ivar 0, may hold anything.
    z : (N,)
        Which of the detector's pixels a grid pixel is made of.
    grid : WaveGrid
    """

    flux: Floats32
    ivar: Floats32
    z: Floats
    grid: WavelengthGrid


def compute_window_means(
    spectra: Spectra, windows: Sequence[Window], wave_power: int, disperser: Disperser
) -> WindowMeans:
    """Return mean flux densities times (λ / centre of all windows)^power, in the flux's unit.

    Pixels that a window's end cuts count by the share that lies inside. Noise is independent from one of the
    detector's pixels to the next: where the grid's are finer, they show one noise several times, which counts
    once, and where the grid or a window cuts a detector's pixel, both sides share its noise.
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
    value: Floats,
    variance: Floats,
    mean_wave: Floats,
    coverage: Floats,
) -> None:
    """Fill value, variance, centre and cover, (N, K), of windows of which pixels hold `window_fractions`, (K, L).

    `pixel_fractions`, (K, L), of the pixels are inside.
    """
    n_windows = len(window_fractions)
    sums = np.zeros((n_windows, 5))
    for row in range(len(z)):
        stretch = np.log(1e-4 * (1.0 + z[row]))
        sums[:] = 0.0
        below = interpolate_detector_position(log_edges[0] + stretch, log_wave_table, position_table)
        for i in range(len(wave)):
            above = interpolate_detector_position(log_edges[i + 1] + stretch, log_wave_table, position_table)
            spanned, below = pixels_per_fwhm * (above - below), above
            # Beside the detector's range nothing was measured.
            if not (ivar[row, i] > 0.0 and spanned > 0.0):
                continue
            y, noise = (
                flux[row, i] * scale[i],
                scale[i] ** 2 / ivar[row, i] * compute_noise_correlation(spanned),
            )
            for k in range(n_windows):
                share = window_fractions[k, i]
                if share > 0.0:
                    sums[k, 0] += share
                    sums[k, 1] += share * y
                    sums[k, 2] += share**2 * noise
                    sums[k, 3] += share * wave[i]
                    sums[k, 4] += pixel_fractions[k, i] * spanned
        for k in range(n_windows):
            coverage[row, k] = sums[k, 0]
            if sums[k, 0] > 0.0:
                value[row, k] = sums[k, 1] / sums[k, 0]
                variance[row, k] = sums[k, 2] / sums[k, 0] ** 2 / compute_noise_correlation(sums[k, 4])
                mean_wave[row, k] = sums[k, 3] / sums[k, 0]


def fit_slope(spectra: Spectra, windows: Sequence[Window], disperser: Disperser) -> tuple[Floats, Floats]:
    """Return β of f_λ ∝ λ^β and its error, (N,) each: a straight line through ln f over ln λ.

    The windows' means count by their widths in ln λ, not by their noise: of every spectrum the same is
    measured. A mean below its own 1σ is taken to be that σ.
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
    spectra: Spectra, numerator: Window, denominator: Window, wave_power: int, disperser: Disperser
) -> tuple[Floats, Floats]:
    """Return one window's mean over another's, and its error, (N,) each.

    A denominator below its own 1σ is taken to be that σ: the ratio is then a lower limit.
    """
    means = compute_window_means(spectra, (numerator, denominator), wave_power, disperser)
    level, relative = _clip_to_sigma(means.value[:, 1], means.variance[:, 1])
    found = means.value[:, 0] / level
    error = np.sqrt(means.variance[:, 0] / level**2 + found**2 * relative)
    return _mask_uncovered(means.coverage >= MIN_COVERAGE, found, error)


def measure_line(
    spectra: Spectra, blue_window: Window, line_window: Window, red_window: Window, disperser: Disperser
) -> tuple[Floats, Floats, Floats]:
    """Return a line's equivalent width [Å], its error, and its flux in units of its noise, (N,) each.

    Emission is positive. The continuum is a straight line in f_ν through the means of two windows, beside
    the line or both on one side of it. One below its own 1σ is taken to be that σ: the width is then a lower
    limit; the flux over its noise is not touched by that.
    """
    means = compute_window_means(spectra, (blue_window, line_window, red_window), F_NU, disperser)
    share = (means.mean_wave[:, 1] - means.mean_wave[:, 0]) / (means.mean_wave[:, 2] - means.mean_wave[:, 0])
    under = (1.0 - share) * means.value[:, 0] + share * means.value[:, 2]
    variance = (1.0 - share) ** 2 * means.variance[:, 0] + share**2 * means.variance[:, 2]
    level, relative = _clip_to_sigma(under, variance)
    over = (means.value[:, 1] - under) / level
    error = np.sqrt(means.variance[:, 1] / level**2 + (1.0 + over) ** 2 * relative)
    sure = (means.value[:, 1] - under) / np.sqrt(means.variance[:, 1] + variance)
    span = line_window[1] - line_window[0]
    covered = means.coverage >= np.array([MIN_COVERAGE, FULL_COVERAGE, MIN_COVERAGE])
    width, error = _mask_uncovered(covered, span * over, span * error)
    return width, error, np.where(np.isnan(width), np.nan, sure)


def measure_equivalent_width(
    spectra: Spectra, blue_window: Window, line_window: Window, red_window: Window, disperser: Disperser
) -> tuple[Floats, Floats]:
    """Return a line's equivalent width [Å] and its error, (N,) each: as `line`."""
    return measure_line(spectra, blue_window, line_window, red_window, disperser)[:2]


def _clip_to_sigma(value: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Return a mean, at least its own σ, and its relative variance."""
    level = np.maximum(value, np.sqrt(variance))
    return level, variance / level**2


def _mask_uncovered(is_covered: NDArray[np.bool_], value: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Return values and errors, NaN where not all windows, (N, K), are covered."""
    whole = np.count_nonzero(is_covered, axis=1) == is_covered.shape[1]
    return np.where(whole, value, np.nan), np.where(whole, error, np.nan)
