"""Widths of lines beyond the instrument's against lines of known width."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.lines import GALAXY_LINES
from distspec.measurements.indices import GriddedSpectra
from distspec.measurements.line_width import measure_line_width
from tests.helpers.galaxies import GRID, galaxy, noisy, spectra

HALPHA = GALAXY_LINES["Hα"]


def of(some):
    return measure_line_width(some, HALPHA, NIRSPEC_PRISM)


@settings(max_examples=60, deadline=None)
@given(
    km_s=st.floats(800.0, 4000.0),
    z=st.floats(4.8, 6.9),
    offset=st.floats(-3e-3, 3e-3),
    slope=st.floats(-3.0, 3.0),
    log_scale=st.floats(-5.0, 5.0),
)
def test_a_broad_line_has_its_width_wherever_it_is(km_s, z, offset, slope, log_scale):
    flux = galaxy({"Hα": 800.0}, slope, slope, z=z, km_s=km_s)
    some = spectra(10.0**log_scale * flux, 100.0, z)
    found, error = of(some._replace(z=some.z + offset * (1.0 + z)))
    assert found[0] == pytest.approx(km_s, rel=0.05, abs=60.0)
    assert 0.0 < error[0] < 500.0


def test_a_line_of_the_instruments_width_or_sharper_is_not_broad():
    found, error = of(spectra(galaxy({"Hα": 500.0}), 50.0))
    assert found[0] == pytest.approx(0.0, abs=200.0)
    assert found[0] < error[0]
    # A star in the middle of a shutter: two thirds of the width that is given.
    step = np.log(GRID.edges[1] / GRID.edges[0])
    sharp = np.exp(-0.5 * ((np.arange(640) - np.log(HALPHA / GRID.wave_rest[0]) / step) / 0.4) ** 2)
    found, _ = of(spectra(1.0 + 30.0 * sharp, 50.0))
    assert found[0] == 0.0


def test_errors_are_no_smaller_than_what_noise_does():
    some = spectra(np.tile(galaxy({"Hα": 800.0}, z=5.5, km_s=1500.0), (300, 1)), 5.0, 5.5)
    found, error = of(noisy(some))
    assert np.isfinite(found).all()
    pull = (found - 1500.0) / error
    assert np.mean(pull) == pytest.approx(0.0, abs=0.4)
    assert 0.2 < np.std(pull) < 1.2


def test_what_the_prism_cannot_tell_is_not_told():
    broad = galaxy({"Hα": 800.0}, km_s=2000.0)
    assert np.isfinite(of(spectra(broad))).all()
    near = galaxy({"Hα": 800.0}, z=3.0, km_s=2000.0)
    assert np.isnan(of(spectra(near, z=3.0))).all(), "too coarse"
    assert np.isnan(of(spectra(galaxy({"Hα": 20.0}), 5.0))).all(), "too weak"
    assert np.isnan(of(spectra(galaxy({"Hα": -50.0})))).all(), "absorbed"
    assert np.isnan(of(spectra(broad, z=8.0))).all(), "beside the detector"
    some = spectra(broad)
    lost = np.abs(GRID.wave_rest - HALPHA) < 60.0
    assert np.isnan(of(some._replace(ivar=np.where(lost, 0.0, some.ivar).astype(np.float32)))).all()


def test_neighbours_do_not_matter():
    some = noisy(spectra(np.tile(galaxy({"Hα": 800.0}, km_s=1500.0), (5, 1)), 10.0))
    one = GriddedSpectra(some.flux[3:4], some.ivar[3:4], some.z[3:4], GRID)
    assert np.array_equal(np.array(of(one))[:, 0], np.array(of(some))[:, 3])
