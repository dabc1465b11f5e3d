"""The compiled kernels of preprocessing: resampling with inverse variance, and robust window means."""

from __future__ import annotations

import numpy as np
from numba import njit

from distspec.spectrum import Floats

MIN_COVER = 0.5
"""An output pixel is valid when valid input pixels cover at least this share of it."""


@njit(cache=True)
def resample(wave: Floats, flux: Floats, ivar: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Resample a flux density onto new pixels, conserving flux.

    Each output pixel is the mean of the input pixels weighted by the width that they share with it, so
    Σ f Δλ is the same before and after (Carnall 2017, arXiv:1705.05165, eq. 3); masked input pixels take
    no part. Independent errors: σ² = Σ w²σ² / (Σ w)² (eq. 4).

    Parameters
    ----------
    wave : (n,) [Å]
        Strictly increasing pixel centres, n ≥ 2; edges lie half-way between them.
    flux : (n,) [flux per Å]
    ivar : (n,) [flux⁻²]
        0 = masked.
    edges : (L + 1,) [Å]
        Edges of the output pixels.

    Returns
    -------
    flux, ivar : (L,)
        Both 0 where less than `MIN_COVER` of the pixel is covered by valid input.

    Examples
    --------
    >>> wave = np.array([1.0, 2.0, 3.0, 4.0])
    >>> flux, ivar = resample(wave, wave, np.ones(4), np.array([0.5, 2.5, 4.5]))
    >>> flux, ivar
    (array([1.5, 3.5]), array([2., 2.]))
    """
    n, n_out = len(wave), len(edges) - 1
    low_edge, high_edge = np.empty(n), np.empty(n)
    for i in range(n):
        below = wave[i] - wave[i - 1] if i > 0 else wave[1] - wave[0]
        above = wave[i + 1] - wave[i] if i < n - 1 else wave[n - 1] - wave[n - 2]
        low_edge[i], high_edge[i] = wave[i] - 0.5 * below, wave[i] + 0.5 * above
    out, out_ivar = np.zeros(n_out), np.zeros(n_out)
    first = 0
    for j in range(n_out):
        low, high = edges[j], edges[j + 1]
        while first < n and high_edge[first] <= low:
            first += 1
        total, total_flux, total_var = 0.0, 0.0, 0.0
        i = first
        while i < n and low_edge[i] < high:
            shared = min(high_edge[i], high) - max(low_edge[i], low)
            if ivar[i] > 0.0 and shared > 0.0:
                total += shared
                total_flux += shared * flux[i]
                total_var += shared * shared / ivar[i]
            i += 1
        if total >= MIN_COVER * (high - low):
            out[j] = total_flux / total
            out_ivar[j] = total * total / total_var
    return out, out_ivar


@njit(cache=True)
def window_mean(
    wave: Floats, flux: Floats, ivar: Floats, low: float, high: float, clip: float = 4.0
) -> tuple[float, float, float, int]:
    """Return the robust ivar-weighted mean of the flux in a window.

    Pixels further than `clip` from the median are left out, in units of the larger of their own error and
    the window's scatter (1.4826 MAD): noise and slope stay, hot pixels go.

    Parameters
    ----------
    wave : (n,) [Å]
    flux, ivar : (n,)
    low, high : float [Å]
    clip : float

    Returns
    -------
    mean, err : float [flux]
    centre : float [Å]
        Weighted mean wavelength.
    n : int
        Pixels used; 0 gives (nan, nan, nan, 0).
    """
    inside = np.flatnonzero((wave >= low) & (wave <= high) & (ivar > 0.0))
    if len(inside) == 0:
        return np.nan, np.nan, np.nan, 0
    f, w, x = flux[inside], ivar[inside], wave[inside]
    middle = np.median(f)
    scatter = 1.4826 * np.median(np.abs(f - middle))
    total, total_flux, total_wave, n = 0.0, 0.0, 0.0, 0
    for i in range(len(f)):
        if abs(f[i] - middle) <= clip * max(scatter, w[i] ** -0.5):
            total += w[i]
            total_flux += w[i] * f[i]
            total_wave += w[i] * x[i]
            n += 1
    return total_flux / total, total**-0.5, total_wave / total, n
