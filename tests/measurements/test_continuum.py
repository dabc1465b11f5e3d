"""Slopes of faint continua: of power laws, with noise, without signal, and with missing windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.instruments import NIRSPEC_PRISM, Disperser
from distspec.measurements.continuum import fit_power_law, measure_min_window_snr, measure_slope_difference
from distspec.measurements.indices import GriddedSpectra
from distspec.measurements.standard_sets import OPTICAL_CONTINUUM_WINDOWS, UV_CONTINUUM_WINDOWS
from tests.helpers.galaxies import WAVE, continuum, noisy, spectra

FINE = Disperser((0.1, 10.0), (1e5, 1e5), 1.0)
"""Detector pixels far narrower than the grid's, so that noise is independent between grid pixels."""


@settings(max_examples=60)
@given(beta=st.floats(-4.0, 4.0), log_scale=st.floats(-6.0, 6.0), z=st.floats(4.0, 7.0))
def test_the_slope_of_a_power_law_is_measured_at_any_flux_scale(beta, log_scale, z):
    flux = (WAVE / 3000.0) ** beta
    for windows in (UV_CONTINUUM_WINDOWS, OPTICAL_CONTINUUM_WINDOWS):
        found, error = fit_power_law(spectra(10.0**log_scale * flux, 100.0, z), windows, NIRSPEC_PRISM)
        assert found[0] == pytest.approx(beta, abs=0.03)
        assert 0 < error[0] < 0.25


def test_errors_match_the_scatter_of_noise():
    some = spectra(np.tile(continuum(-1.5, 0.5), (800, 1)), 0.5)
    for windows, truth in ((UV_CONTINUUM_WINDOWS, -1.5), (OPTICAL_CONTINUUM_WINDOWS, 0.5)):
        found, error = fit_power_law(noisy(some), windows, FINE)
        pull = (found - truth) / error
        assert np.std(found) > 0.15, "the error is dominated by noise, not by its floor"
        assert np.mean(pull) == pytest.approx(0.0, abs=0.25)
        assert np.std(pull) == pytest.approx(1.0, abs=0.25)


def test_without_signal_the_slope_is_that_of_the_prior():
    found, error = fit_power_law(spectra(np.full(640, 1e-3), 1e-6), OPTICAL_CONTINUUM_WINDOWS, NIRSPEC_PRISM)
    assert found[0] == pytest.approx(0.0, abs=0.1)
    assert error[0] == pytest.approx(12.0 / np.sqrt(12.0), abs=0.1)


def test_negative_fluxes_give_finite_slopes():
    found, error = fit_power_law(
        noisy(spectra(np.full((400, 640), 1e-3), 0.01)), UV_CONTINUUM_WINDOWS, NIRSPEC_PRISM
    )
    assert np.isfinite(found).all()
    assert np.mean(np.abs(found) < 2 * error) > 0.9


def test_uncovered_windows_are_left_out_until_too_few_remain():
    some = spectra(continuum(-1.5, 0.5))

    def cut(low, high):
        return some._replace(ivar=np.where((low < WAVE) & (high > WAVE), some.ivar, 0.0).astype(np.float32))

    whole, error = fit_power_law(some, OPTICAL_CONTINUUM_WINDOWS, NIRSPEC_PRISM)
    part, larger_error = fit_power_law(cut(3900.0, 5500.0), OPTICAL_CONTINUUM_WINDOWS, NIRSPEC_PRISM)
    assert part[0] == pytest.approx(whole[0], abs=0.05)
    assert larger_error[0] > error[0]
    assert np.isnan(fit_power_law(cut(3900.0, 4790.0), OPTICAL_CONTINUUM_WINDOWS, NIRSPEC_PRISM)).all(), (
        "the covered range is too short"
    )
    assert np.isnan(fit_power_law(cut(5000.0, 9000.0), OPTICAL_CONTINUUM_WINDOWS, NIRSPEC_PRISM)[0]).all()
    assert np.isnan(
        fit_power_law(some._replace(z=np.full(1, 200.0)), OPTICAL_CONTINUUM_WINDOWS, NIRSPEC_PRISM)
    ).all()


def test_masked_pixels_and_other_rows_do_not_matter():
    rng = np.random.default_rng(3)
    some = noisy(spectra(np.tile(continuum(-1.5, 0.5), (5, 1)), 3.0))
    ivar = np.where(rng.random((5, 640)) < 0.05, 0.0, some.ivar).astype(np.float32)
    holes = some._replace(flux=np.where(ivar > 0, some.flux, np.nan).astype(np.float32), ivar=ivar)
    found = np.array(fit_power_law(holes, UV_CONTINUUM_WINDOWS, NIRSPEC_PRISM))
    one = GriddedSpectra(some.flux[2:3], ivar[2:3], some.z[2:3], some.grid)
    assert np.array_equal(
        np.array(fit_power_law(one, UV_CONTINUUM_WINDOWS, NIRSPEC_PRISM))[:, 0], found[:, 2]
    )


def test_the_slope_difference_of_a_v_shape():
    found, error = measure_slope_difference(
        spectra(continuum(-1.5, 0.5)), OPTICAL_CONTINUUM_WINDOWS, UV_CONTINUUM_WINDOWS, NIRSPEC_PRISM
    )
    assert found[0] == pytest.approx(2.0, abs=0.05)
    assert (
        error[0]
        > fit_power_law(spectra(continuum(-1.5, 0.5)), OPTICAL_CONTINUUM_WINDOWS, NIRSPEC_PRISM)[1][0]
    )


def test_the_lowest_signal_to_noise_ratio_of_a_window():
    flux = np.ones(640)
    assert measure_min_window_snr(spectra(flux, 1.0), OPTICAL_CONTINUUM_WINDOWS, FINE)[0][0] > 2.0
    flux[(WAVE > 5100.0) & (WAVE < 5460.0)] = -2.0
    found, _ = measure_min_window_snr(spectra(flux, 1.0), OPTICAL_CONTINUUM_WINDOWS, FINE)
    n_pixels = np.log(5450.0 / 5110.0) / np.log(WAVE[1] / WAVE[0])
    assert found[0] == pytest.approx(-2.0 * np.sqrt(n_pixels), rel=0.05)
    assert np.isnan(
        measure_min_window_snr(spectra(flux, 1.0, 200.0), OPTICAL_CONTINUUM_WINDOWS, NIRSPEC_PRISM)[0]
    ).all()
