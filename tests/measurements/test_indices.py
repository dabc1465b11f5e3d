"""Slopes, flux ratios and equivalent widths of analytic spectra, against specutils, and with noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.instruments import NIRSPEC_PRISM, Disperser
from distspec.core.spectrum import WavelengthGrid
from distspec.measurements.indices import (
    F_LAMBDA,
    F_NU,
    GriddedSpectra,
    compute_window_means,
    fit_slope,
    measure_flux_ratio,
    measure_line,
)
from distspec.preprocessing.resampling import resample

GRID = WavelengthGrid("log", 1100.0, 8400.0, 640)
WAVE = GRID.wave_rest
FINE = Disperser((0.1, 10.0), (1e5, 1e5), 1.0)
"""Detector pixels far narrower than the grid's, so that noise is independent between grid pixels."""
UV = ((1342.0, 1371.0), (1407.0, 1515.0), (1760.0, 1833.0), (2400.0, 2580.0))
OIII = ((4550.0, 4770.0), (4911.0, 5085.0), (5120.0, 5350.0))
BREAK = ((4150.0, 4250.0), (3400.0, 3600.0))
INDICES = {
    "slope": lambda spectra, detector=FINE: fit_slope(spectra, UV, detector),
    "ratio": lambda spectra, detector=FINE: measure_flux_ratio(spectra, *BREAK, F_NU, detector),
    "width": lambda spectra, detector=FINE: measure_line(spectra, *OIII, detector)[:2],
}
for_each_index = pytest.mark.parametrize("measure", INDICES.values(), ids=INDICES)


def spectra(flux, ivar=1e8, z=5.0) -> GriddedSpectra:
    flux = np.atleast_2d(np.asarray(flux, np.float32))
    whole = np.broadcast_to(np.asarray(ivar, np.float32), flux.shape).copy()
    return GriddedSpectra(flux, whole, np.full(len(flux), z), GRID)


def galaxy(ew=300.0) -> np.ndarray:
    """A slope of -2, a break of 1.5 in f_nu at 3800 Angstrom, and [O III] as wide as the prism's LSF."""
    line = ew * np.exp(-0.5 * ((WAVE - 5000.0) / 20.0) ** 2) / (20.0 * np.sqrt(2.0 * np.pi))
    return (WAVE / 1500.0) ** -2.0 * np.where(WAVE > 3800.0, 1.5, 1.0) * (1.0 + line * (WAVE / 5000.0) ** 2)


@settings(max_examples=60)
@given(beta=st.floats(-4.0, 3.0), log_scale=st.floats(-6.0, 6.0), z=st.floats(4.0, 10.0))
def test_the_slope_of_a_power_law(beta, log_scale, z):
    flux = 10.0**log_scale * (WAVE / 1500.0) ** beta
    found, error = fit_slope(spectra(flux, 1e8 / 10.0 ** (2 * log_scale), z), UV, NIRSPEC_PRISM)
    assert found[0] == pytest.approx(beta, abs=0.01)
    assert 0 < error[0] < 0.01


@settings(max_examples=60)
@given(ew=st.floats(-80.0, 3000.0), center=st.floats(4985.0, 5008.0), slope=st.floats(-0.3, 0.3))
def test_the_equivalent_width_of_a_gaussian_on_a_straight_continuum(ew, center, slope):
    """The continuum is straight in f_nu, the line a Gaussian in f_lambda."""
    f_nu = 1.0 + slope * (WAVE - 5000.0) / 1000.0
    level = 1.0 + slope * (center - 5000.0) / 1000.0
    line = np.exp(-0.5 * ((WAVE - center) / 20.0) ** 2) / (20.0 * np.sqrt(2.0 * np.pi))
    flux = f_nu * WAVE**-2.0 + ew * level * center**-2.0 * line
    inside = (OIII[1][0], OIII[1][1])
    found, *_ = measure_line(spectra(flux * 1e7), OIII[0], inside, OIII[2], NIRSPEC_PRISM)
    assert found[0] == pytest.approx(ew, rel=0.01, abs=0.3)


def test_the_flux_ratio_of_a_step():
    flux = np.where(WAVE > 3800.0, 1.7, 1.0)
    assert measure_flux_ratio(spectra(flux), *BREAK, F_LAMBDA, FINE)[0][0] == pytest.approx(1.7, rel=1e-6)
    assert measure_flux_ratio(spectra(flux * WAVE**-2.0 * 1e6), *BREAK, F_NU, FINE)[0][0] == pytest.approx(
        1.7, rel=1e-4
    )


def test_window_means_and_variances_equal_explicit_sums():
    rng = np.random.default_rng(3)
    flux, ivar = rng.normal(size=640), rng.uniform(0.5, 2.0, 640)
    ivar[rng.random(640) < 0.1] = 0.0
    low, high = 2400.0, 2580.0
    found = compute_window_means(spectra(flux, ivar), [(low, high)], F_LAMBDA, FINE)
    overlap = np.clip(GRID.edges[1:], low, high) - np.clip(GRID.edges[:-1], low, high)
    used = np.where(np.float32(ivar) > 0, overlap, 0.0)
    variance = np.where(ivar > 0, 1.0 / np.maximum(ivar, 0.1), 0.0)
    assert found.value[0, 0] == pytest.approx(np.sum(used * flux) / used.sum(), rel=1e-5)
    assert found.variance[0, 0] == pytest.approx(np.sum(used**2 * variance) / used.sum() ** 2, rel=2e-3)
    assert found.mean_wave[0, 0] == pytest.approx(np.sum(used * WAVE) / used.sum(), rel=1e-9)
    assert found.coverage[0, 0] == pytest.approx(used.sum() / (high - low), rel=1e-9)


def test_equivalent_widths_equal_those_of_specutils():
    """On flux divided by the same continuum; specutils counts absorption as positive."""
    analysis = pytest.importorskip("specutils.analysis", reason="needs distspec[specutils]")
    from astropy import units
    from specutils import SpectralRegion, Spectrum

    flux = galaxy()
    equivalent_width, *_ = measure_line(spectra(flux), *OIII, FINE)
    level = (WAVE / 1500.0) ** -2.0 * 1.5
    expected = analysis.equivalent_width(
        Spectrum(flux=flux / level * units.one, spectral_axis=WAVE * units.AA),
        continuum=1.0 * units.one,
        regions=SpectralRegion(OIII[1][0] * units.AA, OIII[1][1] * units.AA),
    )
    assert equivalent_width[0] == pytest.approx(-expected.value, rel=0.01)


@for_each_index
@pytest.mark.parametrize("signal", [4.0, 30.0])
def test_errors_match_the_scatter_of_noise(measure, signal):
    rng = np.random.default_rng(11)
    clean = np.tile(galaxy(), (3000, 1))
    sigma = galaxy(0.0) / signal
    truth = measure(spectra(galaxy()))[0][0]
    found, error = measure(spectra(clean + sigma * rng.standard_normal(clean.shape), sigma**-2.0))
    pull = (found - truth) / error
    assert abs(pull.mean()) < 0.1
    assert pull.std() == pytest.approx(1.0, abs=0.06)


@for_each_index
def test_noise_shared_by_grid_pixels_counts_once(measure):
    """A detector pixel covers four grid pixels, at an arbitrary phase."""
    rng, step = np.random.default_rng(5), 4 * np.log(8400 / 1100) / 640
    coarse, signal = Disperser((0.1, 10.0), (1 / step, 1 / step), 1.0), 20.0
    flux, ivar = np.zeros((800, 640), np.float32), np.zeros((800, 640), np.float32)
    for row in range(800):
        wave = np.exp(np.arange(np.log(1080) + step * rng.random(), np.log(8600), step))
        observed = 1.0 + rng.standard_normal(len(wave)) / signal
        flux[row], ivar[row] = resample(wave, observed, np.full(len(wave), signal**2), GRID.edges)
    found, error = measure(GriddedSpectra(flux, ivar, np.full(800, 5.0), GRID), detector=coarse)
    assert np.std(found) / np.median(error) == pytest.approx(1.0, abs=0.08)


@for_each_index
def test_correlated_noise_of_neighboring_pixels_enlarges_the_errors(measure):
    rng, step = np.random.default_rng(6), 0.5 * np.log(8400 / 1100) / 640
    correlated, signal = Disperser((0.1, 10.0), (1 / step, 1 / step), 1.0, noise_correlation=0.3), 10.0
    wave = np.exp(np.arange(np.log(1080), np.log(8600), step))
    white = rng.standard_normal((800, len(wave) + 1))
    noise = (white[:, 1:] + white[:, :-1] / 3.0) / np.sqrt(1.0 + 1.0 / 9.0)
    flux, ivar = np.zeros((800, 640), np.float32), np.zeros((800, 640), np.float32)
    for row in range(800):
        flux[row], ivar[row] = resample(
            wave, 1.0 + noise[row] / signal, np.full(len(wave), signal**2), GRID.edges
        )
    found, error = measure(GriddedSpectra(flux, ivar, np.full(800, 5.0), GRID), detector=correlated)
    assert np.std(found) / np.median(error) == pytest.approx(1.0, abs=0.08)


@for_each_index
def test_an_index_that_is_not_covered_is_nan(measure):
    some = spectra(np.tile(galaxy(), (3, 1)))
    assert np.isfinite(measure(some)).all()
    hidden = some._replace(ivar=np.where((WAVE > 1290) & (WAVE < 5600), 0.0, some.ivar).astype(np.float32))
    assert np.isnan(measure(hidden)).all()
    assert np.isnan(measure(some._replace(z=np.full(3, 200.0)))).all(), "outside the detector"
    stars = WavelengthGrid("log", 6600.0, 25400.0, 640)
    assert np.isnan(measure(some._replace(grid=stars))).all(), "outside the grid"


def test_one_masked_pixel_leaves_a_line_uncovered_but_not_a_continuum():
    some = spectra(galaxy())
    for wave, is_in_line in ((5000.0, True), (4650.0, False), (5250.0, False), (3000.0, False)):
        ivar = some.ivar.copy()
        ivar[0, np.argmin(np.abs(WAVE - wave))] = 0.0
        found, error, _ = measure_line(some._replace(ivar=ivar), *OIII, FINE)
        assert np.isnan(found[0]) == np.isnan(error[0]) == is_in_line
        assert is_in_line or found[0] == pytest.approx(300.0, rel=0.02)


@for_each_index
@settings(max_examples=25)
@given(log_scale=st.floats(-5.0, 5.0), seed=st.integers(0, 99))
def test_flux_scale_masked_values_and_other_rows_do_not_matter(measure, log_scale, seed):
    rng = np.random.default_rng(seed)
    flux = galaxy() + 0.02 * rng.standard_normal((4, 640))
    some = spectra(flux, 2500.0)
    ivar = np.where(rng.random((4, 640)) < 0.02, 0.0, some.ivar).astype(np.float32)
    some = some._replace(ivar=ivar)
    found = measure(some)
    holes = some._replace(flux=np.where(ivar > 0, some.flux, np.nan).astype(np.float32))
    assert np.array_equal(measure(holes), found, equal_nan=True)
    one = GriddedSpectra(some.flux[2:3], ivar[2:3], some.z[2:3], GRID)
    assert np.array_equal(np.array(measure(one))[:, 0], np.array(found)[:, 2], equal_nan=True)
    scale = 10.0**log_scale
    scaled = some._replace(
        flux=(some.flux * scale).astype(np.float32), ivar=(ivar / scale**2).astype(np.float32)
    )
    assert np.allclose(measure(scaled), found, rtol=1e-3, atol=1e-3, equal_nan=True)


@for_each_index
def test_pure_noise_gives_finite_values_consistent_with_the_neutral_one(measure):
    noise = np.random.default_rng(8).standard_normal((500, 640))
    found, error = measure(spectra(noise, 1.0))
    assert np.isfinite(found).all()
    assert np.isfinite(error).all()
    assert np.mean(np.abs(found - (0.0 if measure is not INDICES["slope"] else -2.0)) > 5 * error) < 0.02
