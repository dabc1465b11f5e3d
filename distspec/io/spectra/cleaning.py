"""Conversion of a spectrum as stored to increasing vacuum wavelengths, flux and inverse variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats
from distspec.io.spectra.options import ReadOptions
from distspec.io.spectra.raw import Array, RawSpectra, bad_table, get_card
from distspec.io.spectra.units import parse_flux_unit, wave_to_um

MAX_BACKWARD_FRACTION = 0.05
"""Largest fraction of steps against the direction of the others: the orders of an echelle overlap in few."""
SCATTER_WINDOW = 101
"""Number of pixels from whose scatter a missing error is estimated."""
AIR_NOTE = "wavelengths converted from air to vacuum"
ERROR_NOTE = "errors estimated from the scatter"
UNIT_NOTE = "no unit of flux density: shape only"
"""Notes on what `CleanSpectrum` has in fields of its own as well."""
_SPEED_OF_LIGHT_UM = 2.99792458e14


@dataclass(frozen=True)
class CleanSpectrum:
    """A spectrum that was read from a file.

    Attributes
    ----------
    wave : ndarray of shape (n_pixels,)
        Vacuum wavelength [um], strictly increasing.
    flux, ivar : ndarray of shape (n_pixels,)
        Flux density [unit] and its inverse variance, both 0 where masked.
    unit : str
        Unit in a form that astropy parses; "" if only the shape of the spectrum is known, and ``flux`` is
        then per wavelength.
    z : float
        Redshift, NaN if the file gives none.
    ra, dec : float
        Position [deg], NaN if the file gives none.
    notes : tuple of str
        What was converted, left out or estimated.
    medium : {"air", "vacuum", ""}
        What the file says that its wavelengths are in; "" if it does not say.
    has_errors : bool
        Whether the errors are those of the file, and not estimated.
    """

    wave: Floats
    flux: Floats
    ivar: Floats
    unit: str
    z: float
    ra: float
    dec: float
    notes: tuple[str, ...]
    medium: str
    has_errors: bool

    def describe(self, *metadata: str) -> str:
        """Return the numbers of pixels, the range and the notes as text.

        Parameters
        ----------
        *metadata : str
            Further texts, such as the redshift, before the notes.
        """
        n_valid = int((self.ivar > 0).sum())
        span = f"{self.wave[0]:.4g}–{self.wave[-1]:.4g} um"
        return ", ".join([f"{n_valid} of {len(self.wave)} pixels valid", span, *metadata, *self.notes])


def clean_spectrum(raw: RawSpectra, index: int, options: ReadOptions) -> CleanSpectrum:
    """Convert a spectrum.

    Parameters
    ----------
    raw : RawSpectra
        Spectra as stored.
    index : int
        Number of the spectrum.
    options : ReadOptions
        The user's units and kinds.

    Returns
    -------
    CleanSpectrum

    Raises
    ------
    InvalidSpectrumError
        With one reason, for anything that makes the spectrum unusable.
    """
    notes: list[str] = []
    flux = _to_floats(raw.flux[index], "flux")
    wave = _convert_wave(raw, raw.wave[index if len(raw.wave) > 1 else 0], options, notes)
    if wave.shape != flux.shape:
        raise bad_table(f"{len(wave)} wavelengths for {len(flux)} pixels")
    err = _to_floats(raw.err[index], "error") if raw.err else None
    masked = _find_masked(raw, raw.mask[index]) if raw.mask else np.zeros(len(flux), bool)
    parts = {"error": err, "mask": masked}
    if wrong := {
        name: len(part) for name, part in parts.items() if part is not None and len(part) != len(flux)
    }:
        raise bad_table(f"{wrong} values for {len(flux)} pixels")
    if n_masked := int(np.count_nonzero(masked & np.isfinite(flux))):
        notes.append(f"{n_masked} pixels masked")
    ivar = np.zeros(len(flux)) if err is None else _to_ivar(err, raw.roles.error_kind)
    ivar = np.where(masked | ~np.isfinite(flux) | _find_padding(flux), 0.0, ivar)
    wave, flux, ivar, masked = _sort(wave, np.where(np.isfinite(flux), flux, 0.0), ivar, masked, notes)
    unit = parse_flux_unit(options.units.flux or raw.roles.flux.stated_unit or raw.flux_unit,
                           raw.roles.flux.base_name)  # fmt: skip
    if not unit.name:
        notes.append(UNIT_NOTE)
        if unit.per_frequency:
            flux, ivar = flux / wave**2, ivar * wave**4
            notes.append("flux per frequency converted to per wavelength")
    has_errors = bool((ivar > 0).any())
    if not has_errors:
        ivar = _estimate_ivar(flux, masked, err is not None, options)
        notes.append(ERROR_NOTE)
    valid = ivar > 0
    position = raw.find_position(index)
    return CleanSpectrum(
        wave,
        np.where(valid, flux, 0.0),
        ivar,
        unit.name,
        raw.find_redshift(index, options.columns.z),
        *position,
        tuple(notes),
        {None: "", True: "air", False: "vacuum"}[_is_in_air(raw)],
        has_errors,
    )


def air_to_vacuum(wave: Floats) -> Floats:
    """Convert wavelengths in air to wavelengths in vacuum.

    Parameters
    ----------
    wave : ndarray of shape (n_pixels,)
        Wavelength in air [um]; unchanged below 0.2 um, where wavelengths are given in vacuum.

    Returns
    -------
    ndarray of shape (n_pixels,)
        Wavelength in vacuum [um].

    References
    ----------
    Inverse of Morton 2000, ApJS 130, 403, eq. 8, by N. Piskunov (VALD3).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        s2 = 1.0 / wave**2
        n = 1.0 + 8.336624212083e-5 + 2.408926869968e-2 / (130.1065924522 - s2)
        n = n + 1.599740894897e-4 / (38.92568793293 - s2)
    return np.where(wave > 0.2, wave * n, wave)


def _to_floats(values: Array, name: str) -> Floats:
    if values.dtype.kind not in "iufb":
        raise bad_table(f"{name} of type {values.dtype}")
    return values.astype(np.float64)


def _convert_wave(raw: RawSpectra, stored: Array, options: ReadOptions, notes: list[str]) -> Floats:
    """Return vacuum wavelengths [um]."""
    roles = raw.roles
    column: Any = roles.wave
    values = _to_floats(stored, "wavelength")
    unit = options.units.wave or column.stated_unit
    if roles.wave_scale in {"log10", "ln"}:
        with np.errstate(over="ignore"):
            values = 10.0**values if roles.wave_scale == "log10" else np.exp(values)
        unit = options.units.wave or unit.lower().removeprefix("log10").removeprefix("log").strip("()[] ")
        unit = "" if unit in {"dex", "angstroms", "angstrom"} else unit
    values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    wave, used = wave_to_um(values, unit, roles.wave_scale == "frequency")
    if not unit:
        notes.append(f"wavelengths taken as {used}")
    in_air = _is_in_air(raw)
    if in_air or (in_air is None and options.air):
        notes.append(AIR_NOTE)
        return air_to_vacuum(wave)
    return wave


def _is_in_air(raw: RawSpectra) -> bool | None:
    """Return whether the file says that wavelengths are in air; None if it does not say."""
    if raw.in_air is not None or raw.roles.in_air:
        return raw.in_air or raw.roles.in_air
    for header in raw.headers:
        text = str(get_card(header, "AIRORVAC") or get_card(header, "VACUUM")).strip().upper()
        if text.startswith("AIR") or text in {"FALSE", "F"}:
            return True
        if text.startswith("VAC") or text in {"TRUE", "T"}:
            return False
    return None


def _find_masked(raw: RawSpectra, flags: Array) -> NDArray[np.bool_]:
    """Return the pixels that flags mark as bad."""
    values = np.nan_to_num(flags.astype(np.float64), nan=0.0)
    if raw.roles.mask_is_good:
        return values == 0
    telescope = " ".join(str(get_card(header, "TELESCOP") or "") for header in raw.headers).upper()
    if "JWST" in telescope and flags.dtype.kind in "iu":
        return (flags.astype(np.int64) & 1) > 0  # DO_NOT_USE; the other bits are information
    return values != 0


def _to_ivar(err: Floats, kind: str) -> Floats:
    """Return inverse variances, 0 where the error is not finite and positive."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ivar = err if kind == "ivar" else 1.0 / err if kind == "variance" else 1.0 / err**2
        usable = np.isfinite(err) & (err > 0) & np.isfinite(ivar)
    return np.where(usable, ivar, 0.0)


def _find_padding(flux: Floats) -> NDArray[np.bool_]:
    """Return the zeros at the ends of a spectrum, two or more, which fill an array of fixed length."""
    padding = np.zeros(len(flux), bool)
    nonzero = np.flatnonzero(np.nan_to_num(flux) != 0)
    if len(nonzero):
        first, last = nonzero[0], nonzero[-1]
        padding[: first if first > 1 else 0] = True
        padding[last + 1 if last < len(flux) - 2 else len(flux) :] = True
    return padding & (flux == 0)


def _sort(
    wave: Floats, flux: Floats, ivar: Floats, masked: NDArray[np.bool_], notes: list[str]
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Return the pixels by increasing wavelength, those of equal wavelength as one."""
    known = np.isfinite(wave)
    if n_unknown := int(np.count_nonzero(~known)):
        notes.append(f"{n_unknown} pixels without a wavelength left out")
        wave, flux, ivar, masked = wave[known], flux[known], ivar[known], masked[known]
    if len(wave) < 2:
        raise InvalidSpectrumError(QuarantineReason.BAD_WAVE, f"{len(wave)} finite, positive wavelengths")
    steps = np.diff(wave)
    if np.count_nonzero(steps < 0) > np.count_nonzero(steps > 0):
        wave, flux, ivar, masked, steps = wave[::-1], flux[::-1], ivar[::-1], masked[::-1], -steps[::-1]
        notes.append("descending wavelengths reversed")
    n_backward = int(np.count_nonzero(steps < 0))
    if n_backward > max(1.0, MAX_BACKWARD_FRACTION * len(steps)):
        detail = f"{n_backward} of {len(steps)} steps between wavelengths go backward"
        raise InvalidSpectrumError(QuarantineReason.BAD_WAVE, detail)
    if n_backward:
        order = np.argsort(wave, kind="stable")
        wave, flux, ivar, masked = wave[order], flux[order], ivar[order], masked[order]
        notes.append(f"sorted by wavelength, {n_backward} steps went backward")
    return _merge_duplicates(wave, flux, ivar, masked, notes)


def _merge_duplicates(
    wave: Floats, flux: Floats, ivar: Floats, masked: NDArray[np.bool_], notes: list[str]
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Average pixels of equal wavelength by their inverse variances."""
    unique, which, count = np.unique(wave, return_inverse=True, return_counts=True)
    n_repeated = len(wave) - len(unique)
    if not n_repeated:
        return wave, flux, ivar, masked
    if len(unique) < 2:
        raise InvalidSpectrumError(
            QuarantineReason.BAD_WAVE, f"all {len(wave)} wavelengths are {unique[0]:g} um"
        )
    notes.append(f"{n_repeated} repeated wavelengths averaged")
    weight = np.where(ivar > 0, ivar, np.where(masked, 0.0, 1e-300))
    total = np.bincount(which, weight)
    mean = np.divide(np.bincount(which, weight * flux), total, out=np.zeros(len(unique)), where=total > 0)
    all_masked = np.bincount(which, masked) == count
    return unique, np.asarray(mean, np.float64), np.asarray(np.bincount(which, ivar), np.float64), all_masked


def _estimate_ivar(flux: Floats, masked: NDArray[np.bool_], has_errors: bool, options: ReadOptions) -> Floats:
    """Return inverse variances from the scatter of neighboring pixels.

    The second difference of every other pixel has sqrt(6) times the noise of a pixel, whatever a smooth
    continuum adds (DER_SNR, Stoehr et al. 2008, ASPC 394, 505); its median absolute value in a running window
    is the estimate.
    """
    problem = "no error is finite and positive" if has_errors else "no column of errors"
    if not options.estimate_errors:
        raise InvalidSpectrumError(
            QuarantineReason.NO_VALID_PIXELS,
            f"{problem}, and missing errors are not to be estimated",
        )
    good = np.flatnonzero(~masked & (flux != 0))
    ivar = np.zeros(len(flux))
    if len(good) < 8:
        raise InvalidSpectrumError(
            QuarantineReason.NO_VALID_PIXELS, f"{problem}, {len(good)} pixels with a flux"
        )
    values = flux[good]
    difference = np.abs(2.0 * values[2:-2] - values[:-4] - values[4:])
    running = median_filter(difference, min(SCATTER_WINDOW, len(difference)), mode="nearest")
    scatter = np.pad(running, 2, mode="edge") * 1.482602 / np.sqrt(6.0)
    floor = 1e-4 * np.median(np.abs(values))  # a spectrum without noise, as of a model
    ivar[good] = np.maximum(scatter, max(floor, 1e-300)) ** -2.0
    return np.where(np.isfinite(ivar), ivar, 0.0)
