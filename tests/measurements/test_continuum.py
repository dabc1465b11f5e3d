"""Slopes of faint continua against power laws, and their posteriors against noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.instruments import PRISM, Disperser
from distspec.measurements.continuum import difference, lowest, power_law
from distspec.measurements.definitions import BLUE_OF_BALMER, RED_OF_BALMER
from distspec.measurements.indices import Spectra
from tests.helpers.galaxies import WAVE, continuum, noisy, spectra

FINE = Disperser((0.1, 10.0), (1e5, 1e5), 1.0)
"""Pixels far finer than the grid's: noise is the grid's own."""


@settings(max_examples=60, deadline=None)
@given(beta=st.floats(-4.0, 4.0), log_scale=st.floats(-6.0, 6.0), z=st.floats(4.0, 7.0))
def test_a_power_law_has_its_slope_at_any_brightness(beta, log_scale, z):
    flux = (WAVE / 3000.0) ** beta
    for windows in (BLUE_OF_BALMER, RED_OF_BALMER):
        found, error = power_law(spectra(10.0**log_scale * flux, 100.0, z), windows, PRISM)
        assert found[0] == pytest.approx(beta, abs=0.03)
        assert 0 < error[0] < 0.25


def test_errors_are_what_noise_does():
    some = spectra(np.tile(continuum(-1.5, 0.5), (800, 1)), 0.5)
    for windows, truth in ((BLUE_OF_BALMER, -1.5), (RED_OF_BALMER, 0.5)):
        found, error = power_law(noisy(some), windows, FINE)
        pull = (found - truth) / error
        assert np.std(found) > 0.15, "noise, not the floor, is what is tried here"
        assert np.mean(pull) == pytest.approx(0.0, abs=0.25)
        assert np.std(pull) == pytest.approx(1.0, abs=0.25)


def test_what_says_nothing_has_no_slope():
    found, error = power_law(spectra(np.full(640, 1e-3), 1e-6), RED_OF_BALMER, PRISM)
    assert found[0] == pytest.approx(0.0, abs=0.1)
    assert error[0] == pytest.approx(12.0 / np.sqrt(12.0), abs=0.1)


def test_flux_below_zero_is_no_obstacle():
    found, error = power_law(noisy(spectra(np.full((400, 640), 1e-3), 0.01)), BLUE_OF_BALMER, PRISM)
    assert np.isfinite(found).all()
    assert np.mean(np.abs(found) < 2 * error) > 0.9


def test_windows_that_are_not_covered_take_no_part_until_too_few_are_left():
    some = spectra(continuum(-1.5, 0.5))

    def seen(low, high):
        return some._replace(ivar=np.where((low < WAVE) & (high > WAVE), some.ivar, 0.0).astype(np.float32))

    whole, error = power_law(some, RED_OF_BALMER, PRISM)
    part, more = power_law(seen(3900.0, 5500.0), RED_OF_BALMER, PRISM)
    assert part[0] == pytest.approx(whole[0], abs=0.05)
    assert more[0] > error[0]
    assert np.isnan(power_law(seen(3900.0, 4790.0), RED_OF_BALMER, PRISM)).all(), "too short"
    assert np.isnan(power_law(seen(5000.0, 9000.0), RED_OF_BALMER, PRISM)[0]).all()
    assert np.isnan(power_law(some._replace(z=np.full(1, 200.0)), RED_OF_BALMER, PRISM)).all()


def test_lost_pixels_and_neighbours_do_not_matter():
    rng = np.random.default_rng(3)
    some = noisy(spectra(np.tile(continuum(-1.5, 0.5), (5, 1)), 3.0))
    ivar = np.where(rng.random((5, 640)) < 0.05, 0.0, some.ivar).astype(np.float32)
    holes = some._replace(flux=np.where(ivar > 0, some.flux, np.nan).astype(np.float32), ivar=ivar)
    found = np.array(power_law(holes, BLUE_OF_BALMER, PRISM))
    one = Spectra(some.flux[2:3], ivar[2:3], some.z[2:3], some.grid)
    assert np.array_equal(np.array(power_law(one, BLUE_OF_BALMER, PRISM))[:, 0], found[:, 2])


def test_a_v_is_the_difference_of_its_arms():
    found, error = difference(spectra(continuum(-1.5, 0.5)), RED_OF_BALMER, BLUE_OF_BALMER, PRISM)
    assert found[0] == pytest.approx(2.0, abs=0.05)
    assert error[0] > power_law(spectra(continuum(-1.5, 0.5)), RED_OF_BALMER, PRISM)[1][0]


def test_the_lowest_window_is_found_in_its_noise():
    flux = np.ones(640)
    assert lowest(spectra(flux, 1.0), RED_OF_BALMER, FINE)[0][0] > 2.0
    flux[(WAVE > 5100.0) & (WAVE < 5460.0)] = -2.0
    found, _ = lowest(spectra(flux, 1.0), RED_OF_BALMER, FINE)
    n_pixels = np.log(5450.0 / 5110.0) / np.log(WAVE[1] / WAVE[0])
    assert found[0] == pytest.approx(-2.0 * np.sqrt(n_pixels), rel=0.05)
    assert np.isnan(lowest(spectra(flux, 1.0, 200.0), RED_OF_BALMER, PRISM)[0]).all()
