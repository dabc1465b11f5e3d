import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spectres import spectres

from distspec.preprocessing.resampling import (
    GAP_FACTOR,
    GAP_HALF_WINDOW,
    MIN_COVERAGE,
    divide_by_norm,
    median_snr,
    resample,
    resample_batch,
)


@st.composite
def spectra(draw):
    n = draw(st.integers(8, 120))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    wave = 1000.0 + np.cumsum(rng.uniform(1.0, 2.9, n))  # steps too similar to be gaps
    return wave, rng.normal(1.0, 0.5, n), rng.uniform(0.5, 4.0, n)


def pixel_edges(wave):
    middle = 0.5 * (wave[1:] + wave[:-1])
    return np.concatenate([[wave[0] - (middle[0] - wave[0])], middle, [wave[-1] + (wave[-1] - middle[-1])]])


@given(spectra(), st.integers(2, 60))
@settings(max_examples=60)
def test_agrees_with_spectres(spectrum, n_out):
    wave, flux, ivar = spectrum
    inner = pixel_edges(wave)
    new = np.linspace(inner[0], inner[-1], n_out + 2)[1:-1]
    new_edges = pixel_edges(new)
    resampled, ivar_resampled = resample(wave, flux, ivar, new_edges)
    expected, expected_err = spectres(new, wave, flux, spec_errs=ivar**-0.5, fill=np.nan, verbose=False)
    inside = (new_edges[:-1] >= inner[0]) & (new_edges[1:] <= inner[-1])
    assert np.allclose(resampled[inside], expected[inside], rtol=1e-6, atol=1e-9)
    assert np.allclose(ivar_resampled[inside] ** -0.5, expected_err[inside], rtol=1e-6)


@given(spectra(), st.integers(2, 60))
@settings(max_examples=60)
def test_conserves_flux(spectrum, n_out):
    wave, flux, ivar = spectrum
    edges_in = pixel_edges(wave)
    edges = np.linspace(edges_in[0], edges_in[-1], n_out + 1)
    out, _ = resample(wave, flux, ivar, edges)
    before = np.sum(flux * np.diff(edges_in))
    # The outermost edges coincide, so the integral is exact up to rounding.
    assert np.sum(out * np.diff(edges)) == pytest.approx(before, rel=1e-6, abs=1e-6)


@given(spectra(), st.data())
@settings(max_examples=60)
def test_values_of_masked_pixels_are_ignored(spectrum, data):
    wave, flux, ivar = spectrum
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=len(wave), max_size=len(wave))))
    ivar = np.where(masked, 0.0, ivar)
    edges = np.linspace(wave[0], wave[-1], 20)
    reference = resample(wave, np.where(masked, 0.0, flux), ivar, edges)
    with_nan = resample(wave, np.where(masked, np.nan, flux), ivar, edges)
    assert np.array_equal(reference, with_nan)


def test_pixel_is_valid_from_the_minimum_coverage_on():
    wave = np.array([0.5, 1.5, 2.5, 3.5])
    ivar = np.array([1.0, 0.0, 0.0, 0.0])
    out, out_ivar = resample(wave, np.ones(4), ivar, np.array([0.0, 1.0 / MIN_COVERAGE, 4.0]))
    assert out_ivar[0] > 0
    assert out[0] == 1.0
    out, out_ivar = resample(wave, np.ones(4), ivar, np.array([0.0, 1.0 / MIN_COVERAGE + 0.1, 4.0]))
    assert out_ivar[0] == 0
    assert out[0] == 0


def test_independent_noise_averages_down(rng):
    wave = np.arange(1.0, 20_001.0)
    flux = rng.normal(0.0, 2.0, len(wave))
    out, ivar = resample(wave, flux, np.full(len(wave), 0.25), np.arange(0.5, 20_000.6, 10.0))
    assert np.allclose(ivar, 10 * 0.25)
    assert np.std(out * np.sqrt(ivar)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("n", "at"), [(100, 1), (100, 40), (100, 60), (100, 98), (10, 9), (26, 25)])
def test_flux_is_not_spread_over_a_gap(n, at):
    wave = np.arange(1000.0, 1000.0 + n)
    wave[at:] += 50.0
    edges = np.arange(wave[0] - 20.5, wave[-1] + 21.0)
    flux, ivar = resample(wave, np.ones(n), np.ones(n), edges)
    centers = edges[:-1] + 0.5
    assert np.array_equal(centers[ivar > 0], wave)
    assert np.sum(flux) == pytest.approx(n)
    assert np.allclose(ivar[ivar > 0], 1.0)


def test_isolated_pixels_between_gaps_keep_their_width():
    steps = np.ones(60)
    steps[[20, 21, 22, 40]] = [80.0, 4.0, 90.0, 3.5]
    wave = 1000.0 + np.concatenate([[0.0], np.cumsum(steps)])
    edges = np.arange(990.0, wave[-1] + 10.0, 0.25)
    _, ivar = resample(wave, np.ones(61), np.ones(61), edges)
    covered = np.count_nonzero(ivar) * 0.25
    assert covered == pytest.approx(61.0)


def test_two_missing_pixels_are_not_a_gap():
    wave = np.delete(np.arange(1000.0, 1060.0), [30, 31])
    _, ivar = resample(wave, np.ones(58), np.ones(58), np.arange(999.5, 1060.0))
    assert np.all(ivar > 0)


def test_slowly_growing_steps_are_not_gaps():
    wave = np.geomspace(0.5, 5.0, 40) ** 3.0
    _, ivar = resample(wave, np.ones(40), np.ones(40), wave)
    assert np.all(ivar > 0)


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=50), st.data())
@settings(max_examples=100)
def test_pixel_extent_is_limited_by_the_local_median_step(steps, data):
    wave = 1e8 + np.concatenate([[0.0], np.cumsum(steps)])
    steps = np.diff(wave)
    i = data.draw(st.integers(0, len(wave) - 1))
    lone = np.where(np.arange(len(wave)) == i, 1.0, 0.0)
    for side, k in ((-1, max(i - 1, 0)), (1, min(i, len(steps) - 1))):
        near = np.sort(steps[max(k - GAP_HALF_WINDOW, 0) : k + GAP_HALF_WINDOW + 1])
        reach = 0.5 * GAP_FACTOR * near[(len(near) - 1) // 2]
        beyond = np.sort(wave[i] + side * reach * np.array([1.01, 1.02]))
        assert not resample(wave, np.ones(len(wave)), lone, beyond)[1].any()


@given(st.lists(spectra(), max_size=5))
@settings(max_examples=30)
def test_batch_equals_spectra_resampled_one_by_one(sample):
    edges = np.linspace(1005.0, 1200.0, 40)
    offsets = np.cumsum([0, *(len(wave) for wave, _, _ in sample)])
    joined = [np.concatenate([np.zeros(0), *(part[c] for part in sample)]) for c in range(3)]
    flux, ivar = resample_batch(*joined, offsets, edges)
    assert flux.shape == ivar.shape == (len(sample), 39)
    for k, spectrum in enumerate(sample):
        assert np.array_equal((flux[k], ivar[k]), resample(*spectrum, edges))


def test_rows_are_divided_by_the_norm_and_overflows_are_masked():
    flux = np.array([[2.0, 4.0, 3e6, 2.0, np.inf, 0.0], [1.0] * 6])
    ivar = np.array([[25.0, 0.0, 1.0, 1e30, 1.0, 1e-60], [1.0] * 6])
    out, out_ivar, n_covered, n_valid = divide_by_norm(flux, ivar, np.array([2.0, np.nan]))
    assert out.dtype == out_ivar.dtype == np.float32
    assert np.array_equal(out[0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert np.array_equal(out_ivar[0], [100.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert not out[1].any()
    assert not out_ivar[1].any()
    assert list(n_covered) == [5, 6]
    assert list(n_valid) == [1, 0]


def test_median_snr_uses_valid_pixels():
    flux = np.array([[1.0, 2.0, 50.0], [1.0, 1.0, 1.0]], np.float32)
    ivar = np.array([[4.0, 4.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    snr = median_snr(flux, ivar)
    assert snr[0] == 3.0
    assert np.isnan(snr[1])
