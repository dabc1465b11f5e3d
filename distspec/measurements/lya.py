"""Lyα, measured on the spectrum itself: its net equivalent width, whatever the instrument blurs."""

from __future__ import annotations

from math import erfc, exp, sqrt

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser, place_of, repeats_of
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Floats32, WaveGrid

LYA = GALAXY_LINES["Lyα"]
NEAR, REDWARD = (1150.0, 1290.0), ((1290.0, 1520.0), (1680.0, 1860.0))
"""Rest windows [Å]: Lyα with its break, and the continuum clear of strong lines."""
PIVOT, SLOPE, SLOPE_SPREAD = 1400.0, -2.0, 1.0
"""Expected UV slope β: it counts where a spectrum says little of its own."""
FOREST_SPREAD = 1.0
"""Likewise, of the light that the Lyman forest lets through over its mean."""
CLIP, CLIP_ROUNDS = 4.0, 2
SURE, SINGULAR = 1e4, 1e-10
"""No pixel has more than so many times the continuum's usual weight; what is less determined than this is not
measured."""
MIN_LINE, MIN_CONTINUUM = 0.8, 0.3
"""Lyα is covered where valid pixels hold these shares of the line's profile and of the windows."""
FLOOR, FLOOR_SHARE = 1.5, 0.05
"""What the fit gets wrong without any noise [Å, and share of the width]: dust bends the continuum."""


def lya(
    flux: Floats32, ivar: Floats32, z: Floats, grid: WaveGrid, disperser: Disperser
) -> dict[str, Floats32]:
    """Measure the net rest equivalent width of Lyα: emission positive, damped absorption negative.

    Weighted least squares of four amplitudes: a power law redward of Lyα (expanded about `SLOPE`, pixels
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
    near = (wave >= NEAR[0]) & (wave < NEAR[1])
    redward = np.any([(low <= wave) & (wave < high) for low, high in REDWARD], axis=0)
    result = np.full((len(z), 2), np.nan)
    if near.any() and redward.any():
        instrument = disperser.log_wave, disperser.place, float(disperser.pixels)
        columns = np.flatnonzero(near), np.flatnonzero(redward)
        _lya_each(flux, ivar, np.asarray(z, np.float64), wave, grid.edges, *columns, *instrument, result)
    return {name: result[:, i].astype(np.float32) for i, name in enumerate(("lya_ew", "lya_ew_err"))}


@njit_nogil
def _lya_each(
    flux: Floats32,
    ivar: Floats32,
    z: Floats,
    wave: Floats,
    edges: Floats,
    near: NDArray[np.int64],
    redward: NDArray[np.int64],
    table: Floats,
    place: Floats,
    pixels: float,
    result: Floats,
) -> None:
    """Fill `result`, (N, 2), where Lyα is covered."""
    # Of a line: the instrument's width, the detector's pixel, and that pixel again, which the grid cuts.
    sigma = np.sqrt(1.0 / 2.3548**2 + 1.0 / (6.0 * pixels**2))
    power, bend = (wave / PIVOT) ** SLOPE, np.log(wave / PIVOT)
    at_lya = (LYA / PIVOT) ** SLOPE * np.array([1.0, np.log(LYA / PIVOT), 0.0, 0.0])
    log_edges, term = np.log(edges), np.zeros(4)
    # Of the windows redward: flux, inverse variance, and how often its noise is seen.
    y, weight, repeats = np.zeros(len(redward)), np.zeros(len(redward)), np.zeros(len(redward))
    red_power, red_bend = power[redward], bend[redward]
    for k in range(len(z)):
        stretch, n_valid = np.log(1e-4 * (1.0 + z[k])), 0
        line_at = place_of(np.log(LYA) + stretch, table, place)
        for j in range(len(redward)):
            i = redward[j]
            below = place_of(log_edges[i] + stretch, table, place)
            spanned = pixels * (place_of(log_edges[i + 1] + stretch, table, place) - below)
            known = ivar[k, i] > 0.0 and spanned > 0.0
            y[j], weight[j], repeats[j] = 0.0, 0.0, 1.0
            if known:
                y[j], weight[j], repeats[j] = flux[k, i], ivar[k, i], repeats_of(spanned)
            n_valid += known
        if n_valid == 0 or n_valid < MIN_CONTINUUM * len(redward):
            continue
        most = SURE * np.median(weight[weight > 0.0])
        weight = np.minimum(weight, most)
        error = weight**-0.5  # infinite where masked
        # Sums of the windows redward, which hold neither line nor forest; those come on top.
        normal, right, excess = _continuum(y, error, weight / repeats, red_power, red_bend)
        seen, below = 0.0, place_of(log_edges[near[0]] + stretch, table, place)
        share_below = _below((below - line_at) / sigma)
        for i in near:
            above = place_of(log_edges[i + 1] + stretch, table, place)
            share_above = _below((above - line_at) / sigma)
            share, share_below = share_above - share_below, share_above
            step = _below((0.5 * (below + above) - line_at) / sigma)
            spanned, below = pixels * (above - below), above
            if not (ivar[k, i] > 0.0 and spanned > 0.0):
                continue
            seen += share
            term[0] = power[i] * step
            term[1] = term[0] * bend[i]
            term[2] = power[i] * (1.0 - step) * _forest(wave[i] / LYA * (1.0 + z[k]))
            term[3] = share / (edges[i + 1] - edges[i])
            w = min(np.float64(ivar[k, i]), most) / repeats_of(spanned)
            for m in range(4):
                right[m] += w * term[m] * flux[k, i]
                for n in range(4):
                    normal[m, n] += w * term[m] * term[n]
        if seen >= MIN_LINE and not np.isnan(excess):
            unit = 1.0 / np.sqrt(np.diag(normal))
            normal *= np.outer(unit, unit)
            if not np.linalg.det(normal) > SINGULAR:
                continue
            covariance = np.linalg.inv(normal) * np.outer(unit, unit)
            fit = covariance @ right
            covariance *= excess
            under_var = at_lya @ covariance @ at_lya
            under = max(at_lya @ fit, np.sqrt(under_var))
            ew, shared = fit[3] / under, np.sum(covariance[3] * at_lya)
            variance = (covariance[3, 3] - 2.0 * ew * shared + ew**2 * under_var) / under**2
            result[k, 0] = ew
            result[k, 1] = np.sqrt(variance + FLOOR**2 + (FLOOR_SHARE * ew) ** 2)


@njit_nogil
def _continuum(
    flux: Floats, error: Floats, weight: Floats, power: Floats, bend: Floats
) -> tuple[Floats, Floats, float]:
    """Return normal equations (4, 4), (4,) of the windows and priors, and how much too small errors are.

    Pixels further than `CLIP` from it, in units of the larger of their own error and the scatter, are left
    out, starting from the median.
    """
    normal, right = np.zeros((4, 4)), np.zeros(4)
    ratio = (flux / power)[weight > 0.0]
    level, slope = float(np.median(ratio)), 0.0
    spread = 1.4826 * float(np.median(np.abs(ratio - level)))
    reach, first, second = CLIP * np.maximum(error, spread * power), power**2, power**2 * bend
    near = weight
    for _ in range(CLIP_ROUNDS + 1):
        off = flux - power * (level + slope * bend)
        near = np.where(np.abs(off) <= reach, weight, 0.0)
        normal[0, 0], normal[0, 1] = near @ first, near @ second
        right[0], right[1] = near @ (power * flux), near @ (power * bend * flux)
        if normal[0, 0] == 0.0:  # nothing is near: a spectrum of outliers has no continuum
            return normal, right, np.nan
        scale = max(abs(right[0] / normal[0, 0]), normal[0, 0] ** -0.5)
        normal[1, 0] = normal[0, 1]
        normal[1, 1] = near @ (second * bend) + (SLOPE_SPREAD * scale) ** -2
        normal[2, 2] = (FOREST_SPREAD * scale) ** -2
        right[2] = normal[2, 2] * scale
        det = normal[0, 0] * normal[1, 1] - normal[0, 1] ** 2
        level = (normal[1, 1] * right[0] - normal[0, 1] * right[1]) / det
        slope = (normal[0, 0] * right[1] - normal[0, 1] * right[0]) / det
    off = flux - power * (level + slope * bend)
    n_free = np.sum(np.where(near > 0.0, near * error**2, 0.0)) - 2.0
    return normal, right, max(1.0, float(np.sum(near * off**2) / max(n_free, 1.0)))


@njit_nogil
def _below(x: float) -> float:
    """Return the normal distribution's share below x."""
    return 0.5 * erfc(-x / sqrt(2.0))


@njit_nogil
def _forest(one_plus_z: float) -> float:
    """Return the mean share of light that the Lyα forest lets through (Becker et al. 2013, eq. 5)."""
    return exp(0.132 - 0.751 * (one_plus_z / 4.5) ** 2.90)
