from dataclasses import fields, replace
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pytest
from astropy import units
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.errors import ConfigError, InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Spectrum, compute_row_checksums
from distspec.preprocessing.normalization import NormConfig, estimate_norms, robust_window_mean
from distspec.preprocessing.resampling import GridConfig
from distspec.preprocessing.rest_frame import F_LAMBDA_UNIT, median_continuum_slope, preprocess
from tests.conftest import power_law
from tests.helpers.rest_frame import to_rest_frame

NORM = NormConfig()
GRID = GridConfig().resolve(np.array([5.0]))


@pytest.mark.parametrize("unit", ["uJy", "mJy", "erg s-1 cm-2 AA-1", "W m-2 um-1", "1e-17 erg s-1 cm-2 AA-1"])
def test_units_round_trip_against_astropy(unit, rng):
    wave, z = np.geomspace(0.6, 5.3, 50), 4.2
    flux, sigma = rng.uniform(0.1, 1.0, 50), rng.uniform(0.01, 0.1, 50)
    wave_rest, rest, ivar = to_rest_frame(Spectrum("a", wave, flux, sigma**-2, unit, z))
    observed = units.Quantity(flux, unit).to(F_LAMBDA_UNIT, units.spectral_density(wave * units.um))
    error = units.Quantity(sigma, unit).to(F_LAMBDA_UNIT, units.spectral_density(wave * units.um))
    assert np.allclose(wave_rest, (wave * units.um).to_value(units.AA) / (1 + z), rtol=1e-12)
    assert np.allclose(rest, observed.value * (1 + z), rtol=1e-12)
    assert np.allclose(ivar, (error.value * (1 + z)) ** -2, rtol=1e-12)
    back = units.Quantity(rest / (1 + z), F_LAMBDA_UNIT).to(unit, units.spectral_density(wave * units.um))
    assert np.allclose(back.value, flux, rtol=1e-12)


def test_rest_frame_conserves_energy():
    spectrum = power_law(z=7.0)
    wave, flux, _ = to_rest_frame(spectrum)
    assert np.trapezoid(flux, wave) == pytest.approx(np.trapezoid(spectrum.flux, spectrum.wave * 1e4))


def test_flux_is_one_at_the_reference_wavelength():
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


def test_ivar_is_scaled_by_the_norm():
    batch, _ = preprocess([power_law(snr=20.0)], GRID, NORM, -2.0)
    valid = batch.ivar[0] > 0
    snr = batch.flux[0, valid] * np.sqrt(batch.ivar[0, valid])
    # A pixel that averages several input pixels gains signal-to-noise; interpolation costs little of it.
    assert snr.min() > 19.5


def test_masked_first_window_is_replaced_by_the_next_along_the_slope():
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


def test_window_with_flux_within_its_noise_is_skipped():
    whole = power_law(z=5.0, slope=-2.0)
    rest = whole.wave * 1e4 / 6.0
    window = (rest > 1440) & (rest < 1560)
    noisy = replace(whole, flux=np.where(window, -whole.flux, whole.flux))
    batch, rejected = preprocess([noisy], GRID, NORM, -2.0)
    assert not rejected
    assert batch.norm_window[0] == 1


def test_single_usable_window_is_extrapolated_along_the_default_slope():
    whole = power_law(z=5.0, slope=-2.0)
    rest = whole.wave * 1e4 / 6.0
    only = (rest > 1960) & (rest < 2290)
    lone = replace(whole, ivar=np.where(only, whole.ivar, 0.0))
    wave, flux, ivar = to_rest_frame(lone)
    offsets = np.array([0, len(wave)])
    steep = estimate_norms(wave, flux, ivar, offsets, NORM, -2.0)
    flat = estimate_norms(wave, flux, ivar, offsets, NORM, 0.0)
    assert not steep.slope_fitted[0]
    assert steep.slope[0] == -2.0
    assert np.isnan(preprocess([lone], GRID, NORM, -2.0)[0].slope[0])
    assert steep.norm[0] == pytest.approx(6.0 * 1e-19 * 0.9**-2.0, rel=0.02)
    assert flat.norm[0] < steep.norm[0]
    # The error includes the uncertainty of the unknown slope.
    assert steep.norm_err[0] > 0.3 * steep.norm[0]


def test_norm_error_is_calibrated(rng):
    spectra = [power_law(object_id=str(i), snr=2.0, rng=rng) for i in range(400)]
    batch, _ = preprocess(spectra, GRID, NORM, -2.0)
    true, _ = preprocess([power_law()], GRID, NORM, -2.0)
    pull = (batch.norm - true.norm[0]) / batch.norm_err
    assert np.median(pull) == pytest.approx(0.0, abs=0.2)
    assert np.std(pull) == pytest.approx(1.0, abs=0.25)


def spoiled(reason):
    good = power_law()
    return {
        QuarantineReason.NO_REDSHIFT: replace(good, z=float("nan")),
        QuarantineReason.BAD_WAVE: replace(good, wave=good.wave[::-1].copy()),
        QuarantineReason.NO_VALID_PIXELS: replace(good, ivar=np.zeros_like(good.ivar)),
        QuarantineReason.NO_NORMALIZATION: replace(good, flux=-good.flux),
        QuarantineReason.NO_OVERLAP: replace(good, z=0.0),
    }[reason]


@pytest.mark.parametrize(
    "reason",
    [
        QuarantineReason.NO_REDSHIFT,
        QuarantineReason.BAD_WAVE,
        QuarantineReason.NO_VALID_PIXELS,
        QuarantineReason.NO_NORMALIZATION,
        QuarantineReason.NO_OVERLAP,
    ],
)
def test_each_fault_has_one_reason_and_keeps_the_other_spectra(reason):
    norm = NORM
    if reason is QuarantineReason.NO_OVERLAP:  # normalizable, but without flux on the grid
        norm = NormConfig(reference_wave=15000.0, windows=((14000.0, 16000.0),))
    grid = (
        GRID
        if reason is not QuarantineReason.NO_OVERLAP
        else GridConfig(start=1100, stop=4000).resolve(np.zeros(1))
    )
    good = power_law() if reason is not QuarantineReason.NO_OVERLAP else power_law(z=4.0)
    others_usable = reason is not QuarantineReason.NO_OVERLAP
    batch, rejected = preprocess([good, spoiled(reason), good], grid, norm, -2.0)
    assert [error.reason for _, error in rejected if _ == 1] == [reason]
    assert len(batch) + len(rejected) == 3
    if others_usable:
        assert len(batch) == 2
        assert [index for index, _ in rejected] == [1]


def test_stars_at_redshift_zero():
    star = power_law(z=0.0, slope=1.0)
    norm = NormConfig(reference_wave=12800.0, windows=((12600.0, 13000.0),))
    grid = GridConfig(start=6600.0, stop=25400.0, n_pixels=100).resolve(np.zeros(1))
    batch, rejected = preprocess([star], grid, norm, 0.0)
    assert not rejected
    assert batch.flux[0, np.argmin(np.abs(grid.wave_rest - 12800.0))] == pytest.approx(1.0, abs=0.02)


def test_batch_equals_spectra_processed_one_by_one(rng):
    spectra = [power_law(str(z), z=z, rng=rng) for z in (4.5, 5.5, 6.5)]
    together, _ = preprocess(spectra, GRID, NORM, -2.0)
    alone = [preprocess([spectrum], GRID, NORM, -2.0)[0] for spectrum in spectra]
    assert np.array_equal(together.flux, np.concatenate([one.flux for one in alone]))
    assert np.array_equal(together.norm_err, np.concatenate([one.norm_err for one in alone]))


def test_spike_is_masked_and_leaves_finite_values(rng):
    good = power_law(rng=rng)
    flux = good.flux.copy()
    flux[200], flux[210] = 1e30, np.nan
    batch, rejected = preprocess([replace(good, flux=flux)], GRID, NORM, -2.0)
    assert not rejected
    assert np.isfinite(batch.flux).all()
    assert np.isfinite(batch.ivar).all()
    assert np.abs(batch.flux).max() < 100


def test_without_a_unit_the_norm_is_nan():
    batch, rejected = preprocess([replace(power_law(), unit=""), power_law()], GRID, NORM, -2.0)
    assert not rejected
    assert np.allclose(batch.flux[0], batch.flux[1])
    assert np.isnan(batch.norm[0])
    assert np.isnan(batch.norm_err[0])
    assert batch.norm_snr[0] == pytest.approx(batch.norm_snr[1])


def test_most_precise_window_is_used_if_none_reaches_the_preferred_snr():
    whole = power_law(z=5.0, slope=-2.0)
    rest = whole.wave * 1e4 / 6.0
    second, fourth = (rest > 1680) & (rest < 1840), (rest > 1950) & (rest < 2300)
    err = np.select([second, fourth], [3.0, 4.5], 12.0) * whole.flux
    batch, rejected = preprocess([replace(whole, ivar=err**-2.0)], GRID, NORM, -2.0)
    assert not rejected
    assert batch.norm_window[0] == 1
    assert batch.norm_snr[0] < 3
    assert batch.norm[0] == pytest.approx(6e-19 * 0.9**-2.0, rel=0.02)


def test_empty_batch():
    batch, rejected = preprocess([], GRID, NORM, -2.0)
    assert len(batch) == 0
    assert batch.flux.shape == (0, 640)
    assert rejected == []


def test_median_slope_of_a_sample():
    assert median_continuum_slope([power_law(slope=s) for s in (-1.0, -2.0, -2.5)], NORM) == pytest.approx(
        -2.0, abs=0.02
    )
    assert median_continuum_slope([], NORM) == NORM.fallback_slope


def test_uniform_grid_in_the_observed_frame():
    grid = GridConfig("uniform", 7000.0, 55000.0, 0, 3.0, "observed").resolve(np.array([4.0, 5.5, 9.0]))
    assert grid.start == pytest.approx(7000 / 6.5)
    assert np.allclose(np.diff(grid.edges), 3.0)
    assert grid.stop == pytest.approx(55000 / 6.5, abs=3.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 5000.0, "stop": 4000.0}, "between 0 and grid.stop"),
        ({"n_pixels": 100, "step": 3.0}, "set one of"),
        ({"n_pixels": 0, "step": 3.0}, "spacing=uniform"),
    ],
)
def test_impossible_grids_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        GridConfig(**settings)


def test_impossible_windows_are_refused():
    with pytest.raises(ConfigError, match="low, high"):
        NormConfig(windows=((1550.0, 1450.0),))


def test_error_detail_names_the_wavelengths():
    with pytest.raises(InvalidSpectrumError, match="does not lie redward"):
        to_rest_frame(replace(power_law(), wave=power_law().wave[::-1].copy()))


def test_window_mean_is_the_weighted_mean(rng):
    wave = np.linspace(1400, 1600, 41)
    flux, ivar = rng.normal(3.0, 0.01, 41), rng.uniform(5e3, 2e4, 41)
    inside = (wave >= 1450) & (wave <= 1550)
    mean, err, center, n = robust_window_mean(wave, flux, ivar, 1450, 1550)
    assert mean == pytest.approx(np.average(flux[inside], weights=ivar[inside]))
    assert err == pytest.approx(np.sum(ivar[inside]) ** -0.5)
    assert center == pytest.approx(np.average(wave[inside], weights=ivar[inside]))
    assert n == inside.sum()


def test_window_mean_rejects_hot_pixels_but_keeps_a_slope():
    wave = np.linspace(1450, 1550, 21)
    slope = (wave / 1500) ** -2.5
    ivar = np.full(21, 1e6)
    steep, *_ = robust_window_mean(wave, slope, ivar, 1450, 1550)
    hot = slope.copy()
    hot[5] = 50.0
    mean, _, _, n = robust_window_mean(wave, hot, ivar, 1450, 1550)
    assert n == 20
    assert mean == pytest.approx(steep, rel=0.01)


def test_window_mean_without_valid_pixels():
    mean, err, _, n = robust_window_mean(np.array([1.0, 2.0]), np.ones(2), np.zeros(2), 0.0, 3.0)
    assert n == 0
    assert np.isnan(mean)
    assert np.isnan(err)


def mask_all_except(spectrum, keep):
    return replace(spectrum, ivar=np.where(np.isin(np.arange(400), keep), spectrum.ivar, 0.0))


def delete_pixels(spectrum, pixels):
    parts = {name: np.delete(getattr(spectrum, name), pixels) for name in ("wave", "flux", "ivar")}
    return replace(spectrum, **parts)


def with_wave(spectrum, wave):
    return replace(spectrum, wave=np.array(wave, np.float64))


def set_every_13th(values, value):
    values = values.copy()
    values[::13] = value
    return values


UNUSABLE = {
    "all NaN": (lambda s: replace(s, flux=s.flux * np.nan), "no_valid_pixels"),
    "all infinite": (lambda s: replace(s, flux=s.flux * np.inf), "no_valid_pixels"),
    "every pixel masked": (lambda s: replace(s, ivar=s.ivar * 0.0), "no_valid_pixels"),
    "negative variance": (lambda s: replace(s, ivar=-s.ivar), "no_valid_pixels"),
    "zero errors": (lambda s: replace(s, ivar=s.ivar * np.inf), "no_valid_pixels"),
    "NaN errors": (lambda s: replace(s, ivar=s.ivar * np.nan), "no_valid_pixels"),
    "errors next to zero": (lambda s: replace(s, ivar=s.ivar * 1e200), "no_valid_pixels"),
    "zero flux": (lambda s: replace(s, flux=s.flux * 0.0), "no_normalisation"),
    "huge errors": (lambda s: replace(s, ivar=s.ivar * 1e-200), "no_normalisation"),
    "one valid pixel": (lambda s: mask_all_except(s, [190]), "no_normalisation"),
    "decreasing wavelengths": (lambda s: with_wave(s, s.wave[::-1]), "bad_wave"),
    "repeated wavelength": (lambda s: with_wave(s, np.sort([*s.wave[1:], s.wave[9]])), "bad_wave"),
    "a NaN wavelength": (lambda s: with_wave(s, set_every_13th(s.wave, np.nan)), "bad_wave"),
    "an infinite wavelength": (lambda s: with_wave(s, [*s.wave[:-1], np.inf]), "bad_wave"),
    "wavelengths from zero": (lambda s: with_wave(s, s.wave - s.wave[0]), "bad_wave"),
    "a single pixel": (lambda s: delete_pixels(s, slice(1, None)), "bad_wave"),
    "no pixel": (lambda s: delete_pixels(s, slice(None)), "bad_wave"),
    "no overlap": (lambda s: with_wave(s, s.wave * 20.0), "no_overlap"),
    "all on the grid masked": (lambda s: mask_all_except(s, [0, 1, 2, 399]), "no_overlap"),
    "z far too high": (lambda s: replace(s, z=400.0), "no_overlap"),
    "z NaN": (lambda s: replace(s, z=np.nan), "no_redshift"),
    "z infinite": (lambda s: replace(s, z=np.inf), "no_redshift"),
    "z -999": (lambda s: replace(s, z=-999.0), "no_redshift"),
    "z -1": (lambda s: replace(s, z=-1.0), "no_redshift"),
    "one flux value missing": (lambda s: replace(s, flux=s.flux[:-1]), "bad_table"),
    "unit of length": (lambda s: replace(s, unit="km"), "bad_table"),
    "unknown unit": (lambda s: replace(s, unit="counts per blob"), "bad_table"),
}
USABLE = {
    "some NaN": lambda s: replace(s, flux=set_every_13th(s.flux, np.nan)),
    "some infinite": lambda s: replace(s, flux=set_every_13th(s.flux, -np.inf)),
    "some variances negative": lambda s: replace(s, ivar=set_every_13th(s.ivar, -1.0)),
    "some errors zero": lambda s: replace(s, ivar=set_every_13th(s.ivar, np.inf)),
    "some errors next to zero": lambda s: replace(s, ivar=set_every_13th(s.ivar, 1e300)),
    "some errors vanish in the rest frame": lambda s: replace(
        s, unit="uJy", ivar=set_every_13th(s.ivar, 1e300)
    ),
    "spikes": lambda s: replace(s, flux=set_every_13th(s.flux, 1e30)),
    "spikes near the largest float": lambda s: replace(s, flux=set_every_13th(s.flux, 1.7e308)),
    "constant flux": lambda s: replace(s, flux=np.full(400, 1e-19)),
    "a gap": lambda s: delete_pixels(s, slice(220, 250)),
    "z beyond 14": lambda s: replace(s, z=20.0),
    "z below 0": lambda s: with_wave(replace(s, z=-0.001), s.wave / 6.0),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("spoil", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_value_has_one_reason_and_does_not_affect_other_spectra(spoil, reason):
    good = power_law()
    alone, _ = preprocess([good], GRID, NORM, -2.0)
    batch, rejected = preprocess([good, spoil(good), good], GRID, NORM, -2.0)
    assert [(index, error.reason) for index, error in rejected] == [(1, reason)]
    assert rejected[0][1].detail
    assert np.array_equal(batch.flux, np.repeat(alone.flux, 2, axis=0))
    assert median_continuum_slope([spoil(good), good], NORM) == pytest.approx(-2.0, abs=0.02)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("spoil", USABLE.values(), ids=USABLE)
def test_usable_value_gives_a_finite_row(spoil):
    batch, rejected = preprocess([spoil(power_law())], GRID, NORM, -2.0)
    assert rejected == []
    assert np.isfinite(batch.flux).all()
    assert np.isfinite(batch.ivar).all()
    assert np.all((batch.ivar > 0) | (batch.flux == 0))
    assert np.isfinite([batch.norm[0], batch.norm_err[0], batch.norm_snr[0], batch.snr[0]]).all()
    assert 0 < batch.n_valid[0] == np.count_nonzero(batch.ivar[0])
    assert batch.norm_window[0] == 0
    at_1500 = np.abs(GRID.wave_rest - 1500.0) < 20.0
    assert np.allclose(batch.flux[0, at_1500][batch.ivar[0, at_1500] > 0], 1.0, atol=0.1)


def test_gap_stays_masked():
    whole = power_law()
    batch, _ = preprocess([delete_pixels(whole, slice(220, 250))], GRID, NORM, -2.0)
    before, after = whole.wave[[219, 250]] * 1e4 / 6.0
    inside = (GRID.edges[:-1] > 1.01 * before) & (GRID.edges[1:] < 0.99 * after)
    assert inside.sum() > 30
    assert not batch.ivar[0, inside].any()
    assert np.all(batch.ivar[0, (GRID.edges[1:] < before) | (GRID.edges[:-1] > after)] > 0)


def build_varied_spectra():
    rng = np.random.default_rng(7)
    spectra = [power_law(f"good {z}", z=z, slope=1 - z / 3, rng=rng) for z in (3.5, 5.0, 7.5, 11.0)]
    spectra += [
        replace(power_law("Jy", rng=rng), unit="uJy"),
        replace(power_law("?", rng=rng), unit=""),
    ]
    spectra += [replace(spoil(power_law(rng=rng)), object_id=name) for name, spoil in USABLE.items()]
    return spectra + [replace(spoil(power_law()), object_id=name) for name, (spoil, _) in UNUSABLE.items()]


VARIED_SPECTRA = build_varied_spectra()


@given(st.lists(st.integers(0, len(VARIED_SPECTRA) - 1), min_size=1, max_size=40), st.data())
@settings(max_examples=40)
def test_rows_do_not_depend_on_order_or_batches(order, data):
    at = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=3)))
    spectra = [VARIED_SPECTRA[i] for i in order]
    pieces = [spectra[start:stop] for start, stop in pairwise([0, *at, len(order)])]
    batches = [preprocess(piece, GRID, NORM, -2.0)[0] for piece in pieces]
    alone = [preprocess([spectrum], GRID, NORM, -2.0)[0] for spectrum in spectra]
    names, names_alone = ([name for batch in group for name in batch.object_id] for group in (batches, alone))
    assert names == names_alone
    for name in (field.name for field in fields(alone[0]) if field.name != "object_id"):
        together = np.concatenate([getattr(batch, name) for batch in batches])
        one_by_one = np.concatenate([getattr(batch, name) for batch in alone])
        assert together.dtype == one_by_one.dtype
        assert np.array_equal(together, one_by_one, equal_nan=True)


def test_input_is_not_modified():
    spectrum = power_law()
    before = [array.copy() for array in (spectrum.wave, spectrum.flux, spectrum.ivar)]
    for array in (spectrum.wave, spectrum.flux, spectrum.ivar):
        array.setflags(write=False)
    preprocess([replace(spectrum, z=np.nan), spectrum], GRID, NORM, -2.0)
    assert np.array_equal(before, (spectrum.wave, spectrum.flux, spectrum.ivar))


def test_position_redshift_and_checksum_belong_to_the_row():
    first, second = replace(power_law("a"), ra=150.1, dec=2.2), power_law("b", z=6.0)
    batch, _ = preprocess([replace(first, z=-9.0), second, first], GRID, NORM, -2.0)
    assert batch.object_id == ["b", "a"]
    assert np.array_equal(batch.z, [6.0, 5.0])
    assert np.array_equal(batch.ra, [np.nan, 150.1], equal_nan=True)
    assert np.array_equal(batch.dec, [np.nan, 2.2], equal_nan=True)
    row = batch.flux[1].astype("<f4").tobytes() + batch.ivar[1].astype("<f4").tobytes()
    assert int(batch.checksum[1]) == int.from_bytes(blake2b(row, digest_size=8).digest(), "little")


def test_checksum_depends_on_every_value():
    rows = np.zeros((4, 8), np.float32), np.ones((4, 8), np.float32)
    rows[0][1, 3], rows[1][2, 7], rows[0][3, 0] = 1e-30, 1.0000001, -0.0
    checksums = compute_row_checksums(*rows)
    assert checksums.dtype == np.uint64
    assert len(set(checksums.tolist())) == 4
    assert np.array_equal(compute_row_checksums(rows[0][:, ::-1][:, ::-1], rows[1]), checksums)
    assert compute_row_checksums(np.zeros((0, 8), np.float32), np.zeros((0, 8), np.float32)).shape == (0,)
