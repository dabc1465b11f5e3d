"""Compiled search for bad pixels; `distspec.measurements.bad_pixels` describes what is sought, and why.

In all functions ``f`` and ``sigma`` are flux and its error at the valid pixels of a spectrum, ``x`` and ``w``
their positions and widths [detector pixels].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import compute_noise_correlation, fill_detector_positions
from distspec.core.spectrum import Floats, Floats32

MIN_RELATIVE_LINE_WIDTH = 0.75
"""Smallest width of a line relative to the instrument's nominal width: of 150 lines in real files of
NIRSpec's prism none is below 0.84."""
MIN_SPIKE_SNR = 4.0
"""Significance from which on an excursion is no fluctuation of the noise [sigma]."""
SYSTEMATIC_ERROR_FRACTION = 0.03
"""Error of calibration and resampling from one pixel to the next, as a fraction of the flux."""
MIN_UNEXPLAINED_FRACTION = 0.3
"""Fraction of a spike's height that the narrowest line through its neighbors must leave unexplained."""
WINDOW_WIDTH = 8.0
"""Extent of the continuum next to a spike, of a negative run and of an end of the spectrum [detector
pixels]."""
MIN_PLATEAU_SNR = 10.0
"""Smallest height of a plateau above the flux on both sides [sigma of a grid pixel]."""
PLATEAU_LOW, PLATEAU_HIGH, PLATEAU_MAX = 0.2, 0.8, 1.3
"""Flux beside a plateau is below the first; flux on it lies between the others [height of the plateau]."""
MIN_PLATEAU_WIDTH, MAX_PLATEAU_WIDTH = 2.0, 27.0
"""Limits of the width of a plateau at half its height [FWHM]; blends of unresolved lines are narrower."""
MIN_PLATEAU_RATIO = 1.9
"""Smallest ratio of the flat part of a plateau to its edges; a Gaussian line has 1.2. A narrow line can fill
two grid pixels alike, so that the flat part has at least three."""
MIN_NEGATIVE_RUN_SNR = 6.0
"""Significance from which on a negative run is masked [sigma]."""
EDGE_REFERENCE_DISTANCE = 30.0
"""Distance from the end up to which the level is taken to which the end is compared [detector pixels]."""
MAX_CONTINUUM_RISE = 0.1
"""Rise of the signal-to-noise ratio over that distance, relative to its level, that a continuum may have."""
MIN_VALID_PIXELS = 20
"""Fewest valid pixels of a spectrum that is examined, and fewest triples of a scatter."""


@njit_nogil
def search_bad_pixels(
    flux: Floats32,
    ivar: Floats32,
    z: Floats,
    log_edges: Floats,
    log_wave_table: Floats,
    position_table: Floats,
    pixels_per_fwhm: float,
    statistics: Floats,
    bad_pixels: NDArray[np.bool_],
) -> None:
    """Search a batch of spectra.

    Parameters
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Flux density and its inverse variance, 0 where masked.
    z : ndarray of shape (n_spectra,)
        Redshifts.
    log_edges, log_wave_table, position_table, pixels_per_fwhm
        See `distspec.core.instruments.fill_detector_positions`.
    statistics : ndarray of shape (n_spectra, 5)
        Output: spike height, significance of negative runs, edge excess, scatter ratio and masked fraction.
    bad_pixels : ndarray of bool, shape (n_spectra, n_pixels)
        Output: which pixels are bad.
    """
    n_pixels = flux.shape[1]
    at, width = np.zeros(n_pixels), np.zeros(n_pixels)
    for k in range(len(z)):
        fill_detector_positions(log_edges, z[k], log_wave_table, position_table, pixels_per_fwhm, at, width)
        n_inside, n_valid = 0, 0
        for i in range(n_pixels):
            n_inside += not np.isnan(at[i])
            n_valid += ivar[k, i] > 0.0 and not np.isnan(at[i])
        statistics[k, 3], statistics[k, 4] = 1.0, 1.0
        if n_inside:
            statistics[k, 4] = 1.0 - n_valid / n_inside
        if n_valid < MIN_VALID_PIXELS:
            continue
        used = np.flatnonzero((ivar[k] > 0.0) & ~np.isnan(at))
        f, sigma = flux[k][used].astype(np.float64), 1.0 / np.sqrt(ivar[k][used].astype(np.float64))
        x, w = at[used], width[used]
        scatter = _compute_scatter_ratio(f, sigma, x, w)
        statistics[k, 3] = scatter
        sigma *= max(1.0, scatter)
        flags = np.zeros(len(f), np.bool_)
        statistics[k, 0] = _flag_spikes(f, sigma, x, w, pixels_per_fwhm, flags)
        if len(log_wave_table):  # without the width of lines, blends look like plateaus
            statistics[k, 0] += _flag_plateaus(f, sigma, x, w, pixels_per_fwhm, flags)
        statistics[k, 1] = _flag_negative_runs(f, sigma, x, w, flags)
        statistics[k, 2] = max(
            _compute_edge_excess(f, sigma, x), _compute_edge_excess(f[::-1], sigma[::-1], x[-1] - x[::-1])
        )
        for j in range(len(f)):
            bad_pixels[k, used[j]] = flags[j]


@njit_nogil
def _compute_scatter_ratio(f: Floats, sigma: Floats, x: Floats, w: Floats) -> float:
    """Return the robust scatter of second differences of independent pixels divided by its expectation."""
    normalized, n, low, high = np.zeros(len(f)), 0, 0, 0
    for i in range(len(f)):
        step = 1.0 + w[i]
        while x[i] - x[low + 1] >= step:
            low += 1
        while high < len(f) - 1 and x[high] - x[i] < step:
            high += 1
        before, after = x[i] - x[low], x[high] - x[i]
        if min(before, after) < step or max(before, after) > 2.0 * step:
            continue
        share = after / (before + after)
        expected = sigma[i] ** 2 + (share * sigma[low]) ** 2 + ((1.0 - share) * sigma[high]) ** 2
        normalized[n] = abs(f[i] - share * f[low] - (1.0 - share) * f[high]) / np.sqrt(expected)
        n += 1
    return np.median(normalized[:n]) / 0.6745 if n >= MIN_VALID_PIXELS else 1.0


@njit_nogil
def _flag_spikes(
    f: Floats, sigma: Floats, x: Floats, w: Floats, pixels_per_fwhm: float, flags: NDArray[np.bool_]
) -> float:
    """Flag spikes; return their summed heights [sigma of a detector pixel].

    The neighbors of a line's peak, one detector pixel away on both sides, reach on average at least the
    fraction rho of its height, that of the narrowest possible line. A higher peak is a spike.
    """
    narrowest = (MIN_RELATIVE_LINE_WIDTH * pixels_per_fwhm / 2.3548) ** 2 + 1.0 / 12.0
    n, low, high = len(f), 0, 0
    total, last_at, last = 0.0, -np.inf, 0.0
    for i in range(n):
        step = max(1.0, 0.97 * w[i])
        while x[i] - x[low + 1] >= step - 1e-9:
            low += 1
        while high < n - 1 and x[high] - x[i] < step - 1e-9:
            high += 1
        before, after = x[i] - x[low], x[high] - x[i]
        if min(before, after) < step - 1e-9 or max(before, after) > 1.5 + w[i]:
            continue
        if f[i] > max(f[low], f[high]):
            sign = 1.0
        elif f[i] < min(f[low], f[high]):
            sign = -1.0
        else:
            continue
        higher = low if sign * f[low] > sign * f[high] else high
        side = sign * f[higher]
        if sign * f[i] - side < MIN_SPIKE_SNR * sigma[i]:
            continue
        distance = before if higher == low else after
        rho = np.exp(-0.5 * distance**2 / (narrowest + w[i] ** 2 / 12.0))
        low_level, high_level = _compute_side_percentiles(f, x, i, step, sign)
        if sign * f[i] - high_level < MIN_SPIKE_SNR * sigma[i]:
            continue
        level = min(low_level, side)
        height = sign * f[i] - level
        unexplained = height - (side - level) / rho
        error = np.sqrt(sigma[i] ** 2 + (sigma[higher] / rho) ** 2 + (SYSTEMATIC_ERROR_FRACTION * f[i]) ** 2)
        if unexplained < MIN_SPIKE_SNR * error or unexplained < MIN_UNEXPLAINED_FRACTION * height:
            continue
        for j in range(low + 1, high):
            flags[j] |= abs(x[j] - x[i]) < 0.5 * (1.0 + w[j]) and sign * f[j] - side > 3.0 * sigma[j]
        size = height / sigma[i] * np.sqrt(max(1.0, w[i]))
        # Several grid pixels may show the same detector pixel.
        if x[i] - last_at < 1.0 + w[i]:
            total += max(0.0, size - last)
            last = max(last, size)
        else:
            total += size
            last_at, last = x[i], size
    return total


@njit_nogil
def _flag_plateaus(
    f: Floats, sigma: Floats, x: Floats, w: Floats, pixels_per_fwhm: float, flags: NDArray[np.bool_]
) -> float:
    """Flag positive plateaus; return their summed heights [sigma of a detector pixel].

    On a plateau flux is flat, and at both ends it falls within one pixel of the detector or of the grid.
    """
    n, i, total = len(f), 1, 0.0
    while i < n - 1:
        before, i = i - 1, i + 1
        if f[before + 1] - f[before] < MIN_PLATEAU_SNR * sigma[before + 1]:
            continue
        level = _compute_median_before(f, x, before)
        # An edge within a grid pixel leaves a value between those of the two sides.
        first = before + 1 if f[before + 1] - level >= PLATEAU_HIGH * (f[i] - level) else i
        height = f[first] - level
        if height < MIN_PLATEAU_SNR * sigma[first] or f[before] - level > PLATEAU_LOW * height:
            continue
        last = first
        while last + 1 < n and PLATEAU_HIGH * height <= f[last + 1] - level <= PLATEAU_MAX * height:
            last += 1
        after = min(last + 1, n - 1)
        while after < n - 1 and f[after] - level > PLATEAU_LOW * height and x[after] - x[last] < WINDOW_WIDTH:
            after += 1
        flat = x[last] - x[first] + 0.5 * (w[first] + w[last])
        rise, fall = x[first] - x[before], x[after] - x[last]
        if last - first < 2 or flat < MIN_PLATEAU_RATIO * 0.5 * (rise + fall):
            continue
        width = x[last] - x[first] + 0.5 * (rise + fall)
        if not MIN_PLATEAU_WIDTH < width / pixels_per_fwhm < MAX_PLATEAU_WIDTH:
            continue
        level_after = _compute_median_before(f[::-1], x[-1] - x[::-1], n - 1 - after)
        if max(f[after], level_after) - level > PLATEAU_LOW * height:
            continue
        flags[before + 1 : after] = True
        total += height / sigma[first] * np.sqrt(max(1.0, w[first]))
        i = after
    return total


@njit_nogil
def _compute_median_before(f: Floats, x: Floats, last: int) -> float:
    """Return the median flux of the `WINDOW_WIDTH` detector pixels that end with a grid pixel."""
    first = last
    while first > 0 and x[last] - x[first - 1] <= WINDOW_WIDTH:
        first -= 1
    return np.median(f[first : last + 1])


@njit_nogil
def _compute_side_percentiles(f: Floats, x: Floats, i: int, step: float, sign: float) -> tuple[float, float]:
    """Return the 20th and 80th percentiles of sign * flux around a pixel, outside the extent of a line."""
    side_flux, n, j = np.zeros(len(f)), 0, i
    while j >= 0 and x[i] - x[j] <= WINDOW_WIDTH:
        if x[i] - x[j] > 2.0 * step:
            side_flux[n] = sign * f[j]
            n += 1
        j -= 1
    j = i
    while j < len(f) and x[j] - x[i] <= WINDOW_WIDTH:
        if x[j] - x[i] > 2.0 * step:
            side_flux[n] = sign * f[j]
            n += 1
        j += 1
    if n == 0:
        return sign * f[i], sign * f[i]
    ordered = np.sort(side_flux[:n])
    return ordered[n // 5], ordered[n - 1 - n // 5]


@njit_nogil
def _flag_negative_runs(f: Floats, sigma: Floats, x: Floats, w: Floats, flags: NDArray[np.bool_]) -> float:
    """Flag runs of negative flux; return the significance of the most negative run [sigma]."""
    n = len(f)
    weighted, weight = np.zeros(n + 1), np.zeros(n + 1)
    for i in range(n):
        pixel_weight = 1.0 / (sigma[i] ** 2 * compute_noise_correlation(w[i]))
        weight[i + 1], weighted[i + 1] = weight[i] + pixel_weight, weighted[i] + pixel_weight * f[i]
    worst, low, high = 0.0, 0, 0
    for i in range(n):
        while x[i] - x[low] > 0.5 * WINDOW_WIDTH:
            low += 1
        while high < n and x[high] - x[i] <= 0.5 * WINDOW_WIDTH:
            high += 1
        if x[high - 1] - x[low] < 0.75 * WINDOW_WIDTH:
            continue
        z = (weighted[high] - weighted[low]) / np.sqrt(weight[high] - weight[low])
        worst = max(worst, -z)
        if z < -MIN_NEGATIVE_RUN_SNR:
            for j in range(low, high):
                flags[j] |= f[j] < -sigma[j]
    return worst


@njit_nogil
def _compute_edge_excess(f: Floats, sigma: Floats, x: Floats) -> float:
    """Return the excess of the median signal-to-noise ratio at the start over what a continuum rises to."""
    last, first, stop = 0, 0, 0
    while last < len(f) and x[last] - x[0] < WINDOW_WIDTH:
        last += 1
    first = last
    while first < len(f) and x[first] - x[0] < 1.5 * WINDOW_WIDTH:
        first += 1
    stop = first
    while stop < len(f) and x[stop] - x[0] < EDGE_REFERENCE_DISTANCE:
        stop += 1
    if last < 3 or stop - first < 3:
        return 0.0
    inside = np.median(f[first:stop] / sigma[first:stop])
    return np.median(f[:last] / sigma[:last]) - inside - MAX_CONTINUUM_RISE * max(inside, 0.0)
