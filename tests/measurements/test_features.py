"""Measures of reconstructions: errors against a linear model's, their space, and real spectra."""

from dataclasses import replace

import numpy as np
import pytest

from distspec.core.spectrum import Spectrum, WavelengthGrid
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.measurements.definitions import MEASUREMENTS
from distspec.measurements.features import (
    BATCH_SIZE,
    REFERENCE_REDSHIFTS,
    compute_feature_errors,
    compute_features,
    list_feature_columns,
    list_reconstruction_columns,
    measure_reconstructions,
)
from distspec.measurements.measure import list_measurement_columns, measure_spectra
from distspec.pipeline.recipes import RECIPES
from distspec.preprocessing.rest_frame import preprocess

GRID = WavelengthGrid("log", 1100.0, 8400.0, 640)
WAVE = GRID.wave_rest


def decode(latent, z):
    """Two latents: the slope, and Hα's strength in hundreds of Å; one that does nothing."""
    line = 100.0 * np.exp(-0.5 * ((WAVE - 6564.0) / 15.0) ** 2) / (15.0 * np.sqrt(2.0 * np.pi))
    power = (WAVE / 1500.0) ** (-2.0 + latent[:, :1])
    return (power * (1.0 + latent[:, 1:2] * line)).astype(np.float32)


def latents(n, seed=0):
    rng = np.random.default_rng(seed)
    mean = np.stack([0.3 * rng.standard_normal(n), rng.uniform(0, 5, n), rng.standard_normal(n)], axis=1)
    sigma = rng.uniform(0.02, 0.1, (n, 3))
    return mean.astype(np.float32), (2.0 * np.log(sigma)).astype(np.float32)


def test_values_and_errors_are_those_of_the_posterior():
    mean, log_var = latents(200)
    found = measure_reconstructions("dja", decode, GRID, mean, log_var, n_draws=3)
    assert list(found) == [column.name for column in list_reconstruction_columns("dja")]
    assert all(value.shape == (200,) and value.dtype == np.float32 for value in found.values())
    sigma = np.exp(0.5 * log_var)
    assert found["recon_uv_slope"] == pytest.approx(-2.0 + mean[:, 0], abs=0.01)
    assert found["recon_uv_slope_err"] == pytest.approx(sigma[:, 0], rel=0.02), "as many draws as latents"
    assert found["recon_halpha_ew"] == pytest.approx(100.0 * mean[:, 1], rel=0.02, abs=3.0)
    assert found["recon_halpha_ew_err"] == pytest.approx(100.0 * sigma[:, 1], rel=0.1)
    alone = measure_reconstructions("dja", decode, GRID, mean, log_var, n_draws=0)
    assert np.array_equal(alone["recon_uv_slope"], found["recon_uv_slope"])
    assert np.isnan(alone["recon_uv_slope_err"]).all()


def test_fewer_or_more_draws_are_right_on_average():
    mean, log_var = latents(20)
    sigma = np.exp(0.5 * log_var[:, 0])
    for n_draws in (1, 2, 7):
        squares = [
            measure_reconstructions("dja", decode, GRID, mean, log_var, n_draws, seed)["recon_uv_slope_err"]
            ** 2
            for seed in range(60)
        ]
        assert np.median(np.sqrt(np.mean(squares, axis=0)) / sigma) == pytest.approx(1.0, abs=0.15)


def test_a_row_is_the_same_wherever_it_stands():
    mean, log_var = latents(30)
    whole = measure_reconstructions("dja", decode, GRID, mean, log_var, 2)
    part = measure_reconstructions("dja", decode, GRID, mean[11:17], log_var[11:17], 2)
    assert all(np.array_equal(part[name], value[11:17]) for name, value in whole.items())


def test_no_more_than_a_batch_is_decoded_at_a_time():
    seen = []

    def few(latent, z):
        seen.append((len(latent), z))
        return np.ones((len(latent), 40), np.float32)

    mean = np.zeros((BATCH_SIZE + 5, 3), np.float32)
    measure_reconstructions("dja", few, WavelengthGrid("log", 1100.0, 8400.0, 40), mean, mean, 1)
    assert seen == [(BATCH_SIZE, 5.0)] * 2 + [(5, 5.0)] * 2


@pytest.mark.parametrize("name", ["dja", "jades", "spex", "sdss", "desi"])
def test_on_a_recipes_grid_every_reconstruction_is_measured(name):
    grid = RECIPES[name]("unused").grid.resolve(np.array([5.0]))
    mean = np.zeros((2, 4), np.float32)
    found = measure_reconstructions(
        name, lambda latent, z: np.ones((len(latent), grid.n_pixels), np.float32), grid, mean, mean
    )
    assert set(REFERENCE_REDSHIFTS) == set(MEASUREMENTS)
    assert all(np.isfinite(value).all() for value in found.values())
    where = compute_features(
        name,
        found | {column.name: np.full(2, np.nan, np.float32) for column in list_measurement_columns(name)},
    )
    assert where.shape == (2, len(list_feature_columns(name)))
    assert np.isfinite(where).all()


def test_space_is_linear_for_small_and_logarithmic_for_large_differences():
    columns = [
        column.name for column in (*list_reconstruction_columns("dja"), *list_measurement_columns("dja"))
    ]
    values = {name: np.full(4, np.nan, np.float32) for name in columns}
    values["recon_uv_slope"] = np.array([-2.0, -1.95, -2.05, 0.0], np.float32)
    values["recon_halpha_ew"] = np.array([0.0, 1.0, 2000.0, 20000.0], np.float32)
    values |= {"lya_ew": np.array([0, 25, 25, np.nan], np.float32), "lya_ew_err": np.float32([1, 0, 1e4, 1])}
    found = dict(zip(list_feature_columns("dja"), compute_features("dja", values).T, strict=True))
    assert found["recon_uv_slope"] == pytest.approx([0.0, 0.1, -0.1, np.arcsinh(4.0)], abs=1e-3)
    assert np.diff(found["recon_halpha_ew"])[-1] == pytest.approx(np.log(10.0), abs=1e-3)
    assert found["lya_ew"] == pytest.approx([0.0, np.arcsinh(1.0), 0.0, 0.0], abs=1e-2)
    assert not found["recon_balmer_break"].any(), "what says nothing is ordinary"


def test_errors_of_the_space_are_its_first_derivatives():
    names = [name for axis in list_feature_columns("dja") for name in (axis, f"{axis}_err")]
    values = {name: np.full(2, 0.5, np.float32) for name in names}
    values["recon_oiii_ew"], values["recon_oiii_ew_err"] = np.float32([100, 0]), np.float32([3, np.nan])
    values["lya_ew"], values["lya_ew_err"] = np.float32([30, np.nan]), np.float32([4, np.nan])
    error = dict(zip(list_feature_columns("dja"), compute_feature_errors("dja", values).T, strict=True))
    moved = {name: value.copy() for name, value in values.items()}
    for name in list_feature_columns("dja"):
        moved[name] += 1e-3
    change = dict(
        zip(
            list_feature_columns("dja"),
            ((compute_features("dja", moved) - compute_features("dja", values)) / 1e-3).T,
            strict=True,
        )
    )
    for name in list_feature_columns("dja"):
        assert error[name][0] == pytest.approx(change[name][0] * values[f"{name}_err"][0], rel=0.01), name
    assert error["recon_oiii_ew"][1] == error["lya_ew"][1] == np.inf


def on_grid(name, folder, pick):
    """Some real spectra as ingest has them: their rows of the listing, flux, ivar, z and grid."""
    config = RECIPES[name]("unused")
    tables = {"catalog": str(folder / "catalog.csv")} if name == "dja" else {}
    archive = replace(config.archive, url=str(folder), **tables)
    whole = listing_to_entries(archive.list_spectra())
    chosen = [whole[i] for i in pick(len(whole))]
    read_ones = [
        each for each in read_archive_spectra(archive, DEFAULT_ACCESS, chosen) if isinstance(each, Spectrum)
    ]
    grid = config.grid.resolve(np.array([5.0]))
    batch, _ = preprocess(read_ones, grid, config.norm, config.norm.fallback_slope)
    return batch.object_id, batch.flux, batch.ivar, batch.z, grid


def test_real_galaxies_have_plausible_measures(dja_files):
    _, *spectra = on_grid("dja", dja_files, range)
    found = measure_spectra("dja", *spectra)
    sure = found["uv_slope_err"] < 0.3
    assert sure.sum() >= 5
    assert -3.0 < np.median(found["uv_slope"][sure]) < -1.0
    bright = found["oiii_ew"] > 5 * found["oiii_ew_err"]
    assert bright.sum() >= 5
    both = bright & np.isfinite(found["hbeta_ew"])
    assert 2.0 < np.median(found["oiii_ew"][both] / found["hbeta_ew"][both]) < 15.0


def test_real_stars_lose_methane_and_water_from_t_to_m(spex_files):
    table = np.genfromtxt(spex_files / "labels.csv", delimiter=",", names=True, dtype=None, encoding="utf8")
    classes = dict(zip(table["DATA_FILE"], table["cls"], strict=True))
    names, *spectra = on_grid("spex", spex_files, lambda n: range(0, n, 8))
    found, kind = measure_spectra("spex", *spectra), np.array([classes[name] for name in names])
    assert np.isfinite(found["ch4_h"]).mean() > 0.95
    median = {
        (index, c): np.nanmedian(found[index][kind == c]) for index in ("ch4_h", "h2o_j") for c in "MLT"
    }
    assert median["ch4_h", "T"] < 0.8 < median["ch4_h", "L"] < 1.1
    assert median["h2o_j", "T"] < median["h2o_j", "L"] < median["h2o_j", "M"]
