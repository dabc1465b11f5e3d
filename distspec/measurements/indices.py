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
from distspec.core.instruments import Disperser, place_of, repeats_of
from distspec.core.spectrum import Floats, Floats32, WaveGrid

Window = tuple[float, float]
"""Rest wavelengths [Å] of its ends."""
MIN_COVER = 0.5
"""A window of the continuum is covered where valid pixels hold this share of it; a line's needs all."""
ALL = 0.999
F_NU, F_LAMBDA = 2, 0
"""What is averaged: flux density times λ to this power. Galaxies are nearly flat in f_ν, where it therefore
matters least which pixels of a window are missing."""


class Means(NamedTuple):
    """Mean flux densities over the valid pixels of K windows.

    Attributes
    ----------
    value, variance : (N, K)
        NaN where no pixel is valid.
    centre : (N, K) [Å]
        Mean wavelength of the valid pixels.
    cover : (N, K)
        Their share of the window.
    """

    value: Floats
    variance: Floats
    centre: Floats
    cover: Floats


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
    grid: WaveGrid


def window_means(spectra: Spectra, windows: Sequence[Window], power: int, detector: Disperser) -> Means:
    """Return mean flux densities times (λ / centre of all windows)^power, in the flux's unit.

    Pixels that a window's end cuts count by the share that lies inside. Noise is independent from one of the
    detector's pixels to the next: where the grid's are finer, they show one noise several times, which counts
    once, and where the grid or a window cuts a detector's pixel, both sides share its noise.
    """
    edges, wave = spectra.grid.edges, spectra.grid.wave_rest
    inside = np.array([np.diff(np.clip(edges, low, high)) for low, high in windows])
    used = np.flatnonzero(inside.any(axis=0))
    means = Means(*(np.full((len(spectra.z), len(windows)), np.nan) for _ in Means._fields))
    means.cover[:] = 0.0
    if len(used):
        columns = slice(int(used[0]), int(used[-1]) + 1)
        _window_means(
            spectra.flux[:, columns],
            spectra.ivar[:, columns],
            np.asarray(spectra.z, np.float64),
            wave[columns],
            np.log(edges[columns.start : columns.stop + 1]),
            inside[:, columns] / np.array([high - low for low, high in windows])[:, None],
            inside[:, columns] / np.diff(edges)[columns],
            (wave[columns] / np.mean(windows)) ** power,
            detector.log_wave,
            detector.place,
            float(detector.pixels),
            *means,
        )
    return means


@njit_nogil
def _window_means(
    flux: Floats32,
    ivar: Floats32,
    z: Floats,
    wave: Floats,
    log_edges: Floats,
    shares: Floats,
    parts: Floats,
    scale: Floats,
    table: Floats,
    place: Floats,
    pixels: float,
    value: Floats,
    variance: Floats,
    centre: Floats,
    cover: Floats,
) -> None:
    """Fill value, variance, centre and cover, (N, K), of windows of which pixels hold `shares`, (K, L).

    `parts`, (K, L), of the pixels are inside.
    """
    n_windows = len(shares)
    sums = np.zeros((n_windows, 5))
    for row in range(len(z)):
        stretch = np.log(1e-4 * (1.0 + z[row]))
        sums[:] = 0.0
        below = place_of(log_edges[0] + stretch, table, place)
        for i in range(len(wave)):
            above = place_of(log_edges[i + 1] + stretch, table, place)
            spanned, below = pixels * (above - below), above
            # Beside the detector's range nothing was measured.
            if not (ivar[row, i] > 0.0 and spanned > 0.0):
                continue
            y, noise = flux[row, i] * scale[i], scale[i] ** 2 / ivar[row, i] * repeats_of(spanned)
            for k in range(n_windows):
                share = shares[k, i]
                if share > 0.0:
                    sums[k, 0] += share
                    sums[k, 1] += share * y
                    sums[k, 2] += share**2 * noise
                    sums[k, 3] += share * wave[i]
                    sums[k, 4] += parts[k, i] * spanned
        for k in range(n_windows):
            cover[row, k] = sums[k, 0]
            if sums[k, 0] > 0.0:
                value[row, k] = sums[k, 1] / sums[k, 0]
                variance[row, k] = sums[k, 2] / sums[k, 0] ** 2 / repeats_of(sums[k, 4])
                centre[row, k] = sums[k, 3] / sums[k, 0]


def slope(spectra: Spectra, windows: Sequence[Window], detector: Disperser) -> tuple[Floats, Floats]:
    """Return β of f_λ ∝ λ^β and its error, (N,) each: a straight line through ln f over ln λ.

    The windows' means count by their widths in ln λ, not by their noise: of every spectrum the same is
    measured. A mean below its own 1σ is taken to be that σ.
    """
    means = window_means(spectra, windows, F_NU, detector)
    low, high = np.log(np.array(windows).T)
    x, weight = 0.5 * (low + high), high - low
    x -= np.average(x, weights=weight)
    share = weight * x / np.sum(weight * x**2)
    level, relative = _positive(means.value, means.variance)
    beta = (share * np.log(level)).sum(axis=1) - F_NU
    error = np.sqrt((share**2 * relative).sum(axis=1))
    return _covered(means.cover >= MIN_COVER, beta, error)


def ratio(
    spectra: Spectra, above: Window, below: Window, power: int, detector: Disperser
) -> tuple[Floats, Floats]:
    """Return one window's mean over another's, and its error, (N,) each.

    A denominator below its own 1σ is taken to be that σ: the ratio is then a lower limit.
    """
    means = window_means(spectra, (above, below), power, detector)
    level, relative = _positive(means.value[:, 1], means.variance[:, 1])
    found = means.value[:, 0] / level
    error = np.sqrt(means.variance[:, 0] / level**2 + found**2 * relative)
    return _covered(means.cover >= MIN_COVER, found, error)


def line(
    spectra: Spectra, blue: Window, middle: Window, red: Window, detector: Disperser
) -> tuple[Floats, Floats, Floats]:
    """Return a line's equivalent width [Å], its error, and its flux in units of its noise, (N,) each.

    Emission is positive. The continuum is a straight line in f_ν through the means of two windows, beside
    the line or both on one side of it. One below its own 1σ is taken to be that σ: the width is then a lower
    limit; the flux over its noise is not touched by that.
    """
    means = window_means(spectra, (blue, middle, red), F_NU, detector)
    share = (means.centre[:, 1] - means.centre[:, 0]) / (means.centre[:, 2] - means.centre[:, 0])
    under = (1.0 - share) * means.value[:, 0] + share * means.value[:, 2]
    variance = (1.0 - share) ** 2 * means.variance[:, 0] + share**2 * means.variance[:, 2]
    level, relative = _positive(under, variance)
    over = (means.value[:, 1] - under) / level
    error = np.sqrt(means.variance[:, 1] / level**2 + (1.0 + over) ** 2 * relative)
    sure = (means.value[:, 1] - under) / np.sqrt(means.variance[:, 1] + variance)
    span = middle[1] - middle[0]
    covered = means.cover >= np.array([MIN_COVER, ALL, MIN_COVER])
    width, error = _covered(covered, span * over, span * error)
    return width, error, np.where(np.isnan(width), np.nan, sure)


def width(
    spectra: Spectra, blue: Window, middle: Window, red: Window, detector: Disperser
) -> tuple[Floats, Floats]:
    """Return a line's equivalent width [Å] and its error, (N,) each: as `line`."""
    return line(spectra, blue, middle, red, detector)[:2]


def _positive(value: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Return a mean, at least its own σ, and its relative variance."""
    level = np.maximum(value, np.sqrt(variance))
    return level, variance / level**2


def _covered(windows: NDArray[np.bool_], value: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Return values and errors, NaN where not all windows, (N, K), are covered."""
    whole = np.count_nonzero(windows, axis=1) == windows.shape[1]
    return np.where(whole, value, np.nan), np.where(whole, error, np.nan)
