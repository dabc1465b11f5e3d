"""Estimate the flux density at a reference wavelength, by which spectra are normalized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.errors import ConfigError, InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats


@dataclass(frozen=True)
class NormConfig:
    """How spectra are normalized to 1 at a reference wavelength."""

    reference_wave: float = 1500.0
    """Rest wavelength at which the normalized flux is 1 [Angstrom]; 0: center of the first window."""
    windows: tuple[tuple[float, float], ...] = (
        (1450.0, 1550.0),
        (1680.0, 1840.0),
        (1290.0, 1430.0),
        (1950.0, 2300.0),
        (2400.0, 2750.0),
        (2900.0, 3500.0),
    )
    """Rest-frame continuum windows free of strong lines, in order of preference [Angstrom]; none: proposed
    from the data."""
    min_snr: float = 1.0
    """A window is usable if its mean flux exceeds this many times its error."""
    preferred_snr: float = 3.0
    """The first usable window with a larger signal-to-noise ratio is taken, else the most precise one."""
    min_pixels: int = 3
    """A window is usable if it has at least this many valid pixels."""
    max_slope_err: float = 1.0
    """A fitted slope with a larger error is replaced by the sample's median slope."""
    fallback_slope: float = -2.0
    """Slope beta of f_lambda ~ lambda^beta if no spectrum of the sample has a fitted slope."""

    @property
    def is_complete(self) -> bool:
        """Whether reference and windows are set; what is not set is proposed when a store is created."""
        return self.reference_wave > 0 and len(self.windows) > 0

    def __post_init__(self) -> None:
        if self.reference_wave < 0 or any(not 0 < low < high for low, high in self.windows):
            raise ConfigError(
                f"--norm.windows {self.windows}: give (low, high) pairs [Angstrom] and --norm.reference-wave "
                f"{self.reference_wave} Angstrom of at least 0"
            )
        if not 0 <= self.min_snr <= self.preferred_snr:
            raise ConfigError(
                f"--norm.min-snr {self.min_snr}, --norm.preferred-snr {self.preferred_snr}: "
                "0 <= min_snr <= preferred_snr is required"
            )
        if self.min_pixels < 1:
            raise ConfigError(f"--norm.min-pixels {self.min_pixels} must be at least 1")


@dataclass(frozen=True)
class NormEstimates:
    """Flux densities at the reference wavelength, and how they were obtained.

    Attributes
    ----------
    norm, norm_err : ndarray of shape (n_spectra,)
        Flux density at the reference wavelength and its 1 sigma error; NaN if no window is usable.
    slope : ndarray of shape (n_spectra,)
        Slope beta of f_lambda ~ lambda^beta that was used.
    slope_fitted : ndarray of bool, shape (n_spectra,)
        Whether the slope was fitted to the spectrum itself.
    window_index : ndarray of int8, shape (n_spectra,)
        Index of the window that was used; -1 if none is usable.
    """

    norm: Floats
    norm_err: Floats
    slope: Floats
    slope_fitted: NDArray[np.bool_]
    window_index: NDArray[np.int8]


def no_normalization_error(
    wave: Floats, flux: Floats, ivar: Floats, config: NormConfig
) -> InvalidSpectrumError:
    """Return the error for one spectrum without a usable window; see `estimate_norms`.

    Parameters
    ----------
    wave : ndarray of shape (n_pixels,)
        Rest-frame wavelength [Angstrom], increasing.
    flux : ndarray of shape (n_pixels,)
        Flux density f_lambda, in any unit.
    ivar : ndarray of shape (n_pixels,)
        Inverse variance of `flux`; 0 where masked.
    config : NormConfig
        Windows, of which the error describes the first.
    """
    value, err, _, n = robust_window_mean(wave, flux, ivar, *config.windows[0])
    detail = f"first window {config.windows[0]} Å: {value:.3g} ± {err:.3g} from {n} pixels"
    return InvalidSpectrumError(QuarantineReason.NO_NORMALIZATION, detail)


def estimate_norms(
    wave: Floats,
    flux: Floats,
    ivar: Floats,
    offsets: NDArray[np.int64],
    config: NormConfig,
    default_slope: float,
) -> NormEstimates:
    """Estimate the flux density of spectra at the reference wavelength.

    The robust mean flux of a window (`robust_window_mean`) is taken: of the first one whose signal-to-noise
    ratio exceeds ``config.preferred_snr``; failing that, of the usable window with the smallest relative
    error. If that window does not contain the reference wavelength, its mean is extrapolated along a power
    law fitted to all usable windows, or along `default_slope` if the fit is too uncertain.

    Parameters
    ----------
    wave : ndarray of shape (n_total_pixels,)
        Rest-frame wavelengths of all spectra, concatenated [Angstrom]; increasing within a spectrum.
    flux : ndarray of shape (n_total_pixels,)
        Flux density f_lambda, in any unit.
    ivar : ndarray of shape (n_total_pixels,)
        Inverse variance; 0 where masked.
    offsets : ndarray of int, shape (n_spectra + 1,)
        Spectrum k is pixels ``offsets[k]:offsets[k + 1]``.
    config : NormConfig
        Windows and limits.
    default_slope : float
        Slope for spectra without a reliable fitted slope.

    Returns
    -------
    NormEstimates
    """
    windows = np.array(config.windows, np.float64)
    reference, default_slope = float(config.reference_wave), float(default_slope)
    limits = (
        config.min_pixels,
        float(config.min_snr),
        float(config.preferred_snr),
        float(config.max_slope_err),
    )
    return NormEstimates(
        *_estimate_norms(wave, flux, ivar, offsets, windows, reference, limits, default_slope)
    )


@njit_nogil
def _estimate_norms(
    wave: Floats,
    flux: Floats,
    ivar: Floats,
    offsets: NDArray[np.int64],
    windows: Floats,
    reference_wave: float,
    limits: tuple[int, float, float, float],
    default_slope: float,
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_], NDArray[np.int8]]:
    """Return the fields of `NormEstimates`; `limits` are those of `estimate_norms`."""
    n_spectra, n_windows = len(offsets) - 1, len(windows)
    norm, norm_err, slopes = np.full(n_spectra, np.nan), np.full(n_spectra, np.nan), np.empty(n_spectra)
    slope_fitted, window_index = np.zeros(n_spectra, np.bool_), np.full(n_spectra, -1, np.int8)
    value, err, center = np.empty(n_windows), np.empty(n_windows), np.empty(n_windows)
    usable = np.empty(n_windows, np.bool_)
    min_pixels, min_snr, preferred_snr, max_slope_err = limits
    for k in range(n_spectra):
        own = slice(offsets[k], offsets[k + 1])
        for w in range(n_windows):
            low, high = windows[w]
            value[w], err[w], center[w], n = robust_window_mean(wave[own], flux[own], ivar[own], low, high)
            usable[w] = n >= min_pixels and value[w] > max(min_snr * err[w], 0.0)
        slope, slope_err = _fit_slope(value[usable], err[usable], center[usable])
        slope_fitted[k] = slope_err <= max_slope_err
        if not slope_fitted[k]:
            slope, slope_err = default_slope, max_slope_err
        slopes[k], smallest_error = slope, np.inf
        for w in range(n_windows):
            if usable[w]:
                contains_reference = windows[w, 0] <= reference_wave <= windows[w, 1]
                log_ratio = 0.0 if contains_reference else np.log(reference_wave / center[w])
                relative = np.hypot(err[w] / value[w], slope_err * log_ratio)
                preferred = value[w] > preferred_snr * err[w]
                if preferred or relative < smallest_error:
                    norm[k] = value[w] * np.exp(slope * log_ratio)
                    norm_err[k] = norm[k] * relative
                    window_index[k], smallest_error = w, relative
                if preferred:
                    break
    return norm, norm_err, slopes, slope_fitted, window_index


@njit_nogil
def _fit_slope(value: Floats, err: Floats, center: Floats) -> tuple[float, float]:
    """Fit a line to ln f against ln λ; return its slope and 1 sigma error, infinite for one window."""
    if len(value) < 2:
        return 0.0, np.inf
    x, y, weight = np.log(center), np.log(value), (value / err) ** 2
    dx = x - np.sum(weight * x) / np.sum(weight)
    spread = np.sum(weight * dx**2)
    slope = np.sum(weight * dx * y) / spread
    return slope, spread**-0.5 if np.isfinite(slope) else np.inf


@njit_nogil
def robust_window_mean(
    wave: Floats, flux: Floats, ivar: Floats, low: float, high: float, clip_sigma: float = 4.0
) -> tuple[float, float, float, int]:
    """Return the robust inverse-variance weighted mean of the flux in a window.

    Pixels farther than `clip_sigma` from the median are left out, in units of the larger of their own error
    and the scatter in the window (1.4826 times the median absolute deviation). This rejects hot pixels and
    keeps noise and the slope of the continuum.

    Parameters
    ----------
    wave : ndarray of shape (n_pixels,)
        Wavelength [Angstrom], increasing.
    flux : ndarray of shape (n_pixels,)
        Flux density.
    ivar : ndarray of shape (n_pixels,)
        Inverse variance; 0 where masked.
    low, high : float
        Limits of the window [Angstrom].
    clip_sigma : float
        Clipping threshold.

    Returns
    -------
    mean, err : float
        Mean and its 1 sigma error, in the unit of the flux; NaN if no pixel is valid.
    center : float
        Weighted mean wavelength [Angstrom]; NaN if no pixel is valid.
    n_pixels : int
        Number of pixels used.
    """
    first, last = np.searchsorted(wave, low), np.searchsorted(wave, high, "right")
    f, w, x = flux[first:last], ivar[first:last], wave[first:last]
    valid = w > 0.0
    if not valid.any():
        return np.nan, np.nan, np.nan, 0
    median = np.median(f[valid])
    scatter = 1.4826 * np.median(np.abs(f[valid] - median))
    sum_weight, sum_flux, sum_wave, n = 0.0, 0.0, 0.0, 0
    for i in range(len(f)):
        if valid[i] and abs(f[i] - median) <= clip_sigma * max(scatter, w[i] ** -0.5):
            sum_weight += w[i]
            sum_flux += w[i] * f[i]
            sum_wave += w[i] * x[i]
            n += 1
    return sum_flux / sum_weight, sum_weight**-0.5, sum_wave / sum_weight, n
