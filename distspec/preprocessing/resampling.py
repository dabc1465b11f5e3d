"""Wavelength grids, and the resampling of spectra onto them with inverse variances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.errors import ConfigError
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid

MIN_COVERAGE = 0.5
"""An output pixel is valid if valid input pixels cover at least this fraction of it."""
GAP_FACTOR = 3.0
"""A step between pixel centers that exceeds the local median step by this factor is a gap."""
GAP_HALF_WINDOW = 8
"""Number of steps on either side that enter the local median, in addition to the step itself."""
MAX_FLUX = 1e6
"""Pixels with a larger absolute normalized flux are masked: they are no measurements, and overflow later."""
MAX_IVAR = 1e20
"""Pixels with a larger inverse variance (an error below 1e-10 of the norm) are masked for the same reason."""


@dataclass(frozen=True)
class GridConfig:
    """The rest-frame wavelength grid of a new store; a store keeps its grid."""

    spacing: Literal["log", "uniform"] = "log"
    """Equal steps in ln(wavelength) or in wavelength."""
    start: float = 1100.0
    """Lower edge [Angstrom]; 0: proposed from the data, as stop."""
    stop: float = 8400.0
    """Upper edge [Angstrom]."""
    n_pixels: int = 640
    """Number of pixels; 0 if step is given, or to propose it from the data."""
    step: float = 0.0
    """Pixel width of a uniform grid [Angstrom]; 0 if n_pixels is given."""
    frame: Literal["rest", "observed"] = "rest"
    """Frame of start and stop; observed: both are divided by 1 + the median redshift of the sample."""

    def __post_init__(self) -> None:
        if not (0 < self.start < self.stop or self.start == self.stop == 0):
            raise ConfigError(
                f"--grid.start {self.start} Angstrom must lie between 0 and grid.stop {self.stop} Angstrom"
            )
        if (self.n_pixels > 0 and self.step > 0) or min(self.n_pixels, self.step) < 0:
            raise ConfigError(
                f"set one of --grid.n-pixels ({self.n_pixels}) and --grid.step ({self.step} Angstrom), "
                "and the other to 0"
            )
        if self.frame == "observed" and not self.start:
            raise ConfigError("--grid.frame=observed requires --grid.start and --grid.stop")
        if self.step > 0 and self.spacing == "log":
            raise ConfigError("--grid.step requires --grid.spacing=uniform; give a log grid --grid.n-pixels")

    @property
    def is_complete(self) -> bool:
        """Whether range and sampling are set; what is not set is proposed when a store is created."""
        return self.start > 0 and (self.n_pixels > 0 or self.step > 0)

    def resolve(self, z: Floats) -> WavelengthGrid:
        """Return the grid for a sample.

        Parameters
        ----------
        z : ndarray of shape (n_spectra,)
            Redshifts of the sample; used only if `frame` is "observed".

        Returns
        -------
        WavelengthGrid

        Examples
        --------
        >>> GridConfig("uniform", 7000, 55000, 0, 3.0, "observed").resolve(np.array([4.5, 5.0, 9.0]))
        WavelengthGrid(spacing='uniform', start=1166.6666666666667, stop=9167.666666666666, n_pixels=2667)
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
    """Resample many spectra onto one grid; see `resample`.

    Parameters
    ----------
    wave, flux, ivar : ndarray of shape (n_total_pixels,)
        Wavelengths, flux densities and inverse variances of all spectra, concatenated.
    offsets : ndarray of int, shape (n_spectra + 1,)
        Spectrum k is pixels ``offsets[k]:offsets[k + 1]``.
    edges : ndarray of shape (n_pixels + 1,)
        Edges of the output pixels [Angstrom].

    Returns
    -------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Resampled flux density and its inverse variance.
    """
    n_spectra, n_out = len(offsets) - 1, len(edges) - 1
    out, out_ivar = np.zeros((n_spectra, n_out)), np.zeros((n_spectra, n_out))
    for k in range(n_spectra):
        own = slice(offsets[k], offsets[k + 1])
        _resample_into(wave[own], flux[own], ivar[own], edges, out[k], out_ivar[k])
    return out, out_ivar


@njit_nogil
def resample(wave: Floats, flux: Floats, ivar: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Resample a spectrum onto new pixels, conserving flux.

    An output pixel is the mean of the input pixels, weighted by the width of their overlap with it, so the
    integral of the flux is preserved (Carnall 2017, eq. 3). Masked input pixels are ignored. Errors are
    taken to be independent: sigma^2 = sum(w^2 sigma^2) / sum(w)^2 (eq. 4).

    Input pixels meet halfway between their centers. A step is a gap if it exceeds `GAP_FACTOR` times the
    local median step; the pixels on its two sides then end half a local median step from their centers, and
    nothing covers what lies between. No input pixel extends beyond ``GAP_FACTOR / 2`` local median steps.

    Parameters
    ----------
    wave : ndarray of shape (n_input_pixels,)
        Pixel centers [Angstrom], strictly increasing, at least two.
    flux : ndarray of shape (n_input_pixels,)
        Flux density per unit wavelength.
    ivar : ndarray of shape (n_input_pixels,)
        Inverse variance; 0 where masked.
    edges : ndarray of shape (n_pixels + 1,)
        Edges of the output pixels [Angstrom].

    Returns
    -------
    flux, ivar : ndarray of shape (n_pixels,)
        Both 0 where valid input pixels cover less than `MIN_COVERAGE` of the output pixel.

    References
    ----------
    Carnall 2017, arXiv:1705.05165.

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
    """Resample one spectrum into `out` and `out_ivar`, which hold zeros."""
    blue, red = _pixel_edges(wave)
    i, n = 0, len(wave)
    for j in range(len(out)):
        low, high = edges[j], edges[j + 1]
        while i < n and red[i] <= low:
            i += 1
        if i == n:
            return
        sum_overlap, sum_flux, sum_var = 0.0, 0.0, 0.0
        while True:
            overlap = min(red[i], high) - max(blue[i], low)
            if ivar[i] > 0.0 and overlap > 0.0:
                sum_overlap += overlap
                sum_flux += overlap * flux[i]
                sum_var += overlap * overlap / ivar[i]
            # A pixel that extends beyond this output pixel also contributes to the next one.
            if red[i] > high or i == n - 1:
                break
            i += 1
        if sum_overlap > 0.0 and sum_overlap >= MIN_COVERAGE * (high - low):
            pixel_ivar = sum_overlap * sum_overlap / sum_var
            if pixel_ivar > 0.0:
                out[j], out_ivar[j] = sum_flux / sum_overlap, pixel_ivar


@njit_nogil
def _pixel_edges(wave: Floats) -> tuple[Floats, Floats]:
    """Return the lower and upper edges of pixels [Angstrom]."""
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
    """Replace the steps that are gaps by the local median; of an even number, by the lower middle value."""
    n = len(steps)
    n_blocks = (n + GAP_HALF_WINDOW - 1) // GAP_HALF_WINDOW
    smallest, largest = np.full(n_blocks, np.inf), np.zeros(n_blocks)
    for k in range(n):
        block = k // GAP_HALF_WINDOW
        smallest[block], largest[block] = min(smallest[block], steps[k]), max(largest[block], steps[k])
    # The neighbors of a block's steps lie in it and in the two adjacent blocks. Medians cost more than the
    # resampling itself, so they are computed only where a step exceeds GAP_FACTOR times the smallest of
    # those.
    original = steps.copy()
    for block in range(n_blocks):
        bound = GAP_FACTOR * smallest[max(block - 1, 0) : block + 2].min()
        if largest[block] <= bound:
            continue
        for k in range(block * GAP_HALF_WINDOW, min((block + 1) * GAP_HALF_WINDOW, n)):
            if original[k] > bound:
                neighbors = np.sort(original[max(k - GAP_HALF_WINDOW, 0) : k + GAP_HALF_WINDOW + 1])
                median = neighbors[(len(neighbors) - 1) // 2]
                if original[k] > GAP_FACTOR * median:
                    steps[k] = median


@njit_nogil
def divide_by_norm(
    flux: Floats, ivar: Floats, norm: Floats
) -> tuple[Floats32, Floats32, NDArray[np.int32], NDArray[np.int32]]:
    """Divide spectra by their normalization.

    Parameters
    ----------
    flux : ndarray of shape (n_spectra, n_pixels)
        Flux density.
    ivar : ndarray of shape (n_spectra, n_pixels)
        Inverse variance; 0 where masked.
    norm : ndarray of shape (n_spectra,)
        Flux density at the reference wavelength, in the same unit; NaN where unknown.

    Returns
    -------
    flux, ivar : ndarray of float32, shape (n_spectra, n_pixels)
        Normalized flux density and its inverse variance; both 0 where masked, also beyond `MAX_FLUX` or
        `MAX_IVAR`.
    n_covered, n_valid : ndarray of int32, shape (n_spectra,)
        Number of valid pixels before and after the division.
    """
    out, out_ivar = np.zeros(flux.shape, np.float32), np.zeros(flux.shape, np.float32)
    n_covered, n_valid = np.zeros(len(norm), np.int32), np.zeros(len(norm), np.int32)
    for k in range(len(norm)):
        for j in range(flux.shape[1]):
            scaled, scaled_ivar = flux[k, j] / norm[k], np.float32(ivar[k, j] * norm[k] ** 2)
            n_covered[k] += ivar[k, j] > 0.0
            # A spike of 1e30 is no measurement, and its square overflows float32.
            if abs(scaled) < MAX_FLUX and 0.0 < scaled_ivar < MAX_IVAR:
                out[k, j], out_ivar[k, j] = scaled, scaled_ivar
                n_valid[k] += 1
    return out, out_ivar, n_covered, n_valid


def median_snr(flux: Floats32, ivar: Floats32) -> Floats32:
    """Return the median signal-to-noise ratio of the valid pixels of each spectrum.

    Parameters
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Flux density and its inverse variance; 0 where masked.

    Returns
    -------
    ndarray of shape (n_spectra,)
        NaN if no pixel is valid.
    """
    return _median_valid(flux * np.sqrt(ivar), ivar)


@njit_nogil
def _median_valid(value: Floats32, ivar: Floats32) -> Floats32:
    median = np.full(len(value), np.nan, np.float32)
    for k in range(len(value)):
        valid = value[k][ivar[k] > 0.0]
        if len(valid):
            median[k] = np.median(valid)
    return median
