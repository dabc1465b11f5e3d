"""DESI's three cameras: reading each, and joining them to one spectrum.

All three are extracted on one grid of 0.8 Å (Guy et al. 2023, AJ 165, 144), so where two overlap their
pixels are of the same wavelengths and nothing has to be resampled: the ivar-weighted mean is the best
estimate, and its inverse variance is their sum.
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
"""How far a pixel may lie from the common grid [pixels]."""


@dataclass(frozen=True, slots=True)
class CameraSpectra:
    """What one camera saw of all targets.

    Attributes
    ----------
    wave : (n,) [Å]
    flux, ivar : (targets, n) [`FLUX_UNIT`, its inverse square]
        As the file holds them.
    mask : (targets, n) or None
        Not 0 where a pixel must not be used.
    """

    wave: Floats
    flux: Any
    ivar: Any
    mask: Any


def read_camera(content: bytes, name: str) -> CameraSpectra | None:
    """Return camera B, R or Z of a coadd; None where the file has none of its images.

    Raises
    ------
    BadSpectrumError
        ``bad_table`` where some of its images are missing or are of other shapes or units.
    """
    wave = _read_optional_image(content, f"{name}_WAVELENGTH", "AA")
    flux, ivar = (
        _read_optional_image(content, f"{name}_FLUX", FLUX_UNIT),
        _read_optional_image(content, f"{name}_IVAR", IVAR_UNIT),
    )
    mask = _read_optional_image(content, f"{name}_MASK")
    if wave is None and flux is None and ivar is None:
        return None
    if wave is None or flux is None or ivar is None or wave.ndim != 1 or len(wave) < 2:
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"camera {name} without wavelength, flux or ivar"
        )
    if (
        flux.ndim != 2
        or flux.shape[1] != len(wave)
        or not flux.shape == ivar.shape == _mask_shape(mask, flux)
    ):
        shapes = [image.shape for image in (wave, flux, ivar, mask) if image is not None]
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"camera {name}: images of shapes {shapes}")
    return CameraSpectra(wave.astype(np.float64), flux, ivar, mask)


def coadd_cameras(cameras: Sequence[CameraSpectra], target_index: int) -> tuple[Floats, Floats, Floats]:
    """Return one target's spectrum on the grid that the cameras share.

    Where no camera saw anything, as between B and Z when R is missing, pixels have ivar 0.

    Parameters
    ----------
    cameras : (1–3,) sequence of Camera
    target_index : int
        The target's.

    Returns
    -------
    wave : (L,) [µm]
    flux, ivar : (L,) [`FLUX_UNIT`, its inverse square]

    Raises
    ------
    BadSpectrumError
        ``bad_wave`` where the cameras' pixels are not of one grid, or of no wavelengths that they see.
    """
    for camera in cameras:
        check_wave(camera.wave * 1e-4)
    start = min(float(camera.wave[0]) for camera in cameras)
    step = float(np.median(np.diff(cameras[0].wave)))
    places = [_match_grid_pixels(camera.wave, start, step) for camera in cameras]
    n = max(int(place.max()) for place in places) + 1
    weighted, ivar = np.zeros(n), np.zeros(n)
    for camera, place in zip(cameras, places, strict=True):
        seen, weight = (
            camera.flux[target_index].astype(np.float64),
            camera.ivar[target_index].astype(np.float64),
        )
        good = np.isfinite(seen) & np.isfinite(weight) & (weight > 0)
        if camera.mask is not None:
            good &= camera.mask[target_index] == 0
        weight[~good] = 0.0
        weighted[place] += weight * np.where(good, seen, 0.0)
        ivar[place] += weight
    wave = (start + step * np.arange(n, dtype=np.float64)) * 1e-4
    flux: Floats = weighted / np.where(ivar > 0, ivar, 1.0)
    return wave, flux, ivar


def _match_grid_pixels(wave: Floats, start: float, step: float) -> Any:
    """Return which pixel of the common grid each one is, (n,)."""
    place = (wave - start) / step if step > 0 else np.full(len(wave), np.nan)
    pixel = np.rint(place)
    if not (np.abs(place - pixel) < GRID_TOLERANCE).all() or not (np.diff(pixel) == 1).all():
        seen = f"{wave[0]:g}–{wave[-1]:g} Å are not pixels of a grid of {step:g} Å from {start:g} Å"
        raise InvalidSpectrumError(QuarantineReason.BAD_WAVE, seen)
    return pixel.astype(np.int64)


def _read_optional_image(content: bytes, name: str, unit: str = "") -> Any:
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
