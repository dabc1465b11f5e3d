"""From observed spectra to one rest-frame grid: pure functions over batches, and why a spectrum fails."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from astropy import units
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats, Spectrum, SpectrumBatch, WavelengthGrid, compute_row_checksums
from distspec.preprocessing.normalization import NormConfig, estimate_norms, no_normalization_error
from distspec.preprocessing.resampling import divide_by_norm, median_snr, resample_batch

F_LAMBDA_UNIT = units.Unit("erg s-1 cm-2 AA-1")


class RestFrameSpectra(NamedTuple):
    """Spectra end to end, (M,) as from `to_rest_frame`: k is pixels ``offsets[k]:offsets[k + 1]``."""

    wave: Floats
    flux: Floats
    ivar: Floats
    offsets: NDArray[np.int64]

    def get_spectrum(self, index: int) -> tuple[Floats, Floats, Floats]:
        """Return wave, flux and ivar of one spectrum, (n,) each."""
        own = slice(self.offsets[index], self.offsets[index + 1])
        return self.wave[own], self.flux[own], self.ivar[own]


def preprocess(
    spectra: Sequence[Spectrum], grid: WavelengthGrid, config: NormConfig, default_slope: float
) -> tuple[SpectrumBatch, list[tuple[int, InvalidSpectrumError]]]:
    """Bring spectra to the rest frame, onto the grid, and to 1 at the reference wavelength.

    A spectrum's row depends on nothing but that spectrum: neither on the others nor on their order.

    Parameters
    ----------
    spectra : (N,) sequence of Spectrum
    grid : WaveGrid
    config : NormConfig
    default_slope : float
        Slope used where a spectrum's own cannot be had.

    Returns
    -------
    batch : SpectrumBatch
        The spectra that passed, in the order given.
    rejected : list of (index, BadSpectrumError)
        The others, in the order given: together with the batch, every spectrum once.
    """
    rest, index, errors = to_rest_frame_batch(spectra)
    # A copy: a read-only array would be compiled for anew.
    on_grid, ivar_on_grid = resample_batch(*rest, np.array(grid.edges))
    anchors = estimate_norms(*rest, config, default_slope)
    flux, ivar, n_covered, n_valid = divide_by_norm(on_grid, ivar_on_grid, anchors.norm)
    for k in np.flatnonzero(n_valid == 0).tolist():
        errors[index[k]] = _grid_error(rest.get_spectrum(k), anchors.norm[k], n_covered[k], grid, config)
    good = np.flatnonzero(n_valid)
    if len(good) < len(index):
        flux, ivar = flux[good], ivar[good]
    kept, norm, norm_err = [spectra[index[k]] for k in good], anchors.norm[good], anchors.norm_err[good]
    # Without a unit the shape of a spectrum is known, its brightness is not.
    known = np.array([1.0 if spectrum.unit else np.nan for spectrum in kept])
    batch = SpectrumBatch(
        object_id=[spectrum.object_id for spectrum in kept],
        flux=flux,
        ivar=ivar,
        norm=norm * known,
        norm_err=norm_err * known,
        # Bounded: float32 ends at 1e38.
        norm_snr=(norm / np.maximum(norm_err, 1e-30 * norm)).astype(np.float32),
        slope=np.where(anchors.slope_fitted, anchors.slope, np.nan)[good],
        norm_window=anchors.window_index[good],
        snr=median_snr(flux, ivar),
        n_valid=n_valid[good],
        ra=_stack_attribute(kept, "ra"),
        dec=_stack_attribute(kept, "dec"),
        z=_stack_attribute(kept, "z"),
        checksum=compute_row_checksums(flux, ivar),
    )
    return batch, sorted(errors.items())


def median_continuum_slope(spectra: Sequence[Spectrum], config: NormConfig) -> float:
    """Return the median fitted slope of a sample, or the configured one where none can be fitted."""
    rest, _, _ = to_rest_frame_batch(spectra)
    anchors = estimate_norms(*rest, config, config.fallback_slope)
    slopes = anchors.slope[anchors.slope_fitted & (anchors.window_index >= 0)]
    return float(np.median(slopes)) if len(slopes) else config.fallback_slope


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
        When the redshift, the unit, the wavelengths or every pixel is unusable.
    """
    rest, _, errors = to_rest_frame_batch([spectrum])
    if errors:
        raise errors[0]
    return rest.get_spectrum(0)


def to_rest_frame_batch(
    spectra: Sequence[Spectrum],
) -> tuple[RestFrameSpectra, list[int], dict[int, InvalidSpectrumError]]:
    """Return what `to_rest_frame` returns and raises for each of many spectra.

    Returns
    -------
    rest : RestFrame
        Of the usable ones.
    index : list of int
        Which of `spectra` they are.
    errors : dict of index to BadSpectrumError
        Of the others.
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
    whole = [spectra[i] for i in index]
    offsets = np.cumsum([0, *(len(spectrum.wave) for spectrum in whole)])
    wave, flux, ivar = (
        np.concatenate([np.zeros(0), *(getattr(spectrum, name) for spectrum in whole)], dtype=np.float64)
        for name in ("wave", "flux", "ivar")
    )
    scales = np.array(factors, np.float64).reshape(-1, 2)
    offsets, usable = _to_rest_frame_inplace(wave, flux, ivar, offsets, _stack_attribute(whole, "z"), scales)
    for k in np.flatnonzero(~usable):
        errors[index[k]] = _rest_frame_error(whole[k])
    used = slice(offsets[-1])
    rest = RestFrameSpectra(wave[used], flux[used], ivar[used], offsets)
    return rest, [index[k] for k in np.flatnonzero(usable)], errors


@njit_nogil
def _to_rest_frame_inplace(
    wave: Floats, flux: Floats, ivar: Floats, offsets: NDArray[np.int64], z: Floats, scales: Floats
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Overwrite spectra with their rest frames, without those that are unusable: new offsets, who is."""
    usable, ends, n_kept = np.zeros(len(z), np.bool_), np.zeros(len(z) + 1, np.int64), 0
    for k in range(len(z)):
        factor, power = scales[k]
        to, last, increasing, n_valid = ends[n_kept], 0.0, True, 0
        for i in range(offsets[k], offsets[k + 1]):
            here = wave[i]
            to_rest = (1.0 + z[k]) * factor / (here * here if power == -2.0 else 1.0)
            rest_wave, rest_flux = here * (1e4 / (1.0 + z[k])), flux[i] * to_rest
            rest_ivar = ivar[i] / to_rest**2
            # Whatever is not finite fails all comparisons.
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
    """Refuse what could not stand in a batch without harm to the others."""
    if not -1.0 < spectrum.z < np.inf:
        raise InvalidSpectrumError(QuarantineReason.NO_REDSHIFT, f"z = {spectrum.z}")
    shapes = spectrum.wave.shape, spectrum.flux.shape, spectrum.ivar.shape
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, "wave, flux and ivar of shapes {}, {}, {}".format(*shapes)
        )


def _rest_frame_error(spectrum: Spectrum) -> InvalidSpectrumError:
    """Return what to say of a spectrum that has no rest frame."""
    wave = spectrum.wave
    n_bad = len(wave) - np.count_nonzero(np.isfinite(wave) & (wave > 0))
    if len(wave) < 2 or n_bad:
        seen = f"{len(wave)} wavelengths, {n_bad} of them not finite and positive, first {wave[:1]} µm"
        return InvalidSpectrumError(QuarantineReason.BAD_WAVE, seen)
    if (wave[1:] <= wave[:-1]).any():
        i = int(np.argmax(wave[1:] <= wave[:-1]))
        seen = f"pixel {i + 1} at {wave[i + 1]:.6g} µm does not lie redward of {wave[i]:.6g} µm"
        return InvalidSpectrumError(QuarantineReason.BAD_WAVE, seen)
    return InvalidSpectrumError(QuarantineReason.NO_VALID_PIXELS, f"0 of {len(wave)} pixels valid")


def _grid_error(
    rest: tuple[Floats, Floats, Floats], norm: float, n_covered: int, grid: WavelengthGrid, config: NormConfig
) -> InvalidSpectrumError:
    """Return what to say of a spectrum that has a rest frame and no row."""
    wave = rest[0]
    if not n_covered:
        seen = f"{wave[0]:.0f}–{wave[-1]:.0f} Å (rest) against {grid.start:.0f}–{grid.stop:.0f} Å"
        return InvalidSpectrumError(QuarantineReason.NO_OVERLAP, seen)
    if np.isnan(norm):
        return no_normalization_error(*rest, config)
    seen = f"none of {n_covered} pixels has a flux and an error that numbers can hold, norm {norm:.3g}"
    return InvalidSpectrumError(QuarantineReason.NO_VALID_PIXELS, seen)


@lru_cache(maxsize=64)
def _f_lambda_factor(unit: str) -> tuple[float, int]:
    """Return (k, p) with f_λ [erg s⁻¹ cm⁻² Å⁻¹] = k λ^p × flux [unit], λ in µm."""
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
            QuarantineReason.BAD_TABLE, f"{unit!r} is no unit of a flux density"
        ) from error
