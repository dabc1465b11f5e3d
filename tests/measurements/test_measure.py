import numpy as np
import pytest

from distspec.core.spectrum import WavelengthGrid
from distspec.measurements.definitions import MEASUREMENTS
from distspec.measurements.measure import list_measurement_columns, measure_spectra, scale_measurements
from tests.helpers.galaxies import galaxy, spectra

GRID = WavelengthGrid("log", 1100.0, 8400.0, 320)


def values(ew, err):
    return {"lya_ew": np.array(ew, np.float32), "lya_ew_err": np.array(err, np.float32)}


@pytest.mark.parametrize("kind", [*MEASUREMENTS, ""])
def test_what_is_declared_is_what_is_measured(kind):
    flux, ivar = np.ones((4, 320), np.float32), np.full((4, 320), 100.0, np.float32)
    found = measure_spectra(kind, flux, ivar, np.full(4, 5.0), GRID)
    assert list(found) == [column.name for column in list_measurement_columns(kind)]
    assert all(value.shape == (4,) and value.dtype == np.float32 for value in found.values())


def test_strengths_are_bounded_by_error_and_scale():
    found = scale_measurements(
        "dja", ("lya_ew",), values([0.0, 25.0, -25.0, 250.0, 250.0], [1.0, 0.0, 0.0, 1.0, 1e4])
    )
    assert found.shape == (5, 1)
    assert found[:, 0] == pytest.approx([0.0, np.arcsinh(1.0), -np.arcsinh(1.0), 3.0, 0.025], abs=0.01)


def test_strengths_are_never_nan():
    found = scale_measurements("dja", ("lya_ew",), values([np.nan, 10.0], [np.nan, np.inf]))
    assert found.tolist() == [[0.0], [0.0]]
    assert scale_measurements("dja", (), values([1.0], [1.0])).shape == (1, 0)


def test_what_an_archive_has_not_is_named():
    with pytest.raises(
        ValueError, match=r"clustering\.measurements lya_ew: of archives of kind 'none' there are none"
    ):
        scale_measurements("none", ("lya_ew",), values([1.0], [1.0]))


def test_lines_say_how_sure_they_are_even_over_no_continuum():
    some = spectra(galaxy({"Hα": 300.0, "[O II]": 0.0}), 20.0)
    found = measure_spectra("dja", *some)
    assert found["halpha_snr"][0] > 10
    assert abs(found["oii_snr"][0]) < 3
    bare = some._replace(flux=(some.flux - galaxy({})).astype(np.float32))
    lost = measure_spectra("dja", *bare)
    assert lost["halpha_snr"][0] == pytest.approx(found["halpha_snr"][0], rel=0.05)
    assert lost["halpha_ew"][0] < 3 * lost["halpha_ew_err"][0] < np.inf
    assert np.isnan(measure_spectra("dja", *spectra(galaxy({"Hα": 300.0}), z=8.0))["halpha_snr"][0])


def test_he_ii_and_halpha_at_the_red_end_have_their_widths():
    near = measure_spectra("dja", *spectra(galaxy({"He II": 30.0, "Hα": 300.0}), 50.0))
    assert near["heii_ew"][0] == pytest.approx(30.0, rel=0.1)
    assert near["halpha_blue_ew"][0] == pytest.approx(300.0, rel=0.05)
    far = measure_spectra("dja", *spectra(galaxy({"Hα": 300.0}, z=7.1), 50.0, 7.1))
    assert np.isnan(far["halpha_ew"][0])
    assert far["halpha_blue_ew"][0] == pytest.approx(300.0, rel=0.05)
