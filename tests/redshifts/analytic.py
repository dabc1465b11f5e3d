"""Analytic emission-line galaxies, their observed spectra, and the estimator that knows them."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Spectrum
from distspec.redshifts import RedshiftConfig, RedshiftEstimator
from distspec.redshifts.templates import fit_mixture

LOG_WAVE = np.linspace(np.log(1500.0), np.log(8000.0), 300)
"""Rest wavelengths [ln Å]."""
PIXELS_PER_E = 1.0 / (LOG_WAVE[1] - LOG_WAVE[0])
RESOLVING_POWER = ((0.5, 50.0), (6.0, 50.0))
WAVE = np.geomspace(0.7, 3.0, 160)
"""Observed pixels [µm], 2.2 for the instrument's FWHM."""
UNIT = "erg s-1 cm-2 AA-1"
CONFIG = RedshiftConfig(z_min=0.0, z_max=4.0, n_groups=2, n_axes=5, n_coarse_axes=5, n_proposals=4)
LINES = [GALAXY_LINES[name] for name in ("[O II]", "Hβ", "[O III] 5007", "Hα")]


def draw_galaxies(n: int, seed: int) -> Floats:
    """Return power laws with lines of 60 Å or so on the rest wavelengths, (n, n_pixels)."""
    rng = np.random.default_rng(seed)
    slope, widths = rng.normal(-1.5, 0.4, (n, 1)), 60.0 * rng.lognormal(0.0, 0.4, (n, len(LINES)))
    level = np.exp(slope * (LOG_WAVE - LOG_WAVE.mean()))
    profiles = np.array([_make_line(wave) for wave in LINES])
    return level * (1.0 + widths @ profiles)


def _make_line(wave: float) -> Floats:
    """Return a line of unit equivalent width [1/Å] that is as narrow as the pixels."""
    edges = LOG_WAVE[0] + (np.arange(len(LOG_WAVE) + 1) - 0.5) / PIXELS_PER_E
    share = np.diff(ndtr((edges - np.log(wave)) * PIXELS_PER_E / 0.7))
    return share / np.diff(np.exp(edges))


def make_estimator(config: RedshiftConfig = CONFIG, **instrument: object) -> RedshiftEstimator:
    """Return the estimator of the galaxies."""
    flux = draw_galaxies(300, seed=1)[None].astype(np.float32)
    z_nodes = np.zeros(1)
    coarse = fit_mixture(LOG_WAVE, z_nodes, flux, 1, config.n_coarse_axes)
    fine = fit_mixture(LOG_WAVE, z_nodes, flux, config.n_groups, config.n_axes)
    return RedshiftEstimator(config, coarse, fine, **{"resolving_power": RESOLVING_POWER, **instrument})


def observe(rest_flux: Floats, z: float, seed: int, snr: float = 10.0, wave: Floats = WAVE) -> Spectrum:
    """Return a noisy spectrum of a galaxy, at the resolution of the instrument."""
    # Steps of a fifth of the standard deviation of the line-spread function.
    log_wave = np.arange(np.log(1e4 * wave[0]) - 0.1, np.log(1e4 * wave[-1]) + 0.1, 0.02 / 2.3548 / 5)
    emitted = np.interp(log_wave - np.log1p(z), LOG_WAVE, rest_flux)
    kernel = np.exp(-0.5 * (np.arange(-25, 26) / 5) ** 2)
    flux = np.interp(np.log(1e4 * wave), log_wave, np.convolve(emitted, kernel / kernel.sum(), "same"))
    sigma = np.median(flux) / snr
    noise = sigma * np.random.default_rng(seed).standard_normal(len(wave))
    return Spectrum(str(seed), wave, flux + noise, np.full(len(wave), sigma**-2.0), UNIT, float("nan"))
