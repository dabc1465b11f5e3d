"""The flux density that spectra are scaled by: robust window means, carried to a reference wavelength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats


@dataclass(frozen=True)
class NormConfig:
    """How spectra are scaled to 1 at a reference wavelength."""

    reference_wave: float = 1500.0
    """Rest wavelength [Å] at which the flux becomes 1."""
    windows: tuple[tuple[float, float], ...] = (
        (1450.0, 1550.0),
        (1680.0, 1840.0),
        (1290.0, 1430.0),
        (1950.0, 2300.0),
        (2400.0, 2750.0),
        (2900.0, 3500.0),
    )
    """Rest windows [Å], first choice first, clear of strong lines."""
    min_snr: float = 1.0
    """A window serves when its mean exceeds this many times its error …"""
    preferred_snr: float = 3.0
    """… and the first that exceeds this many is taken; where none does, the one that errs least."""
    min_pixels: int = 3
    """A window serves when it has this many valid pixels."""
    max_slope_err: float = 1.0
    """A fitted slope less certain than this gives way to the sample's median slope."""
    fallback_slope: float = -2.0
    """f_λ ∝ λ^slope where the sample has no fitted slope at all."""

    def __post_init__(self) -> None:
        if not self.windows or any(not 0 < low < high for low, high in self.windows):
            raise ValueError(f"norm.windows {self.windows}: give one or more (low, high) pairs [Å]")
        if not 0 <= self.min_snr <= self.preferred_snr or self.min_pixels < 1:
            raise ValueError(
                f"norm.min_snr {self.min_snr}, norm.preferred_snr {self.preferred_snr}: need 0 ≤ min_snr ≤ sure_snr; "
                f"norm.min_pixels {self.min_pixels} must be at least 1"
            )


class NormEstimate(NamedTuple):
    """The flux density at the reference wavelength, and where it came from."""

    norm: float
    norm_err: float
    slope: float
    slope_fitted: bool
    window_index: int


class NormEstimates(NamedTuple):
    """As `NormEstimate`, an element a spectrum, (N,) each; window -1 where no window serves."""

    norm: Floats
    norm_err: Floats
    slope: Floats
    slope_fitted: NDArray[np.bool_]
    window_index: NDArray[np.int8]


def estimate_norm(
    wave: Floats, flux: Floats, ivar: Floats, config: NormConfig, default_slope: float
) -> NormEstimate:
    """Return the flux density at the reference wavelength.

    The first window whose robust ivar-weighted mean is sure gives it; where none is sure, of those that are
    positive beyond their noise the one that errs least. Where that window does not hold the reference, its
    mean is carried there by the slope fitted over all windows that serve.

    Parameters
    ----------
    wave : (n,) [Å, rest]
        Increasing.
    flux, ivar : (n,) [any f_λ unit]
    config : NormConfig
    default_slope : float

    Raises
    ------
    BadSpectrumError
        ``no_normalisation`` when no window serves; says what was seen in the first.
    """
    found = estimate_norms(wave, flux, ivar, np.array([0, len(wave)]), config, default_slope)
    if found.window_index[0] < 0:
        raise no_normalization_error(wave, flux, ivar, config)
    norm, err, slope, fitted, window = (column[0].item() for column in found)
    return NormEstimate(norm, err, slope, fitted, window)


def no_normalization_error(
    wave: Floats, flux: Floats, ivar: Floats, config: NormConfig
) -> InvalidSpectrumError:
    """Return what to say of a spectrum of which no window serves."""
    value, err, _, n = robust_window_mean(wave, flux, ivar, *config.windows[0])
    seen = f"first window {config.windows[0]} Å: {value:.3g} ± {err:.3g} from {n} pixels"
    return InvalidSpectrumError(QuarantineReason.NO_NORMALISATION, seen)


def estimate_norms(
    wave: Floats,
    flux: Floats,
    ivar: Floats,
    offsets: NDArray[np.int64],
    config: NormConfig,
    default_slope: float,
) -> NormEstimates:
    """Return what `estimate_norm` finds for each of many spectra, end to end in one array each.

    Parameters
    ----------
    wave, flux, ivar : (M,)
        As for `estimate_norm`.
    offsets : (N + 1,)
        Spectrum k is pixels ``offsets[k]:offsets[k + 1]``.
    config : NormConfig
    default_slope : float
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
    n_spectra, n_windows = len(offsets) - 1, len(windows)
    norm, norm_err, slopes = np.full(n_spectra, np.nan), np.full(n_spectra, np.nan), np.empty(n_spectra)
    fitted, chosen = np.zeros(n_spectra, np.bool_), np.full(n_spectra, -1, np.int8)
    value, err, centre = np.empty(n_windows), np.empty(n_windows), np.empty(n_windows)
    serves = np.empty(n_windows, np.bool_)
    min_pixels, min_snr, sure_snr, max_slope_err = limits
    for k in range(n_spectra):
        own = slice(offsets[k], offsets[k + 1])
        for w in range(n_windows):
            low, high = windows[w]
            value[w], err[w], centre[w], n = robust_window_mean(wave[own], flux[own], ivar[own], low, high)
            serves[w] = n >= min_pixels and value[w] > max(min_snr * err[w], 0.0)
        slope, slope_err = _fit_slope(value[serves], err[serves], centre[serves])
        fitted[k] = slope_err <= max_slope_err
        if not fitted[k]:
            slope, slope_err = default_slope, max_slope_err
        slopes[k], least = slope, np.inf
        for w in range(n_windows):
            if serves[w]:
                holds = windows[w, 0] <= reference_wave <= windows[w, 1]
                lever = 0.0 if holds else np.log(reference_wave / centre[w])
                relative = np.hypot(err[w] / value[w], slope_err * lever)
                sure = value[w] > sure_snr * err[w]
                if sure or relative < least:
                    norm[k] = value[w] * np.exp(slope * lever)
                    norm_err[k] = norm[k] * relative
                    chosen[k], least = w, relative
                if sure:
                    break
    return norm, norm_err, slopes, fitted, chosen


@njit_nogil
def _fit_slope(value: Floats, err: Floats, centre: Floats) -> tuple[float, float]:
    """Weighted straight line through ln f against ln λ: its slope and 1σ, infinite with one window."""
    if len(value) < 2:
        return 0.0, np.inf
    x, y, weight = np.log(centre), np.log(value), (value / err) ** 2
    dx = x - np.sum(weight * x) / np.sum(weight)
    spread = np.sum(weight * dx**2)
    slope = np.sum(weight * dx * y) / spread
    return slope, spread**-0.5 if np.isfinite(slope) else np.inf


@njit_nogil
def robust_window_mean(
    wave: Floats, flux: Floats, ivar: Floats, low: float, high: float, clip_sigma: float = 4.0
) -> tuple[float, float, float, int]:
    """Return the robust ivar-weighted mean of the flux in a window.

    Pixels further than `clip_sigma` from the median are left out, in units of the larger of their own error and
    the window's scatter (1.4826 MAD): noise and slope stay, hot pixels go.

    Parameters
    ----------
    wave : (n,) [Å]
        Increasing.
    flux, ivar : (n,)
    low, high : float [Å]
    clip_sigma : float

    Returns
    -------
    mean, err : float [flux]
    centre : float [Å]
        Weighted mean wavelength.
    n : int
        Pixels used; 0 gives (nan, nan, nan, 0).
    """
    first, last = np.searchsorted(wave, low), np.searchsorted(wave, high, "right")
    f, w, x = flux[first:last], ivar[first:last], wave[first:last]
    valid = w > 0.0
    if not valid.any():
        return np.nan, np.nan, np.nan, 0
    middle = np.median(f[valid])
    scatter = 1.4826 * np.median(np.abs(f[valid] - middle))
    total, total_flux, total_wave, n = 0.0, 0.0, 0.0, 0
    for i in range(len(f)):
        if valid[i] and abs(f[i] - middle) <= clip_sigma * max(scatter, w[i] ** -0.5):
            total += w[i]
            total_flux += w[i] * f[i]
            total_wave += w[i] * x[i]
            n += 1
    return total_flux / total, total**-0.5, total_wave / total, n
