import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.archives.desi_cameras import CameraSpectra, coadd_cameras
from distspec.core.errors import InvalidSpectrumError, QuarantineReason

STEP = 0.8


def camera(first, n, flux, ivar=1.0, mask=None):
    """Return pixels ``first:first + n`` of the grid that starts at 3600 Å."""
    wave = 3600.0 + STEP * (first + np.arange(n))
    flux, ivar = (
        np.broadcast_to(np.asarray(flux, ">f4"), (1, n)),
        np.broadcast_to(np.asarray(ivar, ">f4"), (1, n)),
    )
    return CameraSpectra(wave, flux, ivar, mask)


def test_overlap_is_the_weighted_mean():
    wave, flux, ivar = coadd_cameras([camera(0, 10, 1.0, 3.0), camera(6, 10, 5.0, 1.0)], 0)
    assert np.allclose(wave * 1e4, 3600.0 + STEP * np.arange(16))
    assert np.allclose(flux, [1.0] * 6 + [2.0] * 4 + [5.0] * 6)
    assert np.allclose(ivar, [3.0] * 6 + [4.0] * 4 + [1.0] * 6)


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4),
    st.lists(st.floats(0.125, 100, width=32), min_size=4, max_size=4),
)
def test_mean_lies_between_the_cameras_with_smaller_variance(flux, ivar):
    a, b = camera(0, 2, flux[:2], ivar[:2]), camera(0, 2, flux[2:], ivar[2:])
    _, mean, weight = coadd_cameras([a, b], 0)
    low, high = np.minimum(flux[:2], flux[2:]), np.maximum(flux[:2], flux[2:])
    assert ((low - 1e-4 <= mean) & (mean <= high + 1e-4)).all()
    assert np.allclose(weight, np.add(ivar[:2], ivar[2:]))


def test_masked_pixel_uses_the_other_camera():
    mask = np.zeros((1, 10), ">i4")
    mask[0, :8] = 2
    _, flux, ivar = coadd_cameras([camera(0, 10, 1.0), camera(0, 10, 5.0, mask=mask)], 0)
    assert np.allclose(flux, [1.0] * 8 + [3.0] * 2)
    assert np.allclose(ivar, [1.0] * 8 + [2.0] * 2)


@pytest.mark.parametrize("flux", [np.nan, np.inf])
def test_values_that_are_not_finite_have_no_weight(flux):
    _, joined, ivar = coadd_cameras([camera(0, 4, [1.0, flux, 1.0, 1.0], [1.0, 1.0, -1.0, np.nan])], 0)
    assert ivar.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert joined.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_gap_between_cameras_is_masked_pixels():
    wave, _, ivar = coadd_cameras([camera(0, 5, 1.0), camera(20, 5, 1.0)], 0)
    assert np.allclose(np.diff(wave), STEP * 1e-4)
    assert np.flatnonzero(ivar == 0).tolist() == list(range(5, 20))


@pytest.mark.parametrize("first", [5.3, 1e9])
def test_different_grid_is_refused(first):
    with pytest.raises(InvalidSpectrumError) as caught:
        coadd_cameras([camera(0, 10, 1.0), camera(first, 10, 1.0)], 0)
    assert caught.value.reason is QuarantineReason.BAD_WAVE


@pytest.mark.parametrize(
    "wave",
    [
        [3600.0] * 4,
        [3600.0, 3601.6, 3600.8, 3602.4],
        [3600.0, np.nan, 3601.6, 3602.4],
        [360.0, 361, 362, 363],
    ],
)
def test_irregular_wavelengths_are_refused(wave):
    one = np.ones((1, 4))
    with pytest.raises(InvalidSpectrumError) as caught:
        coadd_cameras([CameraSpectra(np.array(wave), one, one, None)], 0)
    assert caught.value.reason is QuarantineReason.BAD_WAVE
