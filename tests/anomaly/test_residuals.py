"""Residuals of reconstructions, and the model's usual error."""

import numpy as np
import pytest

from distspec.anomaly.residuals import MAX_LINE_RESIDUAL, compute_residual_statistics, estimate_model_error
from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.spectrum import WavelengthGrid

GRID = WavelengthGrid("log", 1100.0, 8400.0, 640)
N = 200


@pytest.fixture
def sample(rng):
    """Spectra with a relative model error of 0.1 in the blue half and of 0 in the red half."""
    recon = np.ones((N, 640), np.float32)
    model_error = np.where(np.arange(640) < 320, 0.1, 0.0)
    noise = 0.02 * rng.standard_normal((N, 640))
    flux = recon * (1.0 + model_error * rng.standard_normal((N, 640))) + noise
    return flux.astype(np.float32), np.full((N, 640), 2500.0, np.float32), recon, np.ones(N, np.float32)


def compute_statistics(sample, model_error, rows=slice(None)):
    flux, ivar, recon, scatter = (values[rows] for values in sample)
    return compute_residual_statistics(
        flux, ivar, recon, scatter, model_error, np.full(len(flux), 5.0), GRID, NIRSPEC_PRISM
    )


def test_the_model_error_is_estimated_per_pixel(sample):
    error = estimate_model_error(*sample)
    assert np.median(error[:320]) == pytest.approx(0.1, rel=0.1)
    assert np.median(error[320:]) < 0.01


def test_underestimated_noise_is_not_attributed_to_the_model(sample, rng):
    flux, ivar, recon, _ = sample
    noisy = flux + 0.06 * rng.standard_normal(flux.shape).astype(np.float32)
    with_wrong_ratio = estimate_model_error(noisy, ivar, recon, np.ones(N, np.float32))[320:]
    ratio = np.full(N, np.sqrt(10.0), np.float32)
    with_right_ratio = estimate_model_error(noisy, ivar, recon, ratio)[320:]
    assert np.median(with_right_ratio) < 0.02 < 0.05 < np.median(with_wrong_ratio)


def test_residuals_of_ordinary_spectra_are_those_of_noise(sample):
    statistics = compute_statistics(sample, estimate_model_error(*sample))
    assert np.median(statistics["recon"]) == pytest.approx(1.0, abs=0.05)
    assert np.median(statistics["line"]) < 5.0


def test_a_line_that_the_model_lacks_has_the_largest_line_statistic(sample):
    flux = sample[0]
    flux[3, 500:504] += 0.1  # 5 sigma in a few pixels: little in chi-squared
    line = compute_statistics(sample, estimate_model_error(*sample))["line"]
    assert line.argmax() == 3
    assert line[3] > 2.0 * np.delete(line, 3).max() ** 0.5


def test_a_residual_where_the_model_always_fails_is_ordinary(sample):
    flux = sample[0]
    flux[3, 100:104] += 0.1
    assert compute_statistics(sample, estimate_model_error(*sample))["line"].argmax() != 3


def test_a_single_pixel_has_a_limited_weight(sample):
    flux, error = sample[0], estimate_model_error(*sample)
    flux[7, 600] += 1e4
    statistics = compute_statistics(sample, error)
    assert statistics["line"][7] <= MAX_LINE_RESIDUAL + 6.0
    assert statistics["recon"][7] < 1.5


def test_masked_pixels_and_other_rows_do_not_matter(sample, rng):
    flux, ivar, _, _ = sample
    error = estimate_model_error(*sample)
    ivar[rng.random(ivar.shape) < 0.2] = 0.0
    before = compute_statistics(sample, error)
    flux[ivar == 0] = 1e6
    after, part = compute_statistics(sample, error), compute_statistics(sample, error, slice(5, 8))
    for name, values in before.items():
        assert np.array_equal(values, after[name])
        assert np.array_equal(values[5:8], part[name])


def test_pixels_with_few_valid_spectra_have_the_minimum_error(sample):
    sample[1][10:, 600:] = 0.0
    assert estimate_model_error(*sample)[600:].max() <= 1e-3
