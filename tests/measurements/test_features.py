"""Clustering features: errors against those of a linear model, scaling, and measurements of real spectra."""

from dataclasses import replace

import numpy as np
import pytest

from distspec.archives.registry import get_archive
from distspec.core.spectrum import Spectrum, WavelengthGrid
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.measurements.features import (
    BATCH_SIZE,
    compute_feature_errors,
    compute_features,
    list_feature_columns,
    list_reconstruction_columns,
    measure_reconstructions,
)
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS as PRISM
from distspec.measurements.standard_sets import SPEX_MEASUREMENTS
from distspec.pipeline.recipes import RECIPES
from distspec.preprocessing.rest_frame import preprocess

GRID = WavelengthGrid("log", 1100.0, 8400.0, 640)
WAVE = GRID.wave_rest


def decode(latents, z):
    """Decode the slope, the equivalent width of Hα in 100 Angstrom, and a latent without effect."""
    line = 100.0 * np.exp(-0.5 * ((WAVE - 6564.0) / 15.0) ** 2) / (15.0 * np.sqrt(2.0 * np.pi))
    power = (WAVE / 1500.0) ** (-2.0 + latents[:, :1])
    return (power * (1.0 + latents[:, 1:2] * line)).astype(np.float32)


def draw_posteriors(n, seed=0):
    rng = np.random.default_rng(seed)
    mean = np.stack([0.3 * rng.standard_normal(n), rng.uniform(0, 5, n), rng.standard_normal(n)], axis=1)
    sigma = rng.uniform(0.02, 0.1, (n, 3))
    return mean.astype(np.float32), (2.0 * np.log(sigma)).astype(np.float32)


def features_by_name(values):
    return dict(zip(list_feature_columns(PRISM), compute_features(PRISM, values).T, strict=True))


def test_values_and_errors_follow_from_the_posterior():
    mean, log_var = draw_posteriors(200)
    values = measure_reconstructions(PRISM, decode, GRID, mean, log_var, n_draws=3)
    assert list(values) == [column.name for column in list_reconstruction_columns(PRISM)]
    assert all(value.shape == (200,) and value.dtype == np.float32 for value in values.values())
    sigma = np.exp(0.5 * log_var)
    assert values["recon_uv_slope"] == pytest.approx(-2.0 + mean[:, 0], abs=0.01)
    assert values["recon_uv_slope_err"] == pytest.approx(sigma[:, 0], rel=0.02), "as many draws as latents"
    assert values["recon_halpha_ew"] == pytest.approx(100.0 * mean[:, 1], rel=0.02, abs=3.0)
    assert values["recon_halpha_ew_err"] == pytest.approx(100.0 * sigma[:, 1], rel=0.1)
    without_errors = measure_reconstructions(PRISM, decode, GRID, mean, log_var, n_draws=0)
    assert np.array_equal(without_errors["recon_uv_slope"], values["recon_uv_slope"])
    assert np.isnan(without_errors["recon_uv_slope_err"]).all()


def test_errors_are_right_on_average_for_any_number_of_draws():
    mean, log_var = draw_posteriors(20)
    sigma = np.exp(0.5 * log_var[:, 0])
    for n_draws in (1, 2, 7):
        squares = [
            measure_reconstructions(PRISM, decode, GRID, mean, log_var, n_draws, seed)["recon_uv_slope_err"]
            ** 2
            for seed in range(60)
        ]
        assert np.median(np.sqrt(np.mean(squares, axis=0)) / sigma) == pytest.approx(1.0, abs=0.15)


def test_a_row_does_not_depend_on_other_rows():
    mean, log_var = draw_posteriors(30)
    whole = measure_reconstructions(PRISM, decode, GRID, mean, log_var, 2)
    part = measure_reconstructions(PRISM, decode, GRID, mean[11:17], log_var[11:17], 2)
    assert all(np.array_equal(part[name], value[11:17]) for name, value in whole.items())


def test_at_most_one_batch_is_decoded_at_a_time():
    calls = []

    def decode_few(latents, z):
        calls.append((len(latents), z))
        return np.ones((len(latents), 40), np.float32)

    mean = np.zeros((BATCH_SIZE + 5, 3), np.float32)
    measure_reconstructions(PRISM, decode_few, WavelengthGrid("log", 1100.0, 8400.0, 40), mean, mean, 1)
    assert calls == [(BATCH_SIZE, 5.0)] * 2 + [(5, 5.0)] * 2


@pytest.mark.parametrize("name", ["dja", "jades", "spex", "sdss", "desi"])
def test_every_reconstruction_is_covered_by_the_grid_of_its_recipe(name):
    measurements = get_archive(name).measurements
    grid = RECIPES[name]("unused").grid.resolve(np.array([5.0]))
    mean = np.zeros((2, 4), np.float32)
    values = measure_reconstructions(
        measurements, lambda latents, z: np.ones((len(latents), grid.n_pixels), np.float32), grid, mean, mean
    )
    assert all(np.isfinite(value).all() for value in values.values())
    missing = {column.name: np.full(2, np.nan, np.float32) for column in measurements.columns}
    features = compute_features(measurements, values | missing)
    assert features.shape == (2, len(list_feature_columns(measurements)))
    assert np.isfinite(features).all()


def test_features_are_linear_for_small_and_logarithmic_for_large_differences():
    columns = (*list_reconstruction_columns(PRISM), *PRISM.columns)
    values = {column.name: np.full(4, np.nan, np.float32) for column in columns}
    values["recon_uv_slope"] = np.array([-2.0, -1.95, -2.05, 0.0], np.float32)
    values["recon_halpha_ew"] = np.array([0.0, 1.0, 2000.0, 20000.0], np.float32)
    values |= {"lya_ew": np.array([0, 25, 25, np.nan], np.float32), "lya_ew_err": np.float32([1, 0, 1e4, 1])}
    features = features_by_name(values)
    assert features["recon_uv_slope"] == pytest.approx([0.0, 0.1, -0.1, np.arcsinh(4.0)], abs=1e-3)
    assert np.diff(features["recon_halpha_ew"])[-1] == pytest.approx(np.log(10.0), abs=1e-3)
    assert features["lya_ew"] == pytest.approx([0.0, np.arcsinh(1.0), 0.0, 0.0], abs=1e-2)
    assert not features["recon_balmer_break"].any(), "a missing value gives 0"


def test_errors_of_features_are_propagated_to_first_order():
    names = [name for feature in list_feature_columns(PRISM) for name in (feature, f"{feature}_err")]
    values = {name: np.full(2, 0.5, np.float32) for name in names}
    values["recon_oiii_ew"], values["recon_oiii_ew_err"] = np.float32([100, 0]), np.float32([3, np.nan])
    values["lya_ew"], values["lya_ew_err"] = np.float32([30, np.nan]), np.float32([4, np.nan])
    errors = dict(zip(list_feature_columns(PRISM), compute_feature_errors(PRISM, values).T, strict=True))
    shifted = {name: value.copy() for name, value in values.items()}
    for name in list_feature_columns(PRISM):
        shifted[name] += 1e-3
    before, after = features_by_name(values), features_by_name(shifted)
    for name in list_feature_columns(PRISM):
        derivative = (after[name][0] - before[name][0]) / 1e-3
        assert errors[name][0] == pytest.approx(derivative * values[f"{name}_err"][0], rel=0.01), name
    assert errors["recon_oiii_ew"][1] == errors["lya_ew"][1] == np.inf


def read_real_spectra(name, folder, select):
    """Preprocess real files as ingest does: identifiers, flux, ivar, z and grid."""
    config = RECIPES[name]("unused")
    settings = {"catalog": str(folder / "catalog.csv")} if name == "dja" else {}
    archive = replace(config.archive, url=str(folder), **settings)
    listing = listing_to_entries(archive.list_spectra())
    entries = [listing[i] for i in select(len(listing))]
    results = read_archive_spectra(archive, DEFAULT_ACCESS, entries)
    valid = [result for result in results if isinstance(result, Spectrum)]
    grid = config.grid.resolve(np.array([5.0]))
    batch, _ = preprocess(valid, grid, config.norm, config.norm.fallback_slope)
    return batch.object_id, batch.flux, batch.ivar, batch.z, grid


def test_real_galaxies_have_plausible_measurements(dja_files):
    _, *some = read_real_spectra("dja", dja_files, range)
    values = PRISM.measure(*some)
    precise = values["uv_slope_err"] < 0.3
    assert precise.sum() >= 5
    assert -3.0 < np.median(values["uv_slope"][precise]) < -1.0
    bright = values["oiii_ew"] > 5 * values["oiii_ew_err"]
    assert bright.sum() >= 5
    both = bright & np.isfinite(values["hbeta_ew"])
    assert 2.0 < np.median(values["oiii_ew"][both] / values["hbeta_ew"][both]) < 15.0


def test_methane_and_water_of_real_dwarfs_weaken_from_t_to_m(spex_files):
    table = np.genfromtxt(spex_files / "labels.csv", delimiter=",", names=True, dtype=None, encoding="utf8")
    classes = dict(zip(table["DATA_FILE"], table["cls"], strict=True))
    names, *some = read_real_spectra("spex", spex_files, lambda n: range(0, n, 8))
    values, spectral_class = SPEX_MEASUREMENTS.measure(*some), np.array([classes[name] for name in names])
    assert np.isfinite(values["ch4_h"]).mean() > 0.95
    median = {
        (index, c): np.nanmedian(values[index][spectral_class == c])
        for index in ("ch4_h", "h2o_j")
        for c in "MLT"
    }
    assert median["ch4_h", "T"] < 0.8 < median["ch4_h", "L"] < 1.1
    assert median["h2o_j", "T"] < median["h2o_j", "L"] < median["h2o_j", "M"]
