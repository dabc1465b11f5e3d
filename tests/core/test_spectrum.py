import numpy as np
import pytest

from distspec.core.spectrum import WavelengthGrid


@pytest.mark.parametrize("spacing", ["log", "uniform"])
def test_grid_tiles_its_range(spacing):
    grid = WavelengthGrid(spacing, 1100.0, 8400.0, 640)
    assert grid.edges[0] == pytest.approx(1100.0)
    assert grid.edges[-1] == pytest.approx(8400.0)
    assert np.all((grid.edges[:-1] < grid.wave_rest) & (grid.wave_rest < grid.edges[1:]))
    steps = np.diff(np.log(grid.edges)) if spacing == "log" else np.diff(grid.edges)
    assert np.allclose(steps, steps[0])


def test_a_grid_is_rebuilt_from_its_dict():
    grid = WavelengthGrid("log", 1100.0, 8400.0, 640)
    assert WavelengthGrid(**grid.to_dict()) == grid
