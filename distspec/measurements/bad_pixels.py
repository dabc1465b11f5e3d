"""Bad pixels, told from the spectrum itself: what no source and no optics could have made.

A line is never narrower than the instrument makes it, light is never negative, noise scatters as much as
errors say, and a spectrum does not run away where the detector ends. What departs from that is measured in
each spectrum alone: no model, no other spectrum. Distances are in pixels of the detector: a pixel of the grid
holds several of them in some places, and is a part of one in others.
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
"""No line is seen more sharply than this share of the instrument's nominal width: of 150 lines in real files
of NIRSpec's prism none is below 0.84."""
MIN_SPIKE_SNR = 4.0
"""Standard deviations beyond which an excursion is no chance."""
SYSTEMATIC_ERROR_FRACTION = 0.03
"""Share of the flux that calibration and resampling get wrong from one pixel to the next."""
MIN_UNEXPLAINED_FRACTION = 0.3
"""Share of a spike's height that the sharpest line through its neighbours leaves."""
WINDOW_WIDTH = 8.0
"""How far the level beside a spike, a negative run and an end reach [detector pixels]."""
MIN_NEGATIVE_RUN_SNR = 6.0
"""Standard deviations below zero at which a run is masked."""
EDGE_REFERENCE_DISTANCE = 30.0
"""How far from the end the level lies to which it is compared [detector pixels]."""
MIN_VALID_PIXELS = 20
THRESHOLDS: Mapping[str, float] = {
    "artefact_spikes": 25.0,
    "artefact_negative": 5.0,
    "artefact_edge": 2.5,
    "artefact_scatter": 4.0,
    "artefact_gaps": 0.8,
}
"""What is bad, in each part's own unit: there `artefact_score` is 1."""
DESCRIPTIONS: Mapping[str, str] = {
    "artefact_spikes": "spikes sharper than the instrument",
    "artefact_negative": "a run of negative flux",
    "artefact_edge": "flux runs away at an end",
    "artefact_scatter": "noise beyond its errors",
    "artefact_gaps": "few valid pixels",
}
BAD_PIXEL_COLUMNS = (*THRESHOLDS, "artefact_score", "n_masked")
"""What `Artefacts.columns` says of each spectrum."""


class BadPixelStatistics(NamedTuple):
    """What is wrong with each of N spectra.

    Attributes
    ----------
    spike_height : (N,) [σ]
        Summed heights of pixels that stand out more sharply than any line could.
    negative_run_snr : (N,) [σ]
        How significantly the most negative run of `NEAR` detector pixels lies below zero.
    edge_excess : (N,) [σ]
        By how much the median pixel of either end stands above those farther inside.
    scatter_ratio : (N,)
        Robust scatter from pixel to pixel over what the errors say: 1 where they are right.
    masked_fraction : (N,)
        Share of the pixels in the instrument's range that are masked.
    bad_pixels : (N, L) bool
        Pixels that no source can have made.
    """

    spike_height: Floats32
    negative_run_snr: Floats32
    edge_excess: Floats32
    scatter_ratio: Floats32
    masked_fraction: Floats32
    bad_pixels: NDArray[np.bool_]

    @property
    def score(self) -> Floats32:
        """The worst part over its limit, (N,): from 1 on, a spectrum is spoilt."""
        parts = (
            self.spike_height,
            self.negative_run_snr,
            self.edge_excess,
            self.scatter_ratio,
            self.masked_fraction,
        )
        over = [part / limit for part, limit in zip(parts, THRESHOLDS.values(), strict=True)]
        return np.maximum(np.max(over, axis=0), 0.0).astype(np.float32)

    def to_columns(self) -> dict[str, Floats32]:
        """Return `COLUMNS`, (N,) each."""
        parts = (
            self.spike_height,
            self.negative_run_snr,
            self.edge_excess,
            self.scatter_ratio,
            self.masked_fraction,
            self.score,
        )
        n_masked = np.count_nonzero(self.bad_pixels, axis=1).astype(np.float32)
        return dict(zip(BAD_PIXEL_COLUMNS, (*parts, n_masked), strict=True))


def describe_worst_statistic(statistics: Mapping[str, float]) -> str:
    """Say in words what is worst about a spectrum, of which `THRESHOLDS` are known; "" where nothing is bad.

    Examples
    --------
    >>> worst(dict.fromkeys(LIMITS, 0.0) | {"artefact_spikes": 90.0})
    'spikes sharper than the instrument (3.6 times the limit)'
    """
    over = {name: statistics[name] / limit for name, limit in THRESHOLDS.items()}
    name = max(over, key=lambda each: over[each])
    return f"{DESCRIPTIONS[name]} ({over[name]:.1f} times the limit)" if over[name] >= 1.0 else ""


def find_bad_pixels(
    flux: Floats32, ivar: Floats32, z: Floats, grid: WavelengthGrid, disperser: Disperser | None
) -> BadPixelStatistics:
    """Look for bad pixels; a row's answer depends on that row alone.

    Parameters
    ----------
    flux, ivar : (N, L)
        In any unit of f_λ; masked pixels, of ivar 0, may hold anything.
    z : (N,)
    grid : WaveGrid
    disperser : Disperser or None
        None: each of the grid's pixels is taken for one of the detector's, as wide as its resolution.
    """
    n, n_pixels = flux.shape
    parts, bad = np.zeros((n, 5)), np.zeros((n, n_pixels), np.bool_)
    table, place, pixels = unpack_disperser(disperser)
    _find_bad_pixels(
        flux, ivar, np.asarray(z, np.float64), np.log(grid.edges), table, place, pixels, parts, bad
    )
    spikes, negative, edge, scatter, gaps = parts.T.astype(np.float32)
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
        statistics[k, 1] = _flag_negative_runs(f, sigma, x, w, flags)
        statistics[k, 2] = max(
            _compute_edge_excess(f, sigma, x), _compute_edge_excess(f[::-1], sigma[::-1], x[-1] - x[::-1])
        )
        for j in range(len(f)):
            bad_pixels[k, used[j]] = flags[j]


@njit_nogil
def _compute_scatter_ratio(f: Floats, sigma: Floats, x: Floats, w: Floats) -> float:
    """Return the robust scatter of second differences over pixels of independent noise, over its errors'."""
    found, n, low, high = np.zeros(len(f)), 0, 0, 0
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
        found[n] = abs(f[i] - share * f[low] - (1.0 - share) * f[high]) / np.sqrt(expected)
        n += 1
    return np.median(found[:n]) / 0.6745 if n >= MIN_VALID_PIXELS else 1.0


@njit_nogil
def _flag_spikes(
    f: Floats, sigma: Floats, x: Floats, w: Floats, pixels_per_fwhm: float, flags: NDArray[np.bool_]
) -> float:
    """Flag spikes; return their summed heights [σ of a detector pixel].

    A line whose height is h above its surroundings has neighbours, one detector pixel away on both sides,
    that on average are ρ h above them, ρ being that of the sharpest line.
    """
    sharpest = (MIN_RELATIVE_LINE_WIDTH * pixels_per_fwhm / 2.3548) ** 2 + 1.0 / 12.0
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
        rho = np.exp(-0.5 * distance**2 / (sharpest + w[i] ** 2 / 12.0))
        low_level, high_level = _compute_side_percentiles(f, x, i, step, sign)
        if sign * f[i] - high_level < MIN_SPIKE_SNR * sigma[i]:
            continue
        level = min(low_level, side)
        height = sign * f[i] - level
        left = height - (side - level) / rho
        error = np.sqrt(sigma[i] ** 2 + (sigma[higher] / rho) ** 2 + (SYSTEMATIC_ERROR_FRACTION * f[i]) ** 2)
        if left < MIN_SPIKE_SNR * error or left < MIN_UNEXPLAINED_FRACTION * height:
            continue
        for j in range(low + 1, high):
            flags[j] |= abs(x[j] - x[i]) < 0.5 * (1.0 + w[j]) and sign * f[j] - side > 3.0 * sigma[j]
        size = height / sigma[i] * np.sqrt(max(1.0, w[i]))
        # Several pixels of the grid may show one of the detector's.
        if x[i] - last_at < 1.0 + w[i]:
            total += max(0.0, size - last)
            last = max(last, size)
        else:
            total += size
            last_at, last = x[i], size
    return total


@njit_nogil
def _compute_side_percentiles(f: Floats, x: Floats, i: int, step: float, sign: float) -> tuple[float, float]:
    """Return the 20th and the 80th percentile of sign × flux beside a pixel, beyond the reach of a line."""
    beside, n, j = np.zeros(len(f)), 0, i
    while j >= 0 and x[i] - x[j] <= WINDOW_WIDTH:
        if x[i] - x[j] > 2.0 * step:
            beside[n] = sign * f[j]
            n += 1
        j -= 1
    j = i
    while j < len(f) and x[j] - x[i] <= WINDOW_WIDTH:
        if x[j] - x[i] > 2.0 * step:
            beside[n] = sign * f[j]
            n += 1
        j += 1
    if n == 0:
        return sign * f[i], sign * f[i]
    ordered = np.sort(beside[:n])
    return ordered[n // 5], ordered[n - 1 - n // 5]


@njit_nogil
def _flag_negative_runs(f: Floats, sigma: Floats, x: Floats, w: Floats, flags: NDArray[np.bool_]) -> float:
    """Flag runs of negative flux; return how significant the most negative run is [σ]."""
    n = len(f)
    weighted, weight = np.zeros(n + 1), np.zeros(n + 1)
    for i in range(n):
        each = 1.0 / (sigma[i] ** 2 * compute_noise_correlation(w[i]))
        weight[i + 1], weighted[i + 1] = weight[i] + each, weighted[i] + each * f[i]
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
    """Return by how much the median pixel at the beginning stands above those farther inside [σ]."""
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
