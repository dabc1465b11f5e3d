"""Errors of measurements against the scatter between two observations of each of many simulated galaxies."""

import numpy as np
import pytest

from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from distspec.pipeline.recipes import dja
from tests.benchmarks.survey import simulate_held_out_sample

MIN_SNR = 2.0


@pytest.fixture(scope="module")
def pulls():
    """Differences between two observations in units of their errors, by measurement."""
    config = dja("unused")
    grid = config.grid.resolve(np.array([5.5]))
    sample = simulate_held_out_sample(600, 5, grid, config.norm)
    first, second = (
        NIRSPEC_PRISM_MEASUREMENTS.measure(view.flux, view.ivar, view.z, grid)
        for view in (sample.first, sample.new_noise)
    )
    bright = sample.first.snr > MIN_SNR
    return {
        name: (first[name] - second[name])[bright]
        / np.hypot(first[f"{name}_err"], second[f"{name}_err"])[bright]
        for name in first
        if f"{name}_err" in first
    }


@pytest.mark.parametrize(
    "name",
    [
        "lya_ew", "uv_slope", "balmer_break", "optical_slope", "ciii_ew", "oii_ew", "hbeta_ew", "oiii_ew",
        "halpha_ew", "heii_ew", "nev_ew", "beta_uv", "beta_opt", "v_shape",
    ],
)  # fmt: skip
def test_errors_are_the_scatter_between_repeats(pulls, name):
    low, high = np.nanpercentile(pulls[name], [16, 84])
    assert 0.75 < (high - low) / 2 < 1.25
