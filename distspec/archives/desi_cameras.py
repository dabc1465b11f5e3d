"""Reading DESI's three cameras and coadding them to one spectrum.

All cameras are extracted on one grid of 0.8 Å (Guy et al. 2023, AJ 165, 144). Overlapping cameras therefore
share wavelengths and need no resampling: their flux is the inverse-variance weighted mean, and the inverse
variances add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distspec.archives.multifiber import FLUX_UNIT, check_unit, check_wave
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats
from distspec.io.fits.reading import read_fits_image

IVAR_UNIT = "1e34 s2 cm4 AA2 / erg2"
GRID_TOLERANCE = 0.02
"""Largest distance of a pixel from the common grid [pixels]."""


@dataclass(frozen=True, slots=True)
class CameraSpectra:
    """Spectra of all targets of a coadd from one camera.

    Attributes
    ----------
    wave : ndarray of shape (n_pixels,)
        Wavelength [Angstrom].
    flux : ndarray of shape (n_targets, n_pixels)
        Flux density, in `FLUX_UNIT`.
    ivar : ndarray of shape (n_targets, n_pixels)
        Inverse variance.
    mask : ndarray of shape (n_targets, n_pixels) or None
        Nonzero where a pixel must not be used.
    """

    wave: Floats
    flux: Any
    ivar: Any
    mask: Any


def read_camera(content: bytes, name: str) -> CameraSpectra | None:
    """Read one camera of a coadd.

    Parameters
    ----------
    content : bytes
        The file.
    name : {"B", "R", "Z"}
        Name of the camera.

    Returns
    -------
    CameraSpectra or None
        None if the file has no image of this camera.

    Raises
    ------
    InvalidSpectrumError
        With reason ``bad_table`` if some of its images are missing or have wrong shapes or units.
    """
    wave = _read_optional_image(content, f"{name}_WAVELENGTH", "AA")
    flux, ivar = (
        _read_optional_image(content, f"{name}_FLUX", FLUX_UNIT),
        _read_optional_image(content, f"{name}_IVAR", IVAR_UNIT),
    )
    mask = _read_optional_image(content, f"{name}_MASK")
    if wave is None and flux is None and ivar is None:
        return None
    if wave is None or flux is None or ivar is None:
        images = {"wavelength": wave, "flux": flux, "ivar": ivar}
        missing = " and ".join(key for key, image in images.items() if image is None)
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"camera {name} lacks {missing}")
    if (
        wave.ndim != 1
        or len(wave) < 2
        or flux.ndim != 2
        or flux.shape[1] != len(wave)
        or not flux.shape == ivar.shape == _mask_shape(mask, flux)
    ):
        shapes = [image.shape for image in (wave, flux, ivar, mask) if image is not None]
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"camera {name}: images of shapes {shapes}")
    return CameraSpectra(wave.astype(np.float64), flux, ivar, mask)


def coadd_cameras(cameras: Sequence[CameraSpectra], target_index: int) -> tuple[Floats, Floats, Floats]:
    """Coadd the cameras' spectra of one target on their common grid.

    Parameters
    ----------
    cameras : sequence of CameraSpectra
        One to three cameras.
    target_index : int
        Row of the target.

    Returns
    -------
    wave : ndarray of shape (n_pixels,)
        Wavelength [um].
    flux : ndarray of shape (n_pixels,)
        Flux density, in `FLUX_UNIT`.
    ivar : ndarray of shape (n_pixels,)
        Inverse variance; 0 where no camera has data, as between B and Z if R is missing.

    Raises
    ------
    InvalidSpectrumError
        With reason ``bad_wave`` if the cameras do not share one grid or their wavelengths are out of range.
    """
    for camera in cameras:
        check_wave(camera.wave * 1e-4)
    start = min(float(camera.wave[0]) for camera in cameras)
    step = float(np.median(np.diff(cameras[0].wave)))
    pixels = [_match_grid_pixels(camera.wave, start, step) for camera in cameras]
    n = max(int(pixel.max()) for pixel in pixels) + 1
    weighted_flux, ivar = np.zeros(n), np.zeros(n)
    for camera, pixel in zip(cameras, pixels, strict=True):
        flux_of_target, weight = (
            camera.flux[target_index].astype(np.float64),
            camera.ivar[target_index].astype(np.float64),
        )
        good = np.isfinite(flux_of_target) & np.isfinite(weight) & (weight > 0)
        if camera.mask is not None:
            good &= camera.mask[target_index] == 0
        weight[~good] = 0.0
        weighted_flux[pixel] += weight * np.where(good, flux_of_target, 0.0)
        ivar[pixel] += weight
    wave = (start + step * np.arange(n, dtype=np.float64)) * 1e-4
    flux: Floats = weighted_flux / np.where(ivar > 0, ivar, 1.0)
    return wave, flux, ivar


def _match_grid_pixels(wave: Floats, start: float, step: float) -> Any:
    """Return the index on the common grid of every pixel."""
    position = (wave - start) / step if step > 0 else np.full(len(wave), np.nan)
    pixel = np.rint(position)
    if not (np.abs(position - pixel) < GRID_TOLERANCE).all() or not (np.diff(pixel) == 1).all():
        detail = f"{wave[0]:g}–{wave[-1]:g} Å do not lie on a grid of {step:g} Å from {start:g} Å"
        raise InvalidSpectrumError(QuarantineReason.BAD_WAVE, detail)
    return pixel.astype(np.int64)


def _read_optional_image(content: bytes, name: str, unit: str = "") -> Any:
    """Return an image, None if the file does not contain it."""
    try:
        image, header = read_fits_image(content, name)
    except InvalidSpectrumError as error:
        if error.reason is not QuarantineReason.BAD_TABLE:
            raise
        return None
    if unit:
        check_unit(str(header.get("BUNIT") or ""), unit)
    return image


def _mask_shape(mask: Any, flux: Any) -> tuple[int, ...]:
    return flux.shape if mask is None else mask.shape
