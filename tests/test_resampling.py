import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spectres import spectres

from distspec.resampling import MIN_COVER, resample, window_mean


@st.composite
def spectra(draw):
    n = draw(st.integers(8, 120))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    wave = 1000.0 + np.cumsum(rng.uniform(1.0, 9.0, n))
    return wave, rng.normal(1.0, 0.5, n), rng.uniform(0.5, 4.0, n)


def pixel_edges(wave):
    middle = 0.5 * (wave[1:] + wave[:-1])
    return np.concatenate([[wave[0] - (middle[0] - wave[0])], middle, [wave[-1] + (wave[-1] - middle[-1])]])


@given(spectra(), st.integers(2, 60))
@settings(deadline=None, max_examples=60)
def test_agrees_with_spectres(spectrum, n_out):
    wave, flux, ivar = spectrum
    inner = pixel_edges(wave)
    new = np.linspace(inner[0], inner[-1], n_out + 2)[1:-1]
    new_edges = pixel_edges(new)
    ours, ours_ivar = resample(wave, flux, ivar, new_edges)
    theirs, theirs_err = spectres(new, wave, flux, spec_errs=ivar**-0.5, fill=np.nan, verbose=False)
    inside = (new_edges[:-1] >= inner[0]) & (new_edges[1:] <= inner[-1])
    assert np.allclose(ours[inside], theirs[inside], rtol=1e-6, atol=1e-9)
    assert np.allclose(ours_ivar[inside] ** -0.5, theirs_err[inside], rtol=1e-6)


@given(spectra(), st.integers(2, 60))
@settings(deadline=None, max_examples=60)
def test_conserves_flux(spectrum, n_out):
    wave, flux, ivar = spectrum
    edges_in = pixel_edges(wave)
    edges = np.linspace(edges_in[0], edges_in[-1], n_out + 1)
    out, _ = resample(wave, flux, ivar, edges)
    before = np.sum(flux * np.diff(edges_in))
    # The input's own edges are rebuilt from its centres, so the total is exact up to rounding.
    assert np.sum(out * np.diff(edges)) == pytest.approx(before, rel=1e-6, abs=1e-6)


@given(spectra(), st.data())
@settings(deadline=None, max_examples=60)
def test_masked_input_changes_nothing(spectrum, data):
    wave, flux, ivar = spectrum
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=len(wave), max_size=len(wave))))
    ivar = np.where(masked, 0.0, ivar)
    edges = np.linspace(wave[0], wave[-1], 20)
    reference = resample(wave, np.where(masked, 0.0, flux), ivar, edges)
    nonsense = resample(wave, np.where(masked, np.nan, flux), ivar, edges)
    assert np.array_equal(reference, nonsense)


def test_a_pixel_needs_enough_cover():
    wave = np.array([0.5, 1.5, 2.5, 3.5])
    ivar = np.array([1.0, 0.0, 0.0, 0.0])
    out, out_ivar = resample(wave, np.ones(4), ivar, np.array([0.0, 1.0 / MIN_COVER, 4.0]))
    assert out_ivar[0] > 0
    assert out[0] == 1.0
    out, out_ivar = resample(wave, np.ones(4), ivar, np.array([0.0, 1.0 / MIN_COVER + 0.1, 4.0]))
    assert out_ivar[0] == 0
    assert out[0] == 0


def test_independent_noise_averages_down(rng):
    wave = np.arange(1.0, 20_001.0)
    flux = rng.normal(0.0, 2.0, len(wave))
    out, ivar = resample(wave, flux, np.full(len(wave), 0.25), np.arange(0.5, 20_000.6, 10.0))
    assert np.allclose(ivar, 10 * 0.25)
    assert np.std(out * np.sqrt(ivar)) == pytest.approx(1.0, abs=0.05)


def test_window_mean_is_the_weighted_mean(rng):
    wave = np.linspace(1400, 1600, 41)
    flux, ivar = rng.normal(3.0, 0.01, 41), rng.uniform(5e3, 2e4, 41)
    inside = (wave >= 1450) & (wave <= 1550)
    mean, err, centre, n = window_mean(wave, flux, ivar, 1450, 1550)
    assert mean == pytest.approx(np.average(flux[inside], weights=ivar[inside]))
    assert err == pytest.approx(np.sum(ivar[inside]) ** -0.5)
    assert centre == pytest.approx(np.average(wave[inside], weights=ivar[inside]))
    assert n == inside.sum()


def test_window_mean_leaves_out_hot_pixels_but_not_a_slope():
    wave = np.linspace(1450, 1550, 21)
    slope = (wave / 1500) ** -2.5
    ivar = np.full(21, 1e6)
    steep, *_ = window_mean(wave, slope, ivar, 1450, 1550)
    hot = slope.copy()
    hot[5] = 50.0
    mean, _, _, n = window_mean(wave, hot, ivar, 1450, 1550)
    assert n == 20
    assert mean == pytest.approx(steep, rel=0.01)


def test_window_mean_of_nothing():
    mean, err, _, n = window_mean(np.array([1.0, 2.0]), np.ones(2), np.zeros(2), 0.0, 3.0)
    assert n == 0
    assert np.isnan(mean)
    assert np.isnan(err)
