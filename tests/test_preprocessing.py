from dataclasses import replace

import numpy as np
import pytest
from astropy import units

from distspec.preprocessing import (
    F_LAMBDA,
    GridConfig,
    NormConfig,
    find_anchor,
    median_slope,
    preprocess,
    to_rest_frame,
)
from distspec.spectrum import BadSpectrumError, Reason, Spectrum
from tests.conftest import power_law

NORM = NormConfig()
GRID = GridConfig().resolve(np.array([5.0]))


@pytest.mark.parametrize("unit", ["uJy", "mJy", "erg s-1 cm-2 AA-1", "W m-2 um-1", "1e-17 erg s-1 cm-2 AA-1"])
def test_units_round_trip_against_astropy(unit, rng):
    wave, z = np.geomspace(0.6, 5.3, 50), 4.2
    flux, sigma = rng.uniform(0.1, 1.0, 50), rng.uniform(0.01, 0.1, 50)
    wave_rest, rest, ivar = to_rest_frame(Spectrum("a", wave, flux, sigma**-2, unit, z))
    observed = units.Quantity(flux, unit).to(F_LAMBDA, units.spectral_density(wave * units.um))
    error = units.Quantity(sigma, unit).to(F_LAMBDA, units.spectral_density(wave * units.um))
    assert np.allclose(wave_rest, (wave * units.um).to_value(units.AA) / (1 + z), rtol=1e-12)
    assert np.allclose(rest, observed.value * (1 + z), rtol=1e-12)
    assert np.allclose(ivar, (error.value * (1 + z)) ** -2, rtol=1e-12)
    back = units.Quantity(rest / (1 + z), F_LAMBDA).to(unit, units.spectral_density(wave * units.um))
    assert np.allclose(back.value, flux, rtol=1e-12)


def test_the_rest_frame_conserves_energy():
    spectrum = power_law(z=7.0)
    wave, flux, _ = to_rest_frame(spectrum)
    assert np.trapezoid(flux, wave) == pytest.approx(np.trapezoid(spectrum.flux, spectrum.wave * 1e4))


def test_flux_is_one_at_the_reference():
    batch, rejected = preprocess([power_law(z=z, slope=-1.7) for z in (4.1, 6.0, 9.5)], GRID, NORM, -2.0)
    assert not rejected
    at_1500 = np.argmin(np.abs(GRID.wave_rest - 1500.0))
    assert np.allclose(batch.flux[:, at_1500], 1.0, atol=0.02)
    assert np.allclose(batch.slope, -1.7, atol=0.02)
    assert np.all(batch.norm_window == 0)


def test_norm_is_the_rest_frame_flux_density():
    spectrum = power_law(z=5.0, slope=0.0, amplitude=3e-20)
    batch, _ = preprocess([spectrum], GRID, NORM, -2.0)
    assert batch.norm[0] == pytest.approx(6.0 * 3e-20, rel=1e-3)
    assert 0 < batch.norm_err[0] < batch.norm[0] / 20


def test_ivar_follows_the_norm():
    batch, _ = preprocess([power_law(snr=20.0)], GRID, NORM, -2.0)
    valid = batch.ivar[0] > 0
    snr = batch.flux[0, valid] * np.sqrt(batch.ivar[0, valid])
    # Pixels that take from several input pixels are better than they were, none is worse by more than
    # the interpolation of a fraction.
    assert snr.min() > 19.5


def test_a_masked_first_window_falls_back_along_the_slope():
    whole = power_law(z=5.0, slope=-2.3)
    rest = whole.wave * 1e4 / 6.0
    gap = (rest > 1440) & (rest < 1560)
    masked = replace(whole, ivar=np.where(gap, 0.0, whole.ivar))
    expected, _ = preprocess([whole], GRID, NORM, 0.0)
    batch, rejected = preprocess([masked], GRID, NORM, 0.0)
    assert not rejected
    assert batch.norm_window[0] == 1
    assert batch.norm[0] == pytest.approx(expected.norm[0], rel=2e-3)
    assert 0 < batch.norm_err[0] < 0.2 * batch.norm[0]


def test_flux_within_its_noise_falls_back():
    whole = power_law(z=5.0, slope=-2.0)
    rest = whole.wave * 1e4 / 6.0
    window = (rest > 1440) & (rest < 1560)
    noisy = replace(whole, flux=np.where(window, -whole.flux, whole.flux))
    batch, rejected = preprocess([noisy], GRID, NORM, -2.0)
    assert not rejected
    assert batch.norm_window[0] == 1


def test_one_window_alone_is_carried_by_the_samples_slope():
    whole = power_law(z=5.0, slope=-2.0)
    rest = whole.wave * 1e4 / 6.0
    only = (rest > 1960) & (rest < 2290)
    lone = replace(whole, ivar=np.where(only, whole.ivar, 0.0))
    wave, flux, ivar = to_rest_frame(lone)
    steep = find_anchor(wave, flux, ivar, NORM, -2.0)
    flat = find_anchor(wave, flux, ivar, NORM, 0.0)
    assert not steep.slope_fitted
    assert steep.slope == -2.0
    assert np.isnan(preprocess([lone], GRID, NORM, -2.0)[0].slope[0])
    assert steep.norm == pytest.approx(6.0 * 1e-19 * 0.9**-2.0, rel=0.02)
    assert flat.norm < steep.norm
    # A slope that is not known leaves its mark on the error.
    assert steep.err > 0.3 * steep.norm


def test_error_of_the_norm_is_calibrated(rng):
    spectra = [power_law(object_id=str(i), snr=2.0, rng=rng) for i in range(400)]
    batch, _ = preprocess(spectra, GRID, NORM, -2.0)
    true, _ = preprocess([power_law()], GRID, NORM, -2.0)
    pull = (batch.norm - true.norm[0]) / batch.norm_err
    assert np.median(pull) == pytest.approx(0.0, abs=0.2)
    assert np.std(pull) == pytest.approx(1.0, abs=0.25)


def spoiled(reason):
    good = power_law()
    return {
        Reason.NO_REDSHIFT: replace(good, z=float("nan")),
        Reason.BAD_WAVE: replace(good, wave=good.wave[::-1].copy()),
        Reason.NO_VALID_PIXELS: replace(good, ivar=np.zeros_like(good.ivar)),
        Reason.NO_NORMALISATION: replace(good, flux=-good.flux),
        Reason.NO_OVERLAP: replace(good, z=0.0),
    }[reason]


@pytest.mark.parametrize(
    "reason",
    [Reason.NO_REDSHIFT, Reason.BAD_WAVE, Reason.NO_VALID_PIXELS, Reason.NO_NORMALISATION, Reason.NO_OVERLAP],
)
def test_each_fault_has_one_reason_and_loses_nobody_else(reason):
    norm = NORM
    if reason is Reason.NO_OVERLAP:  # normalised where it has flux, but all of it beyond the grid
        norm = NormConfig(reference=15000.0, windows=((14000.0, 16000.0),))
    grid = GRID if reason is not Reason.NO_OVERLAP else GridConfig(start=1100, stop=4000).resolve(np.zeros(1))
    good = power_law() if reason is not Reason.NO_OVERLAP else power_law(z=4.0)
    good_norm_served = reason is not Reason.NO_OVERLAP
    batch, rejected = preprocess([good, spoiled(reason), good], grid, norm, -2.0)
    assert [error.reason for _, error in rejected if _ == 1] == [reason]
    assert len(batch) + len(rejected) == 3
    if good_norm_served:
        assert len(batch) == 2
        assert [index for index, _ in rejected] == [1]


def test_stars_have_no_redshift_to_correct():
    star = power_law(z=0.0, slope=1.0)
    norm = NormConfig(reference=12800.0, windows=((12600.0, 13000.0),))
    grid = GridConfig(start=6600.0, stop=25400.0, n_pixels=100).resolve(np.zeros(1))
    batch, rejected = preprocess([star], grid, norm, 0.0)
    assert not rejected
    assert batch.flux[0, np.argmin(np.abs(grid.wave_rest - 12800.0))] == pytest.approx(1.0, abs=0.02)


def test_a_batch_is_its_spectra_one_by_one(rng):
    spectra = [power_law(str(z), z=z, rng=rng) for z in (4.5, 5.5, 6.5)]
    together, _ = preprocess(spectra, GRID, NORM, -2.0)
    alone = [preprocess([spectrum], GRID, NORM, -2.0)[0] for spectrum in spectra]
    assert np.array_equal(together.flux, np.concatenate([one.flux for one in alone]))
    assert np.array_equal(together.norm_err, np.concatenate([one.norm_err for one in alone]))


def test_a_spike_is_masked_and_harms_nothing(rng):
    good = power_law(rng=rng)
    flux = good.flux.copy()
    flux[200], flux[210] = 1e30, np.nan
    batch, rejected = preprocess([replace(good, flux=flux)], GRID, NORM, -2.0)
    assert not rejected
    assert np.isfinite(batch.flux).all()
    assert np.isfinite(batch.ivar).all()
    assert np.abs(batch.flux).max() < 100


def test_without_a_unit_the_shape_is_known_and_the_brightness_is_not():
    batch, rejected = preprocess([replace(power_law(), unit=""), power_law()], GRID, NORM, -2.0)
    assert not rejected
    assert np.allclose(batch.flux[0], batch.flux[1])
    assert np.isnan(batch.norm[0])
    assert np.isnan(batch.norm_err[0])
    assert batch.norm_snr[0] == pytest.approx(batch.norm_snr[1])


def test_where_no_window_is_sure_the_one_that_errs_least_serves():
    whole = power_law(z=5.0, slope=-2.0)
    rest = whole.wave * 1e4 / 6.0
    err = np.where((rest > 1680) & (rest < 1840), 3.0, 12.0) * whole.flux
    batch, rejected = preprocess([replace(whole, ivar=err**-2.0)], GRID, NORM, -2.0)
    assert not rejected
    assert batch.norm_window[0] == 1
    assert batch.norm_snr[0] < 3
    assert batch.norm[0] == pytest.approx(6e-19 * 0.9**-2.0, rel=0.02)


def test_an_empty_batch():
    batch, rejected = preprocess([], GRID, NORM, -2.0)
    assert len(batch) == 0
    assert batch.flux.shape == (0, 640)
    assert rejected == []


def test_median_slope_of_a_sample():
    assert median_slope([power_law(slope=s) for s in (-1.0, -2.0, -2.5)], NORM) == pytest.approx(
        -2.0, abs=0.02
    )
    assert median_slope([], NORM) == NORM.slope


def test_the_papers_grid():
    grid = GridConfig("uniform", 7000.0, 55000.0, 0, 3.0, "observed").resolve(np.array([4.0, 5.5, 9.0]))
    assert grid.start == pytest.approx(7000 / 6.5)
    assert np.allclose(np.diff(grid.edges), 3.0)
    assert grid.stop == pytest.approx(55000 / 6.5, abs=3.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"start": 5000.0, "stop": 4000.0}, "between 0 and grid.stop"),
        ({"n_pixels": 100, "step": 3.0}, "set one of"),
        ({"n_pixels": 0, "step": 3.0}, "spacing=uniform"),
    ],
)
def test_impossible_grids_are_refused_with_the_remedy(settings, words):
    with pytest.raises(ValueError, match=words):
        GridConfig(**settings)


def test_impossible_windows_are_refused():
    with pytest.raises(ValueError, match="low, high"):
        NormConfig(windows=((1550.0, 1450.0),))


def test_error_names_what_was_seen():
    with pytest.raises(BadSpectrumError, match="does not lie redward"):
        to_rest_frame(replace(power_law(), wave=power_law().wave[::-1].copy()))
