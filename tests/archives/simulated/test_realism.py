"""The simulated archive has the quantiles of a real catalog and of real Little Red Dots."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from astropy.cosmology import Planck18
from astropy.io import fits

from distspec.archives.simulated.archive import (
    draw_survey_galaxies,
    simulate_galaxy_flux,
    simulate_survey_flux,
    write_catalog_and_truth,
)
from distspec.archives.simulated.nirspec import PIXEL_WIDTH, WAVE, noise_level
from distspec.archives.simulated.survey import SimulationConfig, plan_survey
from distspec.core.arrow import pc
from distspec.core.spectrum import Spectrum
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from distspec.pipeline.recipes import RECIPES
from distspec.preprocessing.rest_frame import preprocess
from tests.benchmarks.survey import get_defects, observe_files, select_files

QUANTILES = (0.16, 0.5, 0.84)
N_SPECTRA = 1000


@pytest.fixture(scope="module")
def rows():
    table = plan_survey(SimulationConfig(n_spectra=N_SPECTRA)).to_pylist()
    return [row for row in table if row["grade"] == 3 and row["z_true"] > 4.0 and not row["anomaly_type"]]


@pytest.fixture
def real_rows(dja_catalogs):
    with (dja_catalogs / "DJA_v2.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "prism" in row["file"] and row["grade"] == "3"]
    return [row for row in rows if float(row["z"] or 0.0) > 4.0]


def quantiles(values):
    values = np.array([value for value in values if np.isfinite(value)])
    return np.quantile(values, QUANTILES)


def real_column(rows, name):
    return [float(row[name]) for row in rows if row[name]]


def observe_line(rows, wave, parameter):
    """Return signal-to-noise ratios and log₁₀ of the luminosities [erg/s] of a line of wavelength `wave` [Å].

    `parameter` is the logarithm that the line's flux is proportional to.
    """
    rows = [row for row in rows if wave * (1.0 + row["z_true"]) < 5.3e4]
    config, z = SimulationConfig(n_spectra=N_SPECTRA), np.array([row["z_true"] for row in rows])
    galaxies = draw_survey_galaxies(config, rows)
    flux = simulate_galaxy_flux(galaxies, z)
    without = replace(galaxies, **{parameter: getattr(galaxies, parameter) - 9.0})
    is_near = np.abs(1e4 * WAVE / (wave * (1.0 + z[:, None])) - 1.0) < 0.06
    line = np.where(is_near, flux - simulate_galaxy_flux(without, z), 0.0)
    err = noise_level(WAVE, flux, np.array([row["exptime"] for row in rows]))
    cgs = (line * 1e-29 * 2.998e14 / WAVE**2 * PIXEL_WIDTH).sum(axis=1)  # [uJy] to [erg/s/cm²]
    area = 4.0 * np.pi * Planck18.luminosity_distance(z).to_value("cm") ** 2
    return np.sqrt(((line / err) ** 2).sum(axis=1)), np.log10(cgs * area)


def test_redshifts(rows, real_rows):
    found = quantiles([row["z_true"] for row in rows])
    assert found == pytest.approx(quantiles(real_column(real_rows, "z")), abs=0.25)


def test_continuum(real_rows, tmp_path):
    write_catalog_and_truth(SimulationConfig(n_spectra=N_SPECTRA), str(tmp_path))
    with (tmp_path / "catalog.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["grade"] == "3" and float(row["z_best"]) > 4.0]
    difference = np.log10(quantiles(real_column(rows, "sn50")) / quantiles(real_column(real_rows, "sn50")))
    assert np.abs(difference).max() < 0.15


def test_exposure_times(rows, dja_files):
    real = [fits.getval(path, "EXPTIME", "SPEC1D") for path in dja_files.glob("*prism*.spec.fits")]
    difference = np.log10(quantiles([row["exptime"] for row in rows]) / quantiles(real))
    assert np.abs(difference).max() < 0.25


def test_halpha(rows, real_rows):
    snr, log_luminosity = observe_line(rows, 6564.6, "log_ew_ha")
    difference = np.log10(quantiles(snr) / quantiles(real_column(real_rows, "Ha")))
    assert np.abs(difference).max() < 0.2
    assert quantiles(log_luminosity) == pytest.approx(quantiles(real_column(real_rows, "L_Ha")), abs=0.15)


def test_oiii(rows, real_rows):
    _, log_luminosity = observe_line(rows, 5008.2, "log_r3")
    assert quantiles(log_luminosity) == pytest.approx(quantiles(real_column(real_rows, "L_OIII")), abs=0.2)


def measure(spectra):
    """Return measurements of spectra as recipe dja stores them."""
    config = RECIPES["dja"]("unused")
    grid = config.grid.resolve(np.array([5.0]))
    batch, _ = preprocess(spectra, grid, config.norm, config.norm.fallback_slope)
    return NIRSPEC_PRISM_MEASUREMENTS.measure(batch.flux, batch.ivar, batch.z, grid)


def test_little_red_dots(dja_files):
    """The medians of what selects them are those of the published ones (de Graaff et al. 2025)."""
    catalog = dja_files / "catalog.csv"
    with catalog.open() as file:
        published = {row["file"] for row in csv.DictReader(file) if row["known_class"] == "LRD"}
    archive = replace(RECIPES["dja"]("unused").archive, url=str(dja_files), catalog=str(catalog))
    entries = [one for one in listing_to_entries(archive.list_spectra()) if one.object_id in published]
    outcomes = read_archive_spectra(archive, DEFAULT_ACCESS, entries)
    real = measure([outcome for outcome in outcomes if isinstance(outcome, Spectrum)])
    config = SimulationConfig(n_spectra=4 * N_SPECTRA)
    table = select_files(plan_survey(config))
    table = table.filter(pc.equal(table["truth_class"], "lrd"))
    rows = table.to_pylist()
    simulated = measure(observe_files(simulate_survey_flux(config, rows), table, get_defects(rows), 0))
    difference = {name: np.nanmedian(simulated[name]) - np.nanmedian(real[name]) for name in real}
    assert abs(difference["beta_uv"]) < 0.3
    assert abs(difference["beta_opt"]) < 0.4
    ratio = np.nanmedian(simulated["halpha_ew"]) / np.nanmedian(real["halpha_ew"])
    assert abs(np.log10(ratio)) < 0.15
