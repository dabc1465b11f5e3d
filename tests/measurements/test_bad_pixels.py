"""Bad pixels: spikes, negative runs, ends and noise are found, and lines are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.archives.simulated.galaxies import GaussianLines
from distspec.archives.simulated.nirspec import WAVE, observe_lines
from distspec.core.instruments import NIRSPEC_PRISM, NIRSPEC_PRISM_RESOLUTION
from distspec.core.spectrum import Spectrum, WavelengthGrid
from distspec.measurements.bad_pixels import (
    BAD_PIXEL_COLUMNS,
    THRESHOLDS,
    describe_worst_statistic,
    find_bad_pixels,
)
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess
from tests.helpers.plateaus import find_in_spectra, insert_plateaus, read_spectra

GRID = WavelengthGrid("log", 1100.0, 8400.0, 640)
Z, ERR = 5.0, 0.05


def observe(added, rng=None, ivar=None, z=Z):
    """Put a flat continuum of S/N 20 on the grid, with something added in native pixels [sigma]."""
    noise = 0.0 if rng is None else rng.standard_normal(len(WAVE))
    flux = 1.0 + ERR * (np.zeros(len(WAVE)) + added + noise)
    ivar = np.full(len(WAVE), ERR**-2) if ivar is None else ivar
    batch, _ = preprocess([Spectrum("a", WAVE, flux, ivar, "uJy", z)], GRID, NormConfig(), -2.0)
    return batch.flux, batch.ivar


def find(added, rng=None, ivar=None, z=Z):
    return find_bad_pixels(*observe(added, rng, ivar, z), np.array([z]), GRID, NIRSPEC_PRISM)


def line(wave_um, height, z=Z):
    """Return an unresolved line in native pixels [sigma]."""
    rest = np.array([[wave_um * 1e4 / (1.0 + z)]])
    lines = GaussianLines(rest, np.ones((1, 1)), np.zeros((1, 1)))
    profile = observe_lines(lines, np.ones((1, 1)), np.array([z]))[0]
    return height * profile / profile.max()


def spike(pixel, height):
    added = np.zeros(len(WAVE))
    added[pixel] = height
    return added


@pytest.mark.parametrize("pixel", [60, 100, 150, 170, 190])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_single_high_or_low_pixel_is_a_spike(pixel, sign, rng):
    result = find(spike(pixel, sign * 40.0), rng)
    assert result.spike_height[0] == pytest.approx(40.0, abs=6.0)
    at = GRID.wave_rest[result.bad_pixels[0]] * (1.0 + Z) * 1e-4
    assert len(at)
    assert np.abs(at - WAVE[pixel]).max() < 1.6 * np.gradient(WAVE)[pixel]
    assert result.negative_run_snr[0] < THRESHOLDS["artefact_negative"]


@given(wave=st.floats(0.8, 4.9), height=st.floats(10.0, 3000.0), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_a_line_is_never_flagged(wave, height, seed):
    added = line(wave, height)
    assert not find(added, np.random.default_rng(seed)).bad_pixels.any()
    assert not find(-np.minimum(added, 19.0), np.random.default_rng(seed)).bad_pixels.any()


def test_two_close_lines_and_the_valley_between_them_are_not_flagged(rng):
    for separation in np.linspace(0.01, 0.08, 8):
        assert not find(line(3.0, 300.0) + line(3.0 + separation, 900.0), rng).bad_pixels.any()


@pytest.mark.parametrize("pixel", [60, 120, 200, 280])
@pytest.mark.parametrize("n_pixels", [8, 13])
def test_a_plateau_is_flagged_over_its_whole_width(pixel, n_pixels, rng):
    added = np.zeros(len(WAVE))
    added[pixel : pixel + n_pixels] = 200.0
    result = find(added, rng)
    assert result.score[0] >= 1.0
    at = GRID.wave_rest[result.bad_pixels[0]] * (1.0 + Z) * 1e-4
    assert WAVE[pixel - 2] < at.min() < WAVE[pixel + 1]
    assert WAVE[pixel + n_pixels - 2] < at.max() < WAVE[pixel + n_pixels + 1]


@given(
    wave=st.floats(0.9, 4.7),
    fwhm=st.floats(500.0, 8000.0),
    height=st.floats(20.0, 3000.0),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_a_broad_line_is_never_flagged(wave, fwhm, height, seed):
    instrument = np.interp(wave, *np.transpose(NIRSPEC_PRISM_RESOLUTION))
    sigma = wave * np.hypot(fwhm / 299_792.458, 1.0 / instrument) / 2.3548
    added = height * np.exp(-0.5 * ((WAVE - wave) / sigma) ** 2)
    assert not find(added, np.random.default_rng(seed)).bad_pixels.any()


@pytest.mark.parametrize("pixel", [60, 120, 200, 280])
def test_a_break_is_never_flagged(pixel, rng):
    assert not find(np.where(np.arange(len(WAVE)) < pixel, -19.0, 300.0), rng).bad_pixels.any()


def test_plateaus_in_real_spectra(dja_files, rng):
    """`tests.benchmarks.plateaus` measures the recall."""
    spectra = read_spectra(dja_files)
    assert find_in_spectra(spectra).score.max() < 1.0
    assert (find_in_spectra(insert_plateaus(spectra, 100, 200.0, rng)).score >= 1.0).mean() > 0.8


def test_a_negative_run_is_flagged_where_it_is_negative(rng):
    added = np.zeros(len(WAVE))
    added[200:230] = -40.0  # the continuum is at 20 sigma
    result = find(added, rng)
    assert result.negative_run_snr[0] > 30.0
    at = GRID.wave_rest[result.bad_pixels[0]] * (1.0 + Z) * 1e-4
    assert WAVE[198] < at.min() < WAVE[202]
    assert WAVE[227] < at.max() < WAVE[231]


def test_absorption_that_leaves_positive_flux_is_not_flagged(rng):
    added = np.zeros(len(WAVE))
    added[200:230] = -18.0
    assert find(added, rng).negative_run_snr[0] < THRESHOLDS["artefact_negative"]


@pytest.mark.parametrize("red", [False, True])
def test_flux_that_rises_toward_an_end(red, rng):
    pixel = np.arange(len(WAVE), dtype=float)
    z = 5.5 if red else 4.1
    excess = 60.0 * np.exp(-(pixel[::-1] if red else pixel) / 15.0)
    assert find(excess, rng, z=z).edge_excess[0] > THRESHOLDS["artefact_edge"]
    assert find(0.0 * excess, rng, z=z).edge_excess[0] < THRESHOLDS["artefact_edge"]


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 4.0])
def test_the_ratio_of_noise_to_its_errors_is_measured(factor, rng):
    flux = np.concatenate([observe(0.0, rng)[0] for _ in range(20)])
    ivar = np.repeat(observe(0.0)[1], 20, axis=0) * factor**2
    scatter = find_bad_pixels(flux, ivar, np.full(20, Z), GRID, NIRSPEC_PRISM).scatter_ratio
    assert np.median(scatter) == pytest.approx(factor, rel=0.1)


def test_gaps_are_a_fraction_of_the_range_of_the_instrument():
    ivar = np.full(len(WAVE), ERR**-2)
    assert find(0.0, ivar=ivar).masked_fraction[0] < 0.02
    ivar[150:300] = 0.0
    gap = np.log(WAVE[300] / WAVE[150]) / np.log(8400.0 / 1100.0)
    assert find(0.0, ivar=ivar).masked_fraction[0] == pytest.approx(gap, abs=0.02)


def test_a_row_does_not_depend_on_other_rows(rng):
    spectra = [observe(spike(150, 10.0 * k) + line(2.0, 50.0), rng) for k in range(5)]
    flux, ivar = (np.concatenate(parts) for parts in zip(*spectra, strict=True))
    whole = find_bad_pixels(flux, ivar, np.full(5, Z), GRID, NIRSPEC_PRISM)
    for k in range(5):
        alone = find_bad_pixels(flux[k : k + 1], ivar[k : k + 1], np.array([Z]), GRID, NIRSPEC_PRISM)
        for single, batch in zip(alone, whole, strict=True):
            assert np.array_equal(single[0], batch[k])


def test_values_of_masked_pixels_do_not_matter_and_are_never_flagged(rng):
    flux, ivar = observe(spike(150, 99.0), rng)
    ivar = np.where(rng.random(ivar.shape) < 0.2, 0.0, ivar).astype(np.float32)
    before = find_bad_pixels(flux, ivar, np.array([Z]), GRID, NIRSPEC_PRISM)
    holes = np.where(ivar == 0, np.nan, flux).astype(np.float32)
    after = find_bad_pixels(holes, ivar, np.array([Z]), GRID, NIRSPEC_PRISM)
    assert not (before.bad_pixels & (ivar == 0)).any()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@given(scale=st.floats(1e-3, 1e3))
@settings(max_examples=20)
def test_the_unit_of_the_flux_does_not_matter(scale):
    flux, ivar = observe(spike(150, 60.0), np.random.default_rng(3))
    before = find_bad_pixels(flux, ivar, np.array([Z]), GRID, NIRSPEC_PRISM).to_columns()
    scaled = flux * np.float32(scale), ivar / np.float32(scale) ** 2
    after = find_bad_pixels(*scaled, np.array([Z]), GRID, NIRSPEC_PRISM).to_columns()
    for name in BAD_PIXEL_COLUMNS:
        assert np.allclose(before[name], after[name], rtol=1e-3, atol=1e-3), name


@pytest.mark.parametrize("n_valid", [0, 1, 5, 30])
def test_spectra_with_few_valid_pixels_have_finite_statistics(n_valid):
    ivar = np.zeros((1, 640), np.float32)
    ivar[:, 300 : 300 + n_valid] = 1.0
    result = find_bad_pixels(np.ones((1, 640), np.float32), ivar, np.array([Z]), GRID, NIRSPEC_PRISM)
    assert all(np.isfinite(values).all() for values in result.to_columns().values())
    assert result.masked_fraction[0] > 0.9
    assert result.score[0] >= 1.0


def test_without_a_disperser_each_grid_pixel_is_a_detector_pixel(rng):
    flux = rng.normal(1.0, 0.05, (3, 200)).astype(np.float32)
    flux[1, 90] = 9.0
    grid = WavelengthGrid("log", 1100.0, 8400.0, 200)
    result = find_bad_pixels(flux, np.full((3, 200), 400.0, np.float32), np.zeros(3), grid, None)
    assert np.argwhere(result.bad_pixels).tolist() == [[1, 90]]


def test_without_a_disperser_a_blend_of_lines_is_no_plateau(rng):
    grid = WavelengthGrid("log", 1100.0, 8400.0, 270)
    distance = (grid.wave_rest[:, None] / np.array([4863.0, 5008.0]) - 1.0) / 0.01
    flux = 1.0 + 8.0 * np.exp(-0.5 * distance**2).sum(axis=1) + 0.1 * rng.normal(size=270)
    ivar = np.full((1, 270), 100.0, np.float32)
    result = find_bad_pixels(flux[None].astype(np.float32), ivar, np.array([Z]), grid, None)
    assert not result.bad_pixels.any()
    assert result.score[0] < 1.0


def test_the_rise_of_a_bright_continuum_is_no_bad_edge():
    grid = WavelengthGrid("log", 1100.0, 8400.0, 300)
    flux = (80.0 * grid.wave_rest[None] / 8400.0).astype(np.float32)
    result = find_bad_pixels(flux, np.ones((1, 300), np.float32), np.array([Z]), grid, None)
    assert result.edge_excess[0] < THRESHOLDS["artefact_edge"]


def test_the_worst_statistic_is_described():
    statistics = dict.fromkeys(THRESHOLDS, 0.0)
    assert describe_worst_statistic(statistics) == ""
    text = describe_worst_statistic(statistics | {"artefact_edge": 5.0})
    assert text == "excess flux at an end of the spectrum (2.0 times the threshold)"
