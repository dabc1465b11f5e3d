"""Rows on the rest-frame grid: the grid, resampling onto it with inverse variance, scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid

MIN_COVERAGE = 0.5
"""An output pixel is valid when valid input pixels cover at least this share of it."""
GAP_FACTOR = 3.0
"""A step between pixel centres wider than this many times the local median step is a gap …"""
GAP_HALF_WINDOW = 8
"""… the median being that of the step itself and up to so many on either side."""
MAX_FLUX = 1e6
"""A pixel further than this from zero, in units of the norm, is masked …"""
MAX_IVAR = 1e20
"""… as is one whose error is below 1e-10 of the norm: neither is a measurement, both overflow later."""


@dataclass(frozen=True)
class GridConfig:
    """The rest-frame grid to choose when a store is made; a store keeps its grid for ever."""

    spacing: Literal["log", "uniform"] = "log"
    """Equal steps in ln λ or in λ."""
    start: float = 1100.0
    """Lower edge [Å]."""
    stop: float = 8400.0
    """Upper edge [Å]."""
    n_pixels: int = 640
    """Pixels from start to stop; 0 where step says it."""
    step: float = 0.0
    """Pixel width [Å] of a uniform grid; 0 where n_pixels says it."""
    frame: Literal["rest", "observed"] = "rest"
    """Observed: start, stop are divided by 1 + the sample's median redshift; step is not."""

    def __post_init__(self) -> None:
        if not 0 < self.start < self.stop:
            raise ValueError(f"grid.start {self.start} Å must lie between 0 and grid.stop {self.stop} Å")
        if (self.n_pixels > 0) == (self.step > 0):
            raise ValueError(
                f"set one of grid.n_pixels ({self.n_pixels}) and grid.step ({self.step} Å), the other to 0"
            )
        if self.step > 0 and self.spacing == "log":
            raise ValueError("grid.step is for spacing=uniform; give a log grid n_pixels")

    def resolve(self, z: Floats) -> WavelengthGrid:
        """Return the grid for a sample of redshifts, (N,).

        Examples
        --------
        >>> GridConfig("uniform", 7000, 55000, 0, 3.0, "observed").resolve(np.array([4.5, 5.0, 9.0]))
        WaveGrid(spacing='uniform', start=1166.6666666666667, stop=9167.666666666666, n_pixels=2667)
        """
        shrink = 1.0 + float(np.median(z)) if self.frame == "observed" else 1.0
        start, stop = self.start / shrink, self.stop / shrink
        if self.n_pixels:
            return WavelengthGrid(self.spacing, start, stop, self.n_pixels)
        n_pixels = int(np.ceil((stop - start) / self.step - 1e-9))
        return WavelengthGrid(self.spacing, start, start + n_pixels * self.step, n_pixels)


@njit_nogil
def resample_batch(
    wave: Floats, flux: Floats, ivar: Floats, offsets: NDArray[np.int64], edges: Floats
) -> tuple[Floats, Floats]:
    """Resample many spectra, end to end in one array each, onto the same new pixels.

    Parameters
    ----------
    wave, flux, ivar : (M,)
        As for `resample`.
    offsets : (N + 1,)
        Spectrum k is pixels ``offsets[k]:offsets[k + 1]``.
    edges : (L + 1,) [Å]

    Returns
    -------
    flux, ivar : (N, L)
    """
    n_spectra, n_out = len(offsets) - 1, len(edges) - 1
    out, out_ivar = np.zeros((n_spectra, n_out)), np.zeros((n_spectra, n_out))
    for k in range(n_spectra):
        own = slice(offsets[k], offsets[k + 1])
        _resample_into(wave[own], flux[own], ivar[own], edges, out[k], out_ivar[k])
    return out, out_ivar


@njit_nogil
def resample(wave: Floats, flux: Floats, ivar: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Resample a flux density onto new pixels, conserving flux.

    Each output pixel is the mean of the input pixels weighted by the width that they share with it, so
    Σ f Δλ is the same before and after (Carnall 2017, arXiv:1705.05165, eq. 3); masked input pixels take
    no part. Independent errors: σ² = Σ w²σ² / (Σ w)² (eq. 4).

    Input pixels meet half-way between their centres. Where a step is a gap (`GAP_FACTOR`, `GAP_HALF_WINDOW`), the pixels
    on its two sides end half a local median step from their centres, and nothing covers what lies
    between: no input pixel reaches further than GAP / 2 local median steps to either side.

    Parameters
    ----------
    wave : (n,) [Å]
        Strictly increasing pixel centres, n ≥ 2.
    flux : (n,) [flux per Å]
    ivar : (n,) [flux⁻²]
        0 = masked.
    edges : (L + 1,) [Å]
        Edges of the output pixels.

    Returns
    -------
    flux, ivar : (L,)
        Both 0 where less than `MIN_COVERAGE` of the pixel is covered by valid input.

    Examples
    --------
    >>> wave = np.array([1.0, 2.0, 3.0, 4.0])
    >>> flux, ivar = resample(wave, wave, np.ones(4), np.array([0.5, 2.5, 4.5]))
    >>> flux, ivar
    (array([1.5, 3.5]), array([2., 2.]))
    """
    out, out_ivar = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    _resample_into(wave, flux, ivar, edges, out, out_ivar)
    return out, out_ivar


@njit_nogil
def _resample_into(
    wave: Floats, flux: Floats, ivar: Floats, edges: Floats, out: Floats, out_ivar: Floats
) -> None:
    blue, red = _pixel_edges(wave)
    i, n = 0, len(wave)
    for j in range(len(out)):
        low, high = edges[j], edges[j + 1]
        while i < n and red[i] <= low:
            i += 1
        if i == n:
            return
        total, total_flux, total_var = 0.0, 0.0, 0.0
        while True:
            shared = min(red[i], high) - max(blue[i], low)
            if ivar[i] > 0.0 and shared > 0.0:
                total += shared
                total_flux += shared * flux[i]
                total_var += shared * shared / ivar[i]
            # The pixel that reaches past this one has the rest of its width for the next.
            if red[i] > high or i == n - 1:
                break
            i += 1
        if total > 0.0 and total >= MIN_COVERAGE * (high - low):
            pixel_ivar = total * total / total_var
            if pixel_ivar > 0.0:
                out[j], out_ivar[j] = total_flux / total, pixel_ivar


@njit_nogil
def _pixel_edges(wave: Floats) -> tuple[Floats, Floats]:
    """Return where pixels begin and end, (n,) and (n,) [Å]."""
    n = len(wave)
    half = np.empty(n - 1)
    for k in range(n - 1):
        half[k] = 0.5 * (wave[k + 1] - wave[k])
    _replace_gap_steps(half)
    blue, red = np.empty(n), np.empty(n)
    blue[0], red[n - 1] = wave[0] - half[0], wave[n - 1] + half[n - 2]
    for k in range(n - 1):
        red[k], blue[k + 1] = wave[k] + half[k], wave[k + 1] - half[k]
    return blue, red


@njit_nogil
def _replace_gap_steps(steps: Floats) -> None:
    """Put the local median, of an even number the lower one, in the place of steps that are gaps."""
    n = len(steps)
    n_blocks = (n + GAP_HALF_WINDOW - 1) // GAP_HALF_WINDOW
    least, most = np.full(n_blocks, np.inf), np.zeros(n_blocks)
    for k in range(n):
        block = k // GAP_HALF_WINDOW
        least[block], most[block] = min(least[block], steps[k]), max(most[block], steps[k])
    # The steps near any of a block lie in it and the two beside it. Medians cost more than resampling:
    # they are taken only where a step is beyond GAP times the smallest of those, as most spectra have none.
    given = steps.copy()
    for block in range(n_blocks):
        bound = GAP_FACTOR * least[max(block - 1, 0) : block + 2].min()
        if most[block] <= bound:
            continue
        for k in range(block * GAP_HALF_WINDOW, min((block + 1) * GAP_HALF_WINDOW, n)):
            if given[k] > bound:
                near = np.sort(given[max(k - GAP_HALF_WINDOW, 0) : k + GAP_HALF_WINDOW + 1])
                median = near[(len(near) - 1) // 2]
                if given[k] > GAP_FACTOR * median:
                    steps[k] = median


@njit_nogil
def divide_by_norm(
    flux: Floats, ivar: Floats, norm: Floats
) -> tuple[Floats32, Floats32, NDArray[np.int32], NDArray[np.int32]]:
    """Divide rows, (N, L), by their norms, (N,).

    Returns
    -------
    flux, ivar : (N, L)
        Both 0 beyond `MAX_FLUX` and `MAX_IVAR`.
    n_covered, n_valid : (N,)
        Valid pixels of a row before, and after.
    """
    out, out_ivar = np.zeros(flux.shape, np.float32), np.zeros(flux.shape, np.float32)
    n_covered, n_valid = np.zeros(len(norm), np.int32), np.zeros(len(norm), np.int32)
    for k in range(len(norm)):
        for j in range(flux.shape[1]):
            scaled, scaled_ivar = flux[k, j] / norm[k], np.float32(ivar[k, j] * norm[k] ** 2)
            n_covered[k] += ivar[k, j] > 0.0
            # A spike of 1e30 would be infinite in float32, and is no measurement.
            if abs(scaled) < MAX_FLUX and 0.0 < scaled_ivar < MAX_IVAR:
                out[k, j], out_ivar[k, j] = scaled, scaled_ivar
                n_valid[k] += 1
    return out, out_ivar, n_covered, n_valid


def median_snr(flux: Floats32, ivar: Floats32) -> Floats32:
    """Return the median signal-to-noise ratio over valid pixels, (N,), from (N, L); NaN where none is."""
    return _median_valid(flux * np.sqrt(ivar), ivar)


@njit_nogil
def _median_valid(value: Floats32, ivar: Floats32) -> Floats32:
    median = np.full(len(value), np.nan, np.float32)
    for k in range(len(value)):
        valid = value[k][ivar[k] > 0.0]
        if len(valid):
            median[k] = np.median(valid)
    return median
