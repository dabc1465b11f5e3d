"""Noise-free galaxies as the NIRSpec prism observes them, with known continuum slopes and lines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtr

from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import WavelengthGrid
from distspec.measurements.indices import GriddedSpectra

GRID = WavelengthGrid("log", 1100.0, 8400.0, 640)
WAVE = GRID.wave_rest
LIMIT = 3646.0


def place(wave, z):
    """Return the detector position of rest wavelengths [FWHM]."""
    return np.interp(np.log(1e-4 * wave * (1.0 + z)), NIRSPEC_PRISM.log_wave, NIRSPEC_PRISM.detector_position)


def line(wave, z, km_s=0.0):
    """Return the profile of a line on the grid [1/Å], broadened by the prism and its own FWHM."""
    at = np.log(1e-4 * wave * (1.0 + z))
    step = np.diff(np.interp([at, at + 1e-3], NIRSPEC_PRISM.log_wave, NIRSPEC_PRISM.detector_position))[0]
    fwhm = np.hypot(1.0, km_s / 299792.458 * step / 1e-3)
    sigma = np.sqrt(fwhm**2 / (8.0 * np.log(2.0)) + 1.0 / (6.0 * NIRSPEC_PRISM.pixels_per_fwhm**2))
    share = np.diff(ndtr((place(GRID.edges, z) - place(wave, z)) / sigma))
    return share / np.diff(GRID.edges)


def continuum(beta_uv=-2.0, beta_opt=-2.0, jump=1.0, z=6.0):
    """Return two power laws with a jump at the Balmer limit, and no flux below Lyα."""
    below, above = (WAVE / LIMIT) ** beta_uv, jump * (WAVE / LIMIT) ** beta_opt
    level = np.where(WAVE < LIMIT, below, above)
    return level * ndtr((place(WAVE, z) - place(GALAXY_LINES["Lyα"], z)) * 2.35)


def galaxy(lines: Mapping[str, float], beta_uv=-2.0, beta_opt=-2.0, jump=1.0, z=6.0, km_s=0.0) -> np.ndarray:
    """Return a continuum with lines of rest equivalent widths [Å]; `km_s` is the FWHM of the Balmer lines."""
    level = continuum(beta_uv, beta_opt, jump, z)
    flux = level.copy()
    for name, ew in lines.items():
        wave = GALAXY_LINES[name]
        under = np.interp(wave * (1.03 if name == "Lyα" else 1.0), WAVE, level)
        flux += ew * under * line(wave, z, km_s if name.startswith("H") else 0.0)
    return flux


def spectra(flux, snr=30.0, z=6.0) -> GriddedSpectra:
    """Return spectra whose median flux has the signal-to-noise ratio `snr` in each pixel."""
    flux = np.atleast_2d(flux)
    ivar = np.broadcast_to((snr / np.median(np.abs(flux), axis=1, keepdims=True)) ** 2, flux.shape)
    return GriddedSpectra(
        flux.astype(np.float32), ivar.astype(np.float32), np.full(len(flux), float(z)), GRID
    )


def noisy(spectra: GriddedSpectra, seed=0) -> GriddedSpectra:
    """Return the spectra with independent noise in each grid pixel."""
    noise = np.random.default_rng(seed).standard_normal(spectra.flux.shape) / np.sqrt(spectra.ivar)
    return spectra._replace(flux=(spectra.flux + noise).astype(np.float32))
