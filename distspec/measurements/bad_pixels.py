"""Bad pixels, found from each spectrum alone: features that neither a source nor the optics can produce.

A line is never narrower than the instrument's line-spread function, flux is not negative, noise scatters as
the errors say, and a spectrum does not rise steeply at the end of the detector. Departures from that are
measured without a model and without other spectra. Distances are in detector pixels, because a grid pixel
covers several of them at some wavelengths and a fraction of one at others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import (
    Disperser,
    compute_noise_correlation,
    fill_detector_positions,
    unpack_disperser,
)
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid

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
MIN_VALID_PIXELS = 20
"""Fewest valid pixels of a spectrum that is examined, and fewest triples of a scatter."""
THRESHOLDS: Mapping[str, float] = {
    "artefact_spikes": 25.0,
    "artefact_negative": 5.0,
    "artefact_edge": 2.5,
    "artefact_scatter": 4.0,
    "artefact_gaps": 0.8,
}
"""Value of each statistic, in its own unit, at which `artefact_score` is 1."""
DESCRIPTIONS: Mapping[str, str] = {
    "artefact_spikes": "spikes or plateaus sharper than the instrument's line-spread function",
    "artefact_negative": "a run of negative flux",
    "artefact_edge": "excess flux at an end of the spectrum",
    "artefact_scatter": "noise larger than its errors",
    "artefact_gaps": "few valid pixels",
}
"""Text for each statistic, used by `describe_worst_statistic`."""
BAD_PIXEL_COLUMNS = (*THRESHOLDS, "artefact_score", "n_masked")
"""Names of the columns that `BadPixelStatistics.to_columns` returns."""


class BadPixelStatistics(NamedTuple):
    """Bad pixels of a batch of spectra, and statistics of how strongly each spectrum is affected.

    Attributes
    ----------
    spike_height : ndarray of shape (n_spectra,)
        Summed heights of spikes that are narrower, and of plateaus that are squarer, than any line can be
        [sigma].
    negative_run_snr : ndarray of shape (n_spectra,)
        Significance of the most negative run of `WINDOW_WIDTH` detector pixels [sigma].
    edge_excess : ndarray of shape (n_spectra,)
        Excess of the median signal-to-noise ratio at either end over that farther inside.
    scatter_ratio : ndarray of shape (n_spectra,)
        Robust scatter from pixel to pixel divided by that expected from the errors; 1 if they are right.
    masked_fraction : ndarray of shape (n_spectra,)
        Fraction of the pixels in the instrument's range that are masked.
    bad_pixels : ndarray of bool, shape (n_spectra, n_pixels)
        Valid pixels that no source can have produced.
    """

    spike_height: Floats32
    negative_run_snr: Floats32
    edge_excess: Floats32
    scatter_ratio: Floats32
    masked_fraction: Floats32
    bad_pixels: NDArray[np.bool_]

    @property
    def score(self) -> Floats32:
        """Largest statistic divided by its threshold, (n_spectra,); a spectrum is flagged at 1 or above."""
        over = [
            values / threshold
            for values, threshold in zip(self._statistics, THRESHOLDS.values(), strict=True)
        ]
        return np.maximum(np.max(over, axis=0), 0.0).astype(np.float32)

    @property
    def _statistics(self) -> tuple[Floats32, ...]:
        """The statistics in the order of `THRESHOLDS`."""
        return (
            self.spike_height,
            self.negative_run_snr,
            self.edge_excess,
            self.scatter_ratio,
            self.masked_fraction,
        )

    def to_columns(self) -> dict[str, Floats32]:
        """Return the columns `BAD_PIXEL_COLUMNS`.

        Returns
        -------
        dict of str to ndarray of float32, shape (n_spectra,)
            Values by column name.
        """
        n_masked = np.count_nonzero(self.bad_pixels, axis=1).astype(np.float32)
        return dict(zip(BAD_PIXEL_COLUMNS, (*self._statistics, self.score, n_masked), strict=True))


def describe_worst_statistic(statistics: Mapping[str, float]) -> str:
    """Describe the statistic of a spectrum that exceeds its threshold most; "" if none does.

    Parameters
    ----------
    statistics : mapping of str to float
        Value of each name in `THRESHOLDS`.

    Examples
    --------
    >>> describe_worst_statistic(dict.fromkeys(THRESHOLDS, 0.0) | {"artefact_negative": 18.0})
    'a run of negative flux (3.6 times the threshold)'
    """
    over = {name: statistics[name] / threshold for name, threshold in THRESHOLDS.items()}
    worst = max(over, key=lambda name: over[name])
    return f"{DESCRIPTIONS[worst]} ({over[worst]:.1f} times the threshold)" if over[worst] >= 1.0 else ""


def find_bad_pixels(
    flux: Floats32, ivar: Floats32, z: Floats, grid: WavelengthGrid, disperser: Disperser | None
) -> BadPixelStatistics:
    """Find bad pixels; the result for a spectrum depends on that spectrum alone.

    Parameters
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Flux density f_lambda in any unit, and its inverse variance; ``ivar`` 0 marks masked pixels.
    z : ndarray of shape (n_spectra,)
        Redshifts, which give the position of each pixel on the detector.
    grid : WavelengthGrid
        Rest-frame grid of the spectra.
    disperser : Disperser or None
        The instrument. If None, each grid pixel is taken for one detector pixel, as wide as its resolution.

    Returns
    -------
    BadPixelStatistics
    """
    n, n_pixels = flux.shape
    statistics, bad = np.zeros((n, 5)), np.zeros((n, n_pixels), np.bool_)
    log_wave_table, position_table, pixels_per_fwhm = unpack_disperser(disperser)
    _find_bad_pixels(
        flux,
        ivar,
        np.asarray(z, np.float64),
        np.log(grid.edges),
        log_wave_table,
        position_table,
        pixels_per_fwhm,
        statistics,
        bad,
    )
    spikes, negative, edge, scatter, gaps = statistics.T.astype(np.float32)
    return BadPixelStatistics(spikes, negative, edge, scatter, gaps, bad)


@njit_nogil
def _find_bad_pixels(
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
    """Fill `statistics`, (n_spectra, 5), in the order of `THRESHOLDS`, and `bad_pixels`."""
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
    """Return the excess of the median signal-to-noise ratio at the start over that farther inside."""
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
    return np.median(f[:last] / sigma[:last]) - np.median(f[first:stop] / sigma[first:stop])
