import numpy as np
import pytest

from distspec.catalog.healpix import HEALPIX_ORDER, compute_cone_range, degrade_to_order, radec_to_healpix


@pytest.mark.parametrize("radius", [1e-4, 0.05, 3.0, 40.0, 180.0])
def test_the_range_of_a_cone_covers_it(rng, radius):
    for ra, dec in [(0.0, 0.0), (53.16, -27.79), (359.99, 89.99), (45.0, 0.0), (10.0, -90.0)]:
        low, high = compute_cone_range(ra, dec, radius)
        near = rng.uniform(-radius, radius, 500) * 0.7
        cells = radec_to_healpix(np.full(500, ra), np.clip(dec + near, -90.0, 90.0))
        assert ((low <= cells) & (cells <= high)).all()
    assert 0 <= low <= high < 12 << 2 * HEALPIX_ORDER


def test_the_range_of_a_small_cone_is_small():
    low, high = compute_cone_range(53.16, -27.79, 1 / 3600)
    assert (high - low) / (12 << 2 * HEALPIX_ORDER) < 1e-8


def test_right_ascension_wraps_and_cells_are_nested():
    assert radec_to_healpix(np.array([-1.0]), np.array([5.0])) == radec_to_healpix(
        np.array([359.0]), np.array([5.0])
    )
    fine = radec_to_healpix(np.array([10.0, 10.001]), np.array([5.0, 5.0]))
    assert fine[0] != fine[1]
    assert degrade_to_order(fine, 3)[0] == degrade_to_order(fine, 3)[1]
