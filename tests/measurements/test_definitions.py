"""Sets of measurements: columns, scaling by errors, and what the standard sets measure."""

import pickle

import numpy as np
import pytest

from distspec.archives.registry import builtin_archives
from distspec.core.errors import ConfigError
from distspec.core.spectrum import WavelengthGrid
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from tests.helpers.galaxies import galaxy, spectra

GRID = WavelengthGrid("log", 1100.0, 8400.0, 320)
PRISM = NIRSPEC_PRISM_MEASUREMENTS


def lya_values(ew, err):
    return {"lya_ew": np.array(ew, np.float32), "lya_ew_err": np.array(err, np.float32)}


@pytest.mark.parametrize("name", ["", *builtin_archives()])
def test_every_declared_column_is_measured(name):
    measurements = builtin_archives()[name].measurements if name else MeasurementSet()
    flux, ivar = np.ones((4, 320), np.float32), np.full((4, 320), 100.0, np.float32)
    values = measurements.measure(flux, ivar, np.full(4, 5.0), GRID)
    assert list(values) == [column.name for column in measurements.columns]
    assert all(value.shape == (4,) and value.dtype == np.float32 for value in values.values())


def test_a_description_states_the_definition_and_its_reference():
    columns = {column.name: column.description for column in PRISM.columns}
    assert columns["balmer_break"].startswith(
        "Balmer break: mean f_nu of 4150-4250 over 3400-3600 Angstrom (Bing"
    )
    assert columns["oiii_ew"].startswith(
        "Rest equivalent width of [O III] 4960 and 5008, emission positive: flux of"
    )
    for measurement in PRISM.definitions:
        assert measurement.needs
        assert columns[measurement.name].endswith("; null where not covered.")


def test_measurements_travel_to_workers():
    copy = pickle.loads(pickle.dumps(PRISM))
    some = spectra(galaxy({"Hα": 300.0}))
    before, after = PRISM.measure(*some), copy.measure(*some)
    assert all(np.array_equal(before[name], after[name], equal_nan=True) for name in before)


def test_scaled_values_are_limited_by_error_and_scale():
    values = lya_values([0.0, 25.0, -25.0, 250.0, 250.0], [1.0, 0.0, 0.0, 1.0, 1e4])
    scaled = PRISM.scale_by_error(("lya_ew",), values)
    assert scaled.shape == (5, 1)
    assert scaled[:, 0] == pytest.approx([0.0, np.arcsinh(1.0), -np.arcsinh(1.0), 3.0, 0.025], abs=0.01)


def test_scaled_values_are_never_nan():
    scaled = PRISM.scale_by_error(("lya_ew",), lya_values([np.nan, 10.0], [np.nan, np.inf]))
    assert scaled.tolist() == [[0.0], [0.0]]
    assert PRISM.scale_by_error((), lya_values([1.0], [1.0])).shape == (1, 0)


def test_an_unknown_measurement_is_named_in_the_error():
    message = r"clustering\.measurements names lya_ew, which this archive does not measure: choose from none"
    with pytest.raises(ConfigError, match=message):
        MeasurementSet().scale_by_error(("lya_ew",), lya_values([1.0], [1.0]))


def test_the_snr_of_a_line_does_not_need_a_continuum():
    some = spectra(galaxy({"Hα": 300.0, "[O II]": 0.0}), 20.0)
    values = PRISM.measure(*some)
    assert values["halpha_snr"][0] > 10
    assert abs(values["oii_snr"][0]) < 3
    without_continuum = some._replace(flux=(some.flux - galaxy({})).astype(np.float32))
    line_only = PRISM.measure(*without_continuum)
    assert line_only["halpha_snr"][0] == pytest.approx(values["halpha_snr"][0], rel=0.05)
    assert line_only["halpha_ew"][0] < 3 * line_only["halpha_ew_err"][0] < np.inf
    assert np.isnan(PRISM.measure(*spectra(galaxy({"Hα": 300.0}), z=8.0))["halpha_snr"][0])


def test_equivalent_widths_of_he_ii_and_of_halpha_at_the_red_end():
    near = PRISM.measure(*spectra(galaxy({"He II": 30.0, "Hα": 300.0}), 50.0))
    assert near["heii_ew"][0] == pytest.approx(30.0, rel=0.1)
    assert near["halpha_blue_ew"][0] == pytest.approx(300.0, rel=0.05)
    far = PRISM.measure(*spectra(galaxy({"Hα": 300.0}, z=7.1), 50.0, 7.1))
    assert np.isnan(far["halpha_ew"][0])
    assert far["halpha_blue_ew"][0] == pytest.approx(300.0, rel=0.05)
