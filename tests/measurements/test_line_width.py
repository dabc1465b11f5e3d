"""Intrinsic widths of lines, against lines of known width."""

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


def measure(some):
    return measure_line_width(some, HALPHA, NIRSPEC_PRISM)


@settings(max_examples=60)
@given(
    km_s=st.floats(800.0, 4000.0),
    z=st.floats(4.8, 6.9),
    offset=st.floats(-3e-3, 3e-3),
    slope=st.floats(-3.0, 3.0),
    log_scale=st.floats(-5.0, 5.0),
)
def test_the_width_of_a_broad_line_at_any_redshift_slope_and_flux_scale(km_s, z, offset, slope, log_scale):
    flux = galaxy({"Hα": 800.0}, slope, slope, z=z, km_s=km_s)
    some = spectra(10.0**log_scale * flux, 100.0, z)
    found, error = measure(some._replace(z=some.z + offset * (1.0 + z)))
    assert found[0] == pytest.approx(km_s, rel=0.05, abs=60.0)
    assert 0.0 < error[0] < 500.0


def test_an_unresolved_line_has_no_intrinsic_width():
    found, error = measure(spectra(galaxy({"Hα": 500.0}), 50.0))
    assert found[0] == pytest.approx(0.0, abs=200.0)
    assert found[0] < error[0]
    # A point source, whose LSF is narrower than the nominal one.
    step = np.log(GRID.edges[1] / GRID.edges[0])
    narrow = np.exp(-0.5 * ((np.arange(640) - np.log(HALPHA / GRID.wave_rest[0]) / step) / 0.4) ** 2)
    found, _ = measure(spectra(1.0 + 30.0 * narrow, 50.0))
    assert found[0] == 0.0


def test_errors_are_not_smaller_than_the_scatter_of_noise():
    some = spectra(np.tile(galaxy({"Hα": 800.0}, z=5.5, km_s=1500.0), (300, 1)), 5.0, 5.5)
    found, error = measure(noisy(some))
    assert np.isfinite(found).all()
    pull = (found - 1500.0) / error
    assert np.mean(pull) == pytest.approx(0.0, abs=0.4)
    assert 0.2 < np.std(pull) < 1.2


def test_lines_that_cannot_be_measured_give_nan():
    broad = galaxy({"Hα": 800.0}, km_s=2000.0)
    assert np.isfinite(measure(spectra(broad))).all()
    near = galaxy({"Hα": 800.0}, z=3.0, km_s=2000.0)
    assert np.isnan(measure(spectra(near, z=3.0))).all(), "instrument too coarse"
    assert np.isnan(measure(spectra(galaxy({"Hα": 20.0}), 5.0))).all(), "line too weak"
    assert np.isnan(measure(spectra(galaxy({"Hα": -50.0})))).all(), "absorption"
    assert np.isnan(measure(spectra(broad, z=8.0))).all(), "outside the detector"
    some = spectra(broad)
    masked = np.abs(GRID.wave_rest - HALPHA) < 60.0
    assert np.isnan(measure(some._replace(ivar=np.where(masked, 0.0, some.ivar).astype(np.float32)))).all()


def test_other_rows_do_not_matter():
    some = noisy(spectra(np.tile(galaxy({"Hα": 800.0}, km_s=1500.0), (5, 1)), 10.0))
    one = GriddedSpectra(some.flux[3:4], some.ivar[3:4], some.z[3:4], GRID)
    assert np.array_equal(np.array(measure(one))[:, 0], np.array(measure(some))[:, 3])
