"""Convert batches of observed spectra to normalized spectra on one rest-frame grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from astropy import units
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats, Spectrum, SpectrumBatch, WavelengthGrid, compute_row_checksums
from distspec.preprocessing.normalization import NormConfig, estimate_norms, no_normalization_error
from distspec.preprocessing.resampling import divide_by_norm, median_snr, resample_batch

F_LAMBDA_UNIT = units.Unit("erg s-1 cm-2 AA-1")


@dataclass(frozen=True)
class RestFrameSpectra:
    """Spectra in their rest frames, concatenated.

    Attributes
    ----------
    wave : ndarray of shape (n_total_pixels,)
        Rest-frame wavelength [Angstrom].
    flux : ndarray of shape (n_total_pixels,)
        Rest-frame flux density [erg s-1 cm-2 Angstrom-1]; 0 where masked.
    ivar : ndarray of shape (n_total_pixels,)
        Inverse variance of the flux density; 0 where masked.
    offsets : ndarray of int, shape (n_usable + 1,)
        Spectrum k is pixels ``offsets[k]:offsets[k + 1]``.
    index : list of int
        Positions of the usable spectra in the input.
    errors : dict of int to InvalidSpectrumError
        Why the other spectra are unusable, by their position in the input.
    """

    wave: Floats
    flux: Floats
    ivar: Floats
    offsets: NDArray[np.int64]
    index: list[int]
    errors: dict[int, InvalidSpectrumError]

    def get_spectrum(self, position: int) -> tuple[Floats, Floats, Floats]:
        """Return wavelength, flux and inverse variance of one usable spectrum.

        Parameters
        ----------
        position : int
            Position of the spectrum among the usable ones.

        Returns
        -------
        wave, flux, ivar : ndarray of shape (n_pixels,)
            Rest-frame wavelength [Angstrom], flux density, and its inverse variance.
        """
        own = slice(self.offsets[position], self.offsets[position + 1])
        return self.wave[own], self.flux[own], self.ivar[own]


def preprocess(
    spectra: Sequence[Spectrum], grid: WavelengthGrid, config: NormConfig, default_slope: float
) -> tuple[SpectrumBatch, list[tuple[int, InvalidSpectrumError]]]:
    """Shift spectra to the rest frame, resample them and normalize them at the reference wavelength.

    The result for a spectrum depends on that spectrum alone, not on the others or their order.

    Parameters
    ----------
    spectra : sequence of Spectrum
        Observed spectra.
    grid : WavelengthGrid
        Rest-frame grid.
    config : NormConfig
        Windows and limits of the normalization.
    default_slope : float
        Continuum slope for spectra without a reliable fitted slope.

    Returns
    -------
    batch : SpectrumBatch
        The usable spectra, in input order.
    rejected : list of (int, InvalidSpectrumError)
        Position in the input and reason of every other spectrum, in input order.
    """
    rest = to_rest_frame_batch(spectra)
    index, errors = rest.index, dict(rest.errors)
    pixels = rest.wave, rest.flux, rest.ivar, rest.offsets
    # np.array copies: numba would compile the function once more for a read-only array.
    on_grid, ivar_on_grid = resample_batch(*pixels, np.array(grid.edges))
    estimates = estimate_norms(*pixels, config, default_slope)
    flux, ivar, n_covered, n_valid = divide_by_norm(on_grid, ivar_on_grid, estimates.norm)
    for k in np.flatnonzero(n_valid == 0).tolist():
        errors[index[k]] = _grid_error(rest.get_spectrum(k), estimates.norm[k], n_covered[k], grid, config)
    good = np.flatnonzero(n_valid)
    if len(good) < len(index):
        flux, ivar = flux[good], ivar[good]
    kept, norm, norm_err = [spectra[index[k]] for k in good], estimates.norm[good], estimates.norm_err[good]
    # Without a unit, the shape of a spectrum is known but its brightness is not.
    known = np.array([1.0 if spectrum.unit else np.nan for spectrum in kept])
    batch = SpectrumBatch(
        object_id=[spectrum.object_id for spectrum in kept],
        flux=flux,
        ivar=ivar,
        norm=norm * known,
        norm_err=norm_err * known,
        # Bounded, because float32 overflows at 3e38.
        norm_snr=(norm / np.maximum(norm_err, 1e-30 * norm)).astype(np.float32),
        slope=np.where(estimates.slope_fitted, estimates.slope, np.nan)[good],
        norm_window=estimates.window_index[good],
        snr=median_snr(flux, ivar),
        n_valid=n_valid[good],
        ra=_stack_attribute(kept, "ra"),
        dec=_stack_attribute(kept, "dec"),
        z=_stack_attribute(kept, "z"),
        checksum=compute_row_checksums(flux, ivar),
    )
    return batch, sorted(errors.items())


def median_continuum_slope(spectra: Sequence[Spectrum], config: NormConfig) -> float:
    """Return the median fitted continuum slope of a sample.

    Parameters
    ----------
    spectra : sequence of Spectrum
        Observed spectra; unusable ones are ignored.
    config : NormConfig
        Windows and limits of the normalization.

    Returns
    -------
    float
        Slope beta of f_lambda ~ lambda^beta; ``config.fallback_slope`` if none can be fitted.
    """
    rest = to_rest_frame_batch(spectra)
    estimates = estimate_norms(rest.wave, rest.flux, rest.ivar, rest.offsets, config, config.fallback_slope)
    slopes = estimates.slope[estimates.slope_fitted & (estimates.window_index >= 0)]
    return float(np.median(slopes)) if len(slopes) else config.fallback_slope


def to_rest_frame_batch(spectra: Sequence[Spectrum]) -> RestFrameSpectra:
    """Shift spectra to their rest frames and convert their fluxes to f_lambda.

    The rest wavelength is ``wave / (1 + z)`` and the rest-frame flux density ``(1 + z) * f_lambda``, so the
    energy in a wavelength interval is conserved.

    Parameters
    ----------
    spectra : sequence of Spectrum
        Observed spectra. One is unusable if its redshift, unit or wavelengths are invalid or no pixel is
        valid.

    Returns
    -------
    RestFrameSpectra
    """
    index: list[int] = []
    factors: list[tuple[float, int]] = []
    errors: dict[int, InvalidSpectrumError] = {}
    for i, spectrum in enumerate(spectra):
        try:
            _check_spectrum(spectrum)
            factors.append(_f_lambda_factor(spectrum.unit))
            index.append(i)
        except InvalidSpectrumError as error:
            errors[i] = error
    candidates = [spectra[i] for i in index]
    offsets = np.cumsum([0, *(len(spectrum.wave) for spectrum in candidates)])
    wave, flux, ivar = (
        np.concatenate([np.zeros(0), *(getattr(spectrum, name) for spectrum in candidates)], dtype=np.float64)
        for name in ("wave", "flux", "ivar")
    )
    scales = np.array(factors, np.float64).reshape(-1, 2)
    offsets, usable = _to_rest_frame_inplace(
        wave, flux, ivar, offsets, _stack_attribute(candidates, "z"), scales
    )
    for k in np.flatnonzero(~usable):
        errors[index[k]] = _rest_frame_error(candidates[k])
    used = slice(offsets[-1])
    usable_index = [index[k] for k in np.flatnonzero(usable)]
    return RestFrameSpectra(wave[used], flux[used], ivar[used], offsets, usable_index, errors)


@njit_nogil
def _to_rest_frame_inplace(
    wave: Floats, flux: Floats, ivar: Floats, offsets: NDArray[np.int64], z: Floats, scales: Floats
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Overwrite the arrays with the usable spectra in their rest frames; return offsets and a usable flag."""
    usable, ends, n_kept = np.zeros(len(z), np.bool_), np.zeros(len(z) + 1, np.int64), 0
    for k in range(len(z)):
        factor, power = scales[k]
        to, last, increasing, n_valid = ends[n_kept], 0.0, True, 0
        for i in range(offsets[k], offsets[k + 1]):
            here = wave[i]
            to_rest = (1.0 + z[k]) * factor / (here * here if power == -2.0 else 1.0)
            rest_wave, rest_flux = here * (1e4 / (1.0 + z[k])), flux[i] * to_rest
            rest_ivar = ivar[i] / to_rest**2
            # Values that are not finite fail these comparisons.
            increasing &= last < here and 0.0 < rest_wave < np.inf
            valid = 0.0 < ivar[i] < np.inf and 0.0 < rest_ivar < np.inf and -np.inf < rest_flux < np.inf
            n_valid += valid
            wave[to], last = rest_wave, here
            flux[to], ivar[to] = (rest_flux, rest_ivar) if valid else (0.0, 0.0)
            to += 1
        usable[k] = increasing and n_valid > 0 and offsets[k + 1] - offsets[k] > 1
        if usable[k]:
            n_kept += 1
            ends[n_kept] = to
    return ends[: n_kept + 1], usable


def _stack_attribute(spectra: Sequence[Spectrum], attribute: str) -> Floats:
    return np.array([getattr(spectrum, attribute) for spectrum in spectra], np.float64)


def _check_spectrum(spectrum: Spectrum) -> None:
    """Raise InvalidSpectrumError if a spectrum cannot be concatenated with others."""
    if not -1.0 < spectrum.z < np.inf:
        raise InvalidSpectrumError(QuarantineReason.NO_REDSHIFT, f"z = {spectrum.z}")
    shapes = spectrum.wave.shape, spectrum.flux.shape, spectrum.ivar.shape
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, "wave, flux and ivar of shapes {}, {}, {}".format(*shapes)
        )


def _rest_frame_error(spectrum: Spectrum) -> InvalidSpectrumError:
    """Return the error for a spectrum without a usable rest frame."""
    wave = spectrum.wave
    n_bad = len(wave) - np.count_nonzero(np.isfinite(wave) & (wave > 0))
    if len(wave) < 2 or n_bad:
        detail = f"{len(wave)} wavelengths, {n_bad} of them not finite and positive, first {wave[:1]} µm"
        return InvalidSpectrumError(QuarantineReason.BAD_WAVE, detail)
    if (wave[1:] <= wave[:-1]).any():
        i = int(np.argmax(wave[1:] <= wave[:-1]))
        detail = f"pixel {i + 1} at {wave[i + 1]:.6g} µm does not lie redward of {wave[i]:.6g} µm"
        return InvalidSpectrumError(QuarantineReason.BAD_WAVE, detail)
    return InvalidSpectrumError(QuarantineReason.NO_VALID_PIXELS, f"0 of {len(wave)} pixels valid")


def _grid_error(
    rest: tuple[Floats, Floats, Floats], norm: float, n_covered: int, grid: WavelengthGrid, config: NormConfig
) -> InvalidSpectrumError:
    """Return the error for a spectrum that leaves no valid pixel on the grid."""
    wave = rest[0]
    if not n_covered:
        detail = f"{wave[0]:.0f}–{wave[-1]:.0f} Å (rest) against {grid.start:.0f}–{grid.stop:.0f} Å"
        return InvalidSpectrumError(QuarantineReason.NO_OVERLAP, detail)
    if np.isnan(norm):
        return no_normalization_error(*rest, config)
    detail = f"none of {n_covered} pixels has a flux and an error in the range of float32, norm {norm:.3g}"
    return InvalidSpectrumError(QuarantineReason.NO_VALID_PIXELS, detail)


@lru_cache(maxsize=64)
def _f_lambda_factor(unit: str) -> tuple[float, int]:
    """Return (k, p) of f_λ [erg s-1 cm-2 Angstrom-1] = k λ^p × flux [unit], with λ in µm."""
    if not unit:
        return 1.0, 0
    try:
        density: Any = units.Unit(unit)
        if density.is_equivalent(F_LAMBDA_UNIT):
            return float(density.to(F_LAMBDA_UNIT)), 0
        # f_λ = f_ν c / λ²: one conversion at 1 µm gives the constant.
        return float((1.0 * density).to_value(F_LAMBDA_UNIT, units.spectral_density(1.0 * units.um))), -2
    except (ValueError, TypeError) as error:  # UnitConversionError is a TypeError
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"{unit!r} is not a unit of flux density"
        ) from error
