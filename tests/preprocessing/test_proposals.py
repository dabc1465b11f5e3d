"""Grids and windows that are proposed from samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.errors import ArchiveError, ConfigError
from distspec.core.spectrum import Spectrum
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.proposals import (
    MAX_PIXELS,
    MIN_PIXELS,
    estimate_resolving_power,
    propose_grid,
    propose_norm,
)
from distspec.preprocessing.resampling import GridConfig
from distspec.preprocessing.rest_frame import preprocess, to_rest_frame_batch

OPEN_GRID = GridConfig(start=0.0, stop=0.0, n_pixels=0)
OPEN_NORM = NormConfig(reference_wave=0.0, windows=())


def spectrum(low: float, high: float, z: float = 0.0, n: int = 800, snr: float = 20.0) -> Spectrum:
    wave = np.geomspace(low, high, n)
    flux = wave**-1.5
    return Spectrum("a", wave, flux, (snr / flux) ** 2, "erg s-1 cm-2 AA-1", z)


def propose(spectra: list[Spectrum]) -> tuple[GridConfig, NormConfig]:
    rest = to_rest_frame_batch(spectra)
    grid = propose_grid(rest, OPEN_GRID)
    return grid, propose_norm(rest, grid, OPEN_NORM)


def test_the_grid_is_the_range_of_half_of_the_spectra_in_their_pixels():
    spectra = [spectrum(0.4, 0.9, z) for z in (0.0, 0.1, 0.2)]
    grid, norm = propose(spectra)
    assert (grid.start, grid.stop) == (3640.0, 8180.0)
    width = np.log(grid.stop / grid.start) / grid.n_pixels
    assert width == pytest.approx(np.log(0.9 / 0.4) / 799, rel=0.01)
    assert norm.windows[0][0] <= norm.reference_wave <= norm.windows[0][1]
    assert 3640.0 < norm.reference_wave < 8180.0
    assert estimate_resolving_power(to_rest_frame_batch(spectra)) == pytest.approx(490.0)


def test_requested_settings_stay_and_the_resolving_power_limits_the_pixels():
    rest = to_rest_frame_batch([spectrum(0.4, 0.9)])
    assert propose_grid(rest, GridConfig()) == GridConfig()
    assert propose_grid(rest, GridConfig(start=5000.0, stop=6000.0, n_pixels=0)).start == 5000.0
    assert propose_grid(rest, GridConfig(start=0.0, stop=0.0, n_pixels=99)).n_pixels == 99
    coarse = propose_grid(rest, OPEN_GRID, resolving_power=100.0)
    assert coarse.n_pixels == pytest.approx(200.0 * np.log(coarse.stop / coarse.start), abs=1)
    assert propose_grid(rest, GridConfig("uniform", 5000.0, 6000.0, 0)).n_pixels > MIN_PIXELS
    assert propose_norm(rest, GridConfig(), NormConfig(0.0)).reference_wave == 1500.0
    windows = ((5000.0, 5100.0),)
    assert propose_norm(rest, GridConfig(), NormConfig(0.0, windows)).windows == windows
    assert propose_norm(rest, GridConfig(), NormConfig(5000.0, ())).reference_wave == 5000.0


def test_windows_are_chosen_so_that_spectra_of_different_ranges_are_all_normalized():
    spectra = [spectrum(0.35, 0.5), spectrum(0.36, 0.5), spectrum(0.55, 0.9), spectrum(1.5, 1.7)]
    grid, norm = propose(spectra)
    batch, rejected = preprocess(spectra, grid.resolve(np.zeros(1)), norm, -1.5)
    assert {i for i, error in rejected if error.reason == "no_normalisation"} == set()
    assert len(batch) + len(rejected) == 4


def test_beyond_the_known_windows_they_divide_the_range():
    _, norm = propose([spectrum(5.0, 25.0, snr=50.0)])
    assert all(5e4 < low < high < 2.5e5 for low, high in norm.windows)


def test_a_sample_that_tells_nothing_is_refused_with_the_settings():
    dark = spectrum(0.4, 0.9)
    rest = to_rest_frame_batch([Spectrum("a", dark.wave, -dark.flux, dark.ivar, dark.unit, 0.0)])
    with pytest.raises(ArchiveError, match=r"--norm.windows"):
        propose_norm(rest, GridConfig(), OPEN_NORM)
    with pytest.raises(ArchiveError, match=r"--grid.start"):
        propose_grid(rest, GridConfig(start=100.0, stop=200.0, n_pixels=0))
    with pytest.raises(ArchiveError, match=r"--grid.start"):
        propose_grid(to_rest_frame_batch([]), OPEN_GRID)
    with pytest.raises(ConfigError, match="observed"):
        GridConfig(start=0.0, stop=0.0, frame="observed")


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.floats(0.1, 3.0), st.floats(1.05, 5.0), st.floats(0.0, 8.0)), min_size=1, max_size=6
    )
)
def test_any_sample_gives_a_complete_grid_in_its_range(parameters):
    spectra = [spectrum(low, low * factor, z, n=100) for low, factor, z in parameters]
    grid, norm = propose(spectra)
    assert grid.is_complete
    assert norm.is_complete
    assert MIN_PIXELS <= grid.n_pixels <= MAX_PIXELS
    rest = [s.wave[[0, -1]] * 1e4 / (1.0 + s.z) for s in spectra]
    assert (
        min(low for low, _ in rest) * 0.99 <= grid.start < grid.stop <= max(high for _, high in rest) * 1.01
    )
