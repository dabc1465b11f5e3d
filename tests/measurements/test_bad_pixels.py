import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.archives.simulated.galaxies import GaussianLines
from distspec.archives.simulated.nirspec import WAVE, observe_lines
from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.spectrum import Spectrum, WavelengthGrid
from distspec.measurements.bad_pixels import (
    BAD_PIXEL_COLUMNS,
    THRESHOLDS,
    describe_worst_statistic,
    find_bad_pixels,
)
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess

GRID = WavelengthGrid("log", 1100.0, 8400.0, 640)
Z, ERR = 5.0, 0.05


def seen(added, rng=None, ivar=None, z=Z):
    """A flat continuum of S/N 20 with something added in native pixels [σ], on the grid."""
    flux = 1.0 + ERR * (
        np.zeros(len(WAVE)) + added + (0.0 if rng is None else rng.standard_normal(len(WAVE)))
    )
    ivar = np.full(len(WAVE), ERR**-2) if ivar is None else ivar
    batch, _ = preprocess([Spectrum("a", WAVE, flux, ivar, "uJy", z)], GRID, NormConfig(), -2.0)
    return batch.flux, batch.ivar


def found(added, rng=None, ivar=None, z=Z):
    return find_bad_pixels(*seen(added, rng, ivar, z), np.array([z]), GRID, NIRSPEC_PRISM)


def line(wave_um, height, z=Z):
    """A line that the instrument does not resolve, (473,) [σ]."""
    rest = np.array([[wave_um * 1e4 / (1.0 + z)]])
    made = observe_lines(
        GaussianLines(rest, np.ones((1, 1)), np.zeros((1, 1))), np.ones((1, 1)), np.array([z])
    )[0]
    return height * made / made.max()


def spike(pixel, height):
    added = np.zeros(len(WAVE))
    added[pixel] = height
    return added


@pytest.mark.parametrize("pixel", [60, 100, 150, 170, 190])
@pytest.mark.parametrize("sign", [1, -1])
def test_one_pixel_is_a_spike(pixel, sign, rng):
    artefacts = found(spike(pixel, sign * 40.0), rng)
    assert artefacts.spike_height[0] == pytest.approx(40.0, abs=6.0)
    at = GRID.wave_rest[artefacts.bad_pixels[0]] * (1.0 + Z) * 1e-4
    assert len(at)
    assert np.abs(at - WAVE[pixel]).max() < 1.6 * np.gradient(WAVE)[pixel]
    assert artefacts.negative_run_snr[0] < THRESHOLDS["artefact_negative"]


@given(wave=st.floats(0.8, 4.9), height=st.floats(10.0, 3000.0), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_line_is_never_masked(wave, height, seed):
    added = line(wave, height)
    assert not found(added, np.random.default_rng(seed)).bad_pixels.any()
    assert not found(-np.minimum(added, 19.0), np.random.default_rng(seed)).bad_pixels.any()


def test_neither_are_two_close_lines_nor_the_valley_between(rng):
    for apart in np.linspace(0.01, 0.08, 8):
        assert not found(line(3.0, 300.0) + line(3.0 + apart, 900.0), rng).bad_pixels.any()


def test_a_negative_run_is_masked_where_it_is_negative(rng):
    added = np.zeros(len(WAVE))
    added[200:230] = -40.0  # the continuum is 20 σ
    artefacts = found(added, rng)
    assert artefacts.negative_run_snr[0] > 30.0
    at = GRID.wave_rest[artefacts.bad_pixels[0]] * (1.0 + Z) * 1e-4
    assert WAVE[198] < at.min() < WAVE[202]
    assert WAVE[227] < at.max() < WAVE[231]


def test_an_absorption_that_is_not_negative_is_no_artefact(rng):
    added = np.zeros(len(WAVE))
    added[200:230] = -18.0
    assert found(added, rng).negative_run_snr[0] < THRESHOLDS["artefact_negative"]


@pytest.mark.parametrize("red", [False, True])
def test_flux_that_runs_away_at_an_end(red, rng):
    inward = np.arange(len(WAVE), dtype=float)
    z = 5.5 if red else 4.1
    run = 60.0 * np.exp(-(inward[::-1] if red else inward) / 15.0)
    assert found(run, rng, z=z).edge_excess[0] > THRESHOLDS["artefact_edge"]
    assert found(0.0 * run, rng, z=z).edge_excess[0] < THRESHOLDS["artefact_edge"]


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 4.0])
def test_noise_beyond_its_errors_is_measured(factor, rng):
    flux = np.concatenate([seen(0.0, rng)[0] for _ in range(20)])
    ivar = np.repeat(seen(0.0)[1], 20, axis=0) * factor**2
    scatter = find_bad_pixels(flux, ivar, np.full(20, Z), GRID, NIRSPEC_PRISM).scatter_ratio
    assert np.median(scatter) == pytest.approx(factor, rel=0.1)


def test_gaps_are_a_share_of_what_the_instrument_covers():
    ivar = np.full(len(WAVE), ERR**-2)
    assert found(0.0, ivar=ivar).masked_fraction[0] < 0.02
    ivar[150:300] = 0.0
    lost = np.log(WAVE[300] / WAVE[150]) / np.log(8400.0 / 1100.0)
    assert found(0.0, ivar=ivar).masked_fraction[0] == pytest.approx(lost, abs=0.02)


def test_a_row_depends_on_itself_alone(rng):
    spectra = [seen(spike(150, 10.0 * k) + line(2.0, 50.0), rng) for k in range(5)]
    flux, ivar = (np.concatenate(each) for each in zip(*spectra, strict=True))
    whole = find_bad_pixels(flux, ivar, np.full(5, Z), GRID, NIRSPEC_PRISM)
    for k in range(5):
        alone = find_bad_pixels(flux[k : k + 1], ivar[k : k + 1], np.array([Z]), GRID, NIRSPEC_PRISM)
        for one, other in zip(alone, whole, strict=True):
            assert np.array_equal(one[0], other[k])


def test_masked_pixels_may_hold_anything_and_are_never_called_bad(rng):
    flux, ivar = seen(spike(150, 99.0), rng)
    ivar = np.where(rng.random(ivar.shape) < 0.2, 0.0, ivar).astype(np.float32)
    one = find_bad_pixels(flux, ivar, np.array([Z]), GRID, NIRSPEC_PRISM)
    holes = np.where(ivar == 0, np.nan, flux).astype(np.float32)
    other = find_bad_pixels(holes, ivar, np.array([Z]), GRID, NIRSPEC_PRISM)
    assert not (one.bad_pixels & (ivar == 0)).any()
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(scale=st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_units_do_not_matter(scale):
    flux, ivar = seen(spike(150, 60.0), np.random.default_rng(3))
    one = find_bad_pixels(flux, ivar, np.array([Z]), GRID, NIRSPEC_PRISM).to_columns()
    scaled = flux * np.float32(scale), ivar / np.float32(scale) ** 2
    other = find_bad_pixels(*scaled, np.array([Z]), GRID, NIRSPEC_PRISM).to_columns()
    for name in BAD_PIXEL_COLUMNS:
        assert np.allclose(one[name], other[name], rtol=1e-3, atol=1e-3), name


@pytest.mark.parametrize("n_valid", [0, 1, 5, 30])
def test_few_pixels_have_answers(n_valid):
    ivar = np.zeros((1, 640), np.float32)
    ivar[:, 300 : 300 + n_valid] = 1.0
    artefacts = find_bad_pixels(np.ones((1, 640), np.float32), ivar, np.array([Z]), GRID, NIRSPEC_PRISM)
    assert all(np.isfinite(values).all() for values in artefacts.to_columns().values())
    assert artefacts.masked_fraction[0] > 0.9
    assert artefacts.score[0] >= 1.0


def test_without_a_known_detector_each_pixel_is_one(rng):
    flux = rng.normal(1.0, 0.05, (3, 200)).astype(np.float32)
    flux[1, 90] = 9.0
    grid = WavelengthGrid("log", 1100.0, 8400.0, 200)
    artefacts = find_bad_pixels(flux, np.full((3, 200), 400.0, np.float32), np.zeros(3), grid, None)
    assert np.argwhere(artefacts.bad_pixels).tolist() == [[1, 90]]


def test_the_worst_is_named():
    parts = dict.fromkeys(THRESHOLDS, 0.0)
    assert describe_worst_statistic(parts) == ""
    assert (
        describe_worst_statistic(parts | {"artefact_edge": 5.0})
        == "excess flux at an end of the spectrum (2.0 times the threshold)"
    )
