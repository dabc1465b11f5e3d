import numpy as np
import pytest

from distspec.anomaly.residuals import MAX_LINE_RESIDUAL, compute_residual_statistics, estimate_model_error
from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.spectrum import WavelengthGrid

GRID = WavelengthGrid("log", 1100.0, 8400.0, 640)
N = 200


@pytest.fixture
def sample(rng):
    """Spectra whose reconstruction is wrong by a tenth in one half, right in the other; noise as stated."""
    recon = np.ones((N, 640), np.float32)
    wrong = np.where(np.arange(640) < 320, 0.1, 0.0)
    flux = recon * (1.0 + wrong * rng.standard_normal((N, 640))) + 0.02 * rng.standard_normal((N, 640))
    return flux.astype(np.float32), np.full((N, 640), 2500.0, np.float32), recon, np.ones(N, np.float32)


def left(sample, error, rows=slice(None)):
    flux, ivar, recon, scatter = (each[rows] for each in sample)
    return compute_residual_statistics(
        flux, ivar, recon, scatter, error, np.full(len(flux), 5.0), GRID, NIRSPEC_PRISM
    )


def test_the_usual_error_is_found_where_it_is(sample):
    error = estimate_model_error(*sample)
    assert np.median(error[:320]) == pytest.approx(0.1, rel=0.1)
    assert np.median(error[320:]) < 0.01


def test_noise_that_is_larger_than_stated_is_no_error_of_the_model(sample, rng):
    flux, ivar, recon, _ = sample
    noisy = flux + 0.06 * rng.standard_normal(flux.shape).astype(np.float32)
    blamed = estimate_model_error(noisy, ivar, recon, np.ones(N, np.float32))[320:]
    known = estimate_model_error(noisy, ivar, recon, np.full(N, np.sqrt(10.0), np.float32))[320:]
    assert np.median(known) < 0.02 < 0.05 < np.median(blamed)


def test_with_it_ordinary_spectra_are_left_with_their_noise(sample):
    found = left(sample, estimate_model_error(*sample))
    assert np.median(found["recon"]) == pytest.approx(1.0, abs=0.05)
    assert np.median(found["line"]) < 5.0


def test_a_line_that_the_model_lacks_stands_out(sample):
    flux = sample[0]
    flux[3, 500:504] += 0.1  # 5 σ in some pixels: little in χ², much in a run
    found = left(sample, estimate_model_error(*sample))
    assert found["line"].argmax() == 3
    assert found["line"][3] > 2.0 * np.delete(found["line"], 3).max() ** 0.5


def test_where_the_model_always_fails_nothing_stands_out(sample):
    flux = sample[0]
    flux[3, 100:104] += 0.1
    found = left(sample, estimate_model_error(*sample))
    assert found["line"].argmax() != 3


def test_one_pixel_counts_for_little_however_high(sample):
    flux, error = sample[0], estimate_model_error(*sample)
    flux[7, 600] += 1e4
    found = left(sample, error)
    assert found["line"][7] <= MAX_LINE_RESIDUAL + 6.0
    assert found["recon"][7] < 1.5


def test_masked_pixels_may_hold_anything_and_rows_stand_alone(sample, rng):
    flux, ivar, _, _ = sample
    error = estimate_model_error(*sample)
    ivar[rng.random(ivar.shape) < 0.2] = 0.0
    one = left(sample, error)
    flux[ivar == 0] = 1e6
    other, few = left(sample, error), left(sample, error, slice(5, 8))
    for name, values in one.items():
        assert np.array_equal(values, other[name])
        assert np.array_equal(values[5:8], few[name])


def test_pixels_that_few_cover_have_the_least_error(sample):
    sample[1][10:, 600:] = 0.0
    assert estimate_model_error(*sample)[600:].max() <= 1e-3
