"""From observed spectra to one rest-frame grid: pure functions over batches, and why a spectrum fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from astropy import units

from distspec.resampling import resample, window_mean
from distspec.spectrum import (
    BadSpectrumError,
    Floats,
    Floats32,
    Reason,
    Spectrum,
    SpectrumBatch,
    WaveGrid,
)

F_LAMBDA = units.Unit("erg s-1 cm-2 AA-1")
MAX_FLUX = 1e6
"""A pixel further than this from zero, in units of the norm, is masked."""


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

    def resolve(self, z: Floats) -> WaveGrid:
        """Return the grid for a sample of redshifts, (N,).

        Examples
        --------
        >>> GridConfig("uniform", 7000, 55000, 0, 3.0, "observed").resolve(np.array([4.5, 5.0, 9.0]))
        WaveGrid(spacing='uniform', start=1166.6666666666667, stop=9167.666666666666, n_pixels=2667)
        """
        shrink = 1.0 + float(np.median(z)) if self.frame == "observed" else 1.0
        start, stop = self.start / shrink, self.stop / shrink
        if self.n_pixels:
            return WaveGrid(self.spacing, start, stop, self.n_pixels)
        n_pixels = int(np.ceil((stop - start) / self.step - 1e-9))
        return WaveGrid(self.spacing, start, start + n_pixels * self.step, n_pixels)


@dataclass(frozen=True)
class NormConfig:
    """How spectra are scaled to 1 at a reference wavelength."""

    reference: float = 1500.0
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
    sure_snr: float = 3.0
    """… and the first that exceeds this many is taken; where none does, the one that errs least."""
    min_pixels: int = 3
    """A window serves when it has this many valid pixels."""
    max_slope_err: float = 1.0
    """A fitted slope less certain than this gives way to the sample's median slope."""
    slope: float = -2.0
    """f_λ ∝ λ^slope where the sample has no fitted slope at all."""

    def __post_init__(self) -> None:
        if not self.windows or any(not 0 < low < high for low, high in self.windows):
            raise ValueError(f"norm.windows {self.windows}: give one or more (low, high) pairs [Å]")
        if not 0 <= self.min_snr <= self.sure_snr or self.min_pixels < 1:
            raise ValueError(
                f"norm.min_snr {self.min_snr}, norm.sure_snr {self.sure_snr}: need 0 ≤ min_snr ≤ sure_snr; "
                f"norm.min_pixels {self.min_pixels} must be at least 1"
            )


class Anchor(NamedTuple):
    """The flux density at the reference wavelength, and where it came from."""

    norm: float
    err: float
    slope: float
    slope_fitted: bool
    window: int


def preprocess(
    spectra: Sequence[Spectrum], grid: WaveGrid, config: NormConfig, sample_slope: float
) -> tuple[SpectrumBatch, list[tuple[int, BadSpectrumError]]]:
    """Bring spectra to the rest frame, onto the grid, and to 1 at the reference wavelength.

    Parameters
    ----------
    spectra : (N,) sequence of Spectrum
    grid : WaveGrid
    config : NormConfig
    sample_slope : float
        Slope used where a spectrum's own cannot be had.

    Returns
    -------
    batch : SpectrumBatch
        The spectra that passed, in the order given.
    rejected : list of (index, BadSpectrumError)
        The others: together with the batch, every spectrum once.
    """
    kept: list[tuple[Spectrum, Anchor]] = []
    rejected: list[tuple[int, BadSpectrumError]] = []
    fluxes: list[Floats32] = []
    ivars: list[Floats32] = []
    for index, spectrum in enumerate(spectra):
        try:
            wave, flux, ivar = to_rest_frame(spectrum)
            anchor = find_anchor(wave, flux, ivar, config, sample_slope)
            on_grid, ivar_on_grid = resample(wave, flux, ivar, grid.edges)
            if not ivar_on_grid.any():
                seen = f"{wave[0]:.0f}–{wave[-1]:.0f} Å (rest) against {grid.start:.0f}–{grid.stop:.0f} Å"
                raise BadSpectrumError(Reason.NO_OVERLAP, seen)
        except BadSpectrumError as error:
            rejected.append((index, error))
            continue
        kept.append((spectrum, anchor))
        scaled = on_grid / anchor.norm
        # A spike of 1e30 would be infinite in float32, and is no measurement.
        believable = np.abs(scaled) < MAX_FLUX
        fluxes.append(np.where(believable, scaled, 0.0).astype(np.float32))
        ivars.append(np.where(believable, ivar_on_grid * anchor.norm**2, 0.0).astype(np.float32))
    # Without a unit the shape of a spectrum is known, its brightness is not.
    known = np.array([1.0 if spectrum.unit else np.nan for spectrum, _ in kept])
    flux_all = np.array(fluxes, np.float32).reshape(-1, grid.n_pixels)
    ivar_all = np.array(ivars, np.float32).reshape(-1, grid.n_pixels)
    batch = SpectrumBatch(
        object_id=[spectrum.object_id for spectrum, _ in kept],
        flux=flux_all,
        ivar=ivar_all,
        norm=np.array([anchor.norm for _, anchor in kept]) * known,
        norm_err=np.array([anchor.err for _, anchor in kept]) * known,
        norm_snr=np.array([anchor.norm / anchor.err for _, anchor in kept], np.float32),
        slope=np.array([anchor.slope if anchor.slope_fitted else np.nan for _, anchor in kept]),
        norm_window=np.array([anchor.window for _, anchor in kept], np.int8),
        snr=median_snr(flux_all, ivar_all),
        n_valid=np.count_nonzero(ivar_all, axis=1).astype(np.int32),
    )
    return batch, rejected


def to_rest_frame(spectrum: Spectrum) -> tuple[Floats, Floats, Floats]:
    """Return a spectrum's rest-frame wavelength, f_λ and inverse variance.

    λ_rest = λ / (1 + z) and f_λ,rest = (1 + z) f_λ: energy per unit wavelength is conserved.

    Returns
    -------
    wave_rest : (n,) [Å]
    flux : (n,) [erg s⁻¹ cm⁻² Å⁻¹]
    ivar : (n,) [flux⁻²], 0 = masked

    Raises
    ------
    BadSpectrumError
        When the redshift, the wavelengths or every pixel is unusable.
    """
    z, wave = spectrum.z, spectrum.wave
    if not np.isfinite(z) or z <= -1.0:
        raise BadSpectrumError(Reason.NO_REDSHIFT, f"z = {z}")
    if len(wave) < 2 or not np.isfinite(wave).all() or wave[0] <= 0:
        raise BadSpectrumError(Reason.BAD_WAVE, f"{len(wave)} wavelengths, first {wave[:1]} µm")
    backward = np.flatnonzero(np.diff(wave) <= 0)
    if len(backward):
        i = int(backward[0])
        seen = f"pixel {i + 1} at {wave[i + 1]:.6g} µm does not lie redward of {wave[i]:.6g} µm"
        raise BadSpectrumError(Reason.BAD_WAVE, seen)
    valid = np.isfinite(spectrum.flux) & np.isfinite(spectrum.ivar) & (spectrum.ivar > 0)
    if not valid.any():
        raise BadSpectrumError(Reason.NO_VALID_PIXELS, f"0 of {len(wave)} pixels valid")
    factor, power = _f_lambda_factor(spectrum.unit)
    scale = (1.0 + z) * factor * wave**power
    flux, ivar = np.where(valid, spectrum.flux, 0.0), np.where(valid, spectrum.ivar, 0.0)
    return wave * (1e4 / (1.0 + z)), flux * scale, ivar / scale**2


@lru_cache(maxsize=16)
def _f_lambda_factor(unit: str) -> tuple[float, int]:
    """Return (k, p) with f_λ [erg s⁻¹ cm⁻² Å⁻¹] = k λ^p × flux [unit], λ in µm."""
    if not unit:
        return 1.0, 0
    density: Any = units.Unit(unit)
    if density.is_equivalent(F_LAMBDA):
        return float(density.to(F_LAMBDA)), 0
    # f_λ = f_ν c / λ²: one conversion at 1 µm gives the constant.
    return float((1.0 * density).to_value(F_LAMBDA, units.spectral_density(1.0 * units.um))), -2


def find_anchor(wave: Floats, flux: Floats, ivar: Floats, config: NormConfig, sample_slope: float) -> Anchor:
    """Return the flux density at the reference wavelength.

    The first window whose robust ivar-weighted mean is sure gives it; where none is sure, of those that are
    positive beyond their noise the one that errs least. Where that window does not hold the reference, its
    mean is carried there by the slope fitted over all windows that serve.

    Parameters
    ----------
    wave : (n,) [Å, rest]
    flux, ivar : (n,) [any f_λ unit]
    config : NormConfig
    sample_slope : float

    Raises
    ------
    BadSpectrumError
        ``no_normalisation`` when no window serves; says what was seen in the first.
    """
    means = np.array([window_mean(wave, flux, ivar, low, high) for low, high in config.windows])
    value, err, centre, n = means.T
    serves = (n >= config.min_pixels) & (value > config.min_snr * err) & (value > 0)
    if not serves.any():
        seen = f"first window {config.windows[0]} Å: {value[0]:.3g} ± {err[0]:.3g} from {n[0]:.0f} pixels"
        raise BadSpectrumError(Reason.NO_NORMALISATION, seen)
    slope, slope_err = _fit_slope(value[serves], err[serves], centre[serves])
    fitted = slope_err <= config.max_slope_err
    if not fitted:
        slope, slope_err = sample_slope, config.max_slope_err
    holds = np.array([low <= config.reference <= high for low, high in config.windows])
    lever = np.where(holds | ~serves, 0.0, np.log(config.reference / np.where(serves, centre, 1.0)))
    relative = np.hypot(err / np.where(serves, value, np.inf), slope_err * lever)
    sure = serves & (value > config.sure_snr * err)
    window = int(np.argmax(sure) if sure.any() else np.argmin(np.where(serves, relative, np.inf)))
    norm = float(value[window] * np.exp(slope * lever[window]))
    return Anchor(norm, norm * float(relative[window]), slope, fitted, window)


def _fit_slope(value: Floats, err: Floats, centre: Floats) -> tuple[float, float]:
    """Weighted straight line through ln f against ln λ: its slope and 1σ, infinite with one window."""
    if len(value) < 2:
        return 0.0, np.inf
    x, y, weight = np.log(centre), np.log(value), (value / err) ** 2
    dx = x - np.average(x, weights=weight)
    spread = float(np.sum(weight * dx**2))
    if spread <= 0:
        return 0.0, np.inf
    return float(np.sum(weight * dx * y)) / spread, spread**-0.5


def median_slope(spectra: Sequence[Spectrum], config: NormConfig) -> float:
    """Return the median fitted slope of a sample, or the configured one where none can be fitted."""
    slopes: list[float] = []
    for spectrum in spectra:
        try:
            anchor = find_anchor(*to_rest_frame(spectrum), config, config.slope)
        except BadSpectrumError:
            continue
        if anchor.slope_fitted:
            slopes.append(anchor.slope)
    return float(np.median(slopes)) if slopes else config.slope


def median_snr(flux: Floats32, ivar: Floats32) -> Floats32:
    """Return the median signal-to-noise ratio over valid pixels, (N,), from (N, L)."""
    if not len(flux):
        return np.zeros(0, np.float32)
    snr = np.where(ivar > 0, flux * np.sqrt(ivar), np.nan)
    return np.nanmedian(snr, axis=1).astype(np.float32)
