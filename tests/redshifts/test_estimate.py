from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import distspec
from distspec.core.errors import ConfigError, QuarantineReason
from distspec.core.spectrum import Spectrum
from distspec.models.config import VAEConfig
from distspec.redshifts import RedshiftConfig, RedshiftEstimator
from tests.redshifts.analytic import CONFIG, UNIT, WAVE, draw_galaxies, make_estimator, observe

TRUE_Z = np.array([0.4, 1.1, 1.9, 2.6, 3.3])


@pytest.fixture(scope="module")
def estimator():
    return make_estimator()


@pytest.fixture(scope="module")
def spectra():
    galaxies = draw_galaxies(len(TRUE_Z), seed=2)
    return [observe(flux, z, seed) for seed, (flux, z) in enumerate(zip(galaxies, TRUE_Z, strict=True))]


@pytest.fixture(scope="module")
def estimates(estimator, spectra):
    return estimator.estimate(spectra)


def get_best(estimates):
    return np.array([posterior.z_best for posterior in estimates.posteriors])


def test_redshifts_of_galaxies_with_lines(estimates):
    assert estimates.index == list(range(len(TRUE_Z)))
    assert not estimates.rejected
    assert get_best(estimates) == pytest.approx(TRUE_Z, abs=0.01)
    low, high = np.array([[p.quantile(0.001), p.quantile(0.999)] for p in estimates.posteriors]).T
    assert ((low < TRUE_Z) & (high > TRUE_Z)).all()
    assert max(p.outlier_probability(z) for p, z in zip(estimates.posteriors, TRUE_Z, strict=True)) < 0.01
    assert (estimates.ln_bayes_factor > 5.0).all()
    assert estimates.z_class == ["galaxy"] * len(TRUE_Z)
    assert (estimates.chi2_red < 1.5).all()


def test_units_do_not_matter(estimator, spectra, estimates):
    in_units = []
    for k, spectrum in enumerate(spectra):
        factor, to_f_nu = 10.0 ** (-20 + 5 * k), spectrum.wave**2
        flux, ivar = spectrum.flux * factor, spectrum.ivar / factor**2
        if k % 2:
            flux, ivar = flux * to_f_nu, ivar / to_f_nu**2
        in_units.append(replace(spectrum, flux=flux, ivar=ivar, unit="uJy" if k % 2 else UNIT))
    assert get_best(estimator.estimate(in_units)) == pytest.approx(get_best(estimates), abs=1e-4)


def test_redshifts_of_the_archive_are_not_used(estimator, spectra, estimates):
    wrong = [replace(spectrum, z=9.0) for spectrum in spectra]
    assert get_best(estimator.estimate(wrong)).tolist() == get_best(estimates).tolist()


def test_a_wrong_redshift_of_the_archive_is_compared(estimator, spectra, estimates):
    wrong_z = np.expm1(np.log1p(TRUE_Z) + np.array([0.2, 0.3, -0.3, -0.5, -0.6]))
    wrong = [replace(spectrum, z=z) for spectrum, z in zip(spectra, wrong_z, strict=True)]
    found = estimator.estimate(wrong)
    assert get_best(found) == pytest.approx(get_best(estimates), abs=1e-6)
    for posterior, z in zip(found.posteriors, wrong_z, strict=True):
        assert 0.0 < posterior.probability_near(z) < 1e-8
        assert posterior.outlier_probability(z) == pytest.approx(1.0)
        near = posterior.z[np.abs(posterior.z - z) < 0.01 * (1.0 + z)]
        assert np.ptp(near) > 0.015 * (1.0 + z)


def test_proposed_redshifts_give_what_all_redshifts_give(estimator, spectra, estimates):
    everywhere = replace(estimator, config=replace(CONFIG, n_proposals=10_000))
    found = everywhere.estimate(spectra)
    for posterior, expected in zip(estimates.posteriors, found.posteriors, strict=True):
        assert posterior.z_best == pytest.approx(expected.z_best, abs=1e-4)
        for fraction in (0.16, 0.5, 0.84):
            assert posterior.quantile(fraction) == pytest.approx(expected.quantile(fraction), abs=1e-4)


@settings(max_examples=8)
@given(order=st.permutations(range(len(TRUE_Z))), n=st.integers(1, len(TRUE_Z)))
def test_estimate_of_a_spectrum_does_not_depend_on_the_others(estimator, spectra, estimates, order, n):
    found = estimator.estimate([spectra[i] for i in order[:n]])
    for i, posterior in zip(order[:n], found.posteriors, strict=True):
        expected = estimates.posteriors[i]
        assert posterior.z_best == pytest.approx(expected.z_best, abs=1e-4)
        assert posterior.quantile(0.16) == pytest.approx(expected.quantile(0.16), abs=1e-4)
        assert posterior.delta_chi2_second == pytest.approx(expected.delta_chi2_second, abs=0.05, nan_ok=True)


def test_spectra_of_several_instruments_in_one_call(estimator, spectra, estimates):
    other_wave = np.geomspace(0.8, 2.5, 130)
    other = observe(draw_galaxies(1, seed=7)[0], 1.4, 9, wave=other_wave)
    found = estimator.estimate([spectra[0], other, spectra[1]])
    assert get_best(found) == pytest.approx([get_best(estimates)[0], 1.4, get_best(estimates)[1]], abs=0.01)


def test_what_cannot_be_used_is_rejected_with_a_reason(estimator, spectra, estimates):
    good = spectra[0]
    one_pixel = np.where(np.arange(len(WAVE)) == 30, good.ivar, 0.0)
    few = np.array([0.7, 0.8, 0.9])
    cases = [
        (replace(good, ivar=np.zeros(len(WAVE))), QuarantineReason.NO_VALID_PIXELS, "0 of 160"),
        (replace(good, ivar=one_pixel), QuarantineReason.NO_VALID_PIXELS, "1 pixels are valid"),
        (replace(good, flux=np.full(len(WAVE), np.nan)), QuarantineReason.NO_VALID_PIXELS, "0 of 160"),
        (replace(good, wave=WAVE[::-1]), QuarantineReason.BAD_WAVE, "redward"),
        (replace(good, wave=WAVE * 1e-3), QuarantineReason.NO_OVERLAP, "0 pixels see a template"),
        (replace(good, wave=WAVE * 1e3), QuarantineReason.NO_OVERLAP, "redshifts from 0.0 to 4.0"),
        (replace(good, flux=-np.abs(good.flux)), QuarantineReason.NO_VALID_PIXELS, "neither negative nor"),
        (replace(good, unit="m"), QuarantineReason.BAD_TABLE, "unit"),
        (replace(good, wave=few, flux=few, ivar=few), QuarantineReason.NO_VALID_PIXELS, "3 pixels"),
        (replace(good, wave=few), QuarantineReason.BAD_TABLE, "shapes"),
    ]
    found = estimator.estimate([*(spectrum for spectrum, *_ in cases), good])
    assert found.index == [len(cases)]
    assert get_best(found) == pytest.approx(get_best(estimates)[:1], abs=1e-4)
    assert [index for index, _ in found.rejected] == list(range(len(cases)))
    for (_, error), (_, reason, text) in zip(found.rejected, cases, strict=True):
        assert error.reason == reason
        assert text in error.detail


def test_no_spectra(estimator):
    found = estimator.estimate([])
    assert (found.index, found.posteriors, found.rejected, found.z_class) == ([], [], [], [])
    assert found.ln_bayes_factor.shape == (0,)


def test_pixels_without_a_finite_flux_are_masked(estimator, spectra, estimates):
    flux = spectra[1].flux.copy()
    flux[::7] = np.nan
    found = estimator.estimate([replace(spectra[1], flux=flux)])
    assert get_best(found) == pytest.approx(get_best(estimates)[1:2], abs=0.01)


def test_flux_of_nothing_has_a_posterior(estimator, rng):
    noise = replace(
        observe(np.ones(300), 1.0, 0), flux=rng.standard_normal(len(WAVE)), ivar=np.ones(len(WAVE))
    )
    zero = replace(noise, flux=np.zeros(len(WAVE)))
    found = estimator.estimate([noise, zero])
    assert found.index == [0, 1]
    assert all(np.isfinite(p.probability).all() and np.isfinite(p.z_best) for p in found.posteriors)
    assert (found.ln_bayes_factor < 10.0).all()
    assert found.z_class == ["noise", "noise"]


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_smooth_flux_is_not_told_from_noise(estimator, slope):
    noise = 0.3 * np.random.default_rng(2).standard_normal((3, len(WAVE)))
    ivar = np.full(len(WAVE), 0.3**-2.0)
    smooth = [Spectrum("", WAVE, (WAVE / 1.5) ** slope + each, ivar, UNIT, np.nan) for each in noise]
    assert estimator.estimate(smooth).z_class == ["noise"] * 3


def test_best_fit_instead_of_the_marginal_likelihood(spectra):
    found = make_estimator(replace(CONFIG, marginalize=False)).estimate(spectra)
    assert get_best(found) == pytest.approx(TRUE_Z, abs=0.01)


def test_errors_that_are_too_small_are_widened(estimator, spectra):
    wiggles = 1.0 + 0.3 * np.sin(np.arange(len(WAVE)))
    strange = replace(spectra[0], flux=spectra[0].flux * wiggles, ivar=spectra[0].ivar * 1e5)
    as_stated, smaller = estimator.estimate([strange, replace(strange, ivar=strange.ivar * 100.0)]).posteriors
    widths = [p.quantile(0.84) - p.quantile(0.16) for p in (as_stated, smaller)]
    assert widths[1] == pytest.approx(widths[0], rel=0.5)


def test_prior_of_the_training_redshifts(spectra):
    config = replace(CONFIG, use_prior=True)
    flat, prior = (
        make_estimator(config, log1pz_moments=moments) for moments in (None, (np.log1p(3.3), 0.001))
    )
    assert get_best(flat.estimate(spectra[:1])) == pytest.approx(TRUE_Z[:1], abs=0.01)
    narrow = prior.estimate(spectra[4:5])
    assert get_best(narrow) == pytest.approx(TRUE_Z[4:5], abs=0.01)
    widths = [
        p.quantile(0.84) - p.quantile(0.16)
        for p in (*flat.estimate(spectra[4:5]).posteriors, *narrow.posteriors)
    ]
    assert widths[1] <= widths[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"z_min": 3.0, "z_max": 2.0},
        {"z_min": -1.0},
        {"z_min": np.nan},
        {"z_max": np.inf},
        {"n_groups": 0},
        {"n_axes": 0},
        {"n_coarse_axes": 0},
        {"n_proposals": 0},
        {"error_floor": -0.1},
        {"error_floor": np.nan},
        {"misfit_weight": -1.0},
        {"systematic_error": np.inf},
        {"p_excluded": 1.0},
        {"n_smooth": 3},
    ],
)
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ConfigError, match=str(next(iter(changes.values())))):
        RedshiftConfig(**changes)


@pytest.mark.parametrize(
    "resolving_power",
    [((0.6, 30.0), (5.3, np.nan)), ((0.6, -30.0), (5.3, 300.0)), ((5.3, 300.0), (0.6, 30.0))],
)
def test_model_with_an_impossible_resolving_power_is_refused(resolving_power):
    vae = SimpleNamespace(config=VAEConfig(resolving_power=resolving_power, convolve_lsf=True))
    with pytest.raises(ConfigError, match=r"model m-1: vae\.resolving_power .* increasing wavelengths"):
        RedshiftEstimator.from_model(SimpleNamespace(vae=vae, model_id="m-1"))


def test_prior_needs_a_model_that_knows_redshifts():
    vae = SimpleNamespace(config=VAEConfig())
    with pytest.raises(ConfigError, match="model m-1 was trained without redshifts"):
        RedshiftEstimator.from_model(SimpleNamespace(vae=vae, model_id="m-1"), RedshiftConfig(use_prior=True))


@pytest.mark.slow
def test_estimator_of_the_packaged_model():
    model = distspec.load_model("prism-simulated")
    estimator = distspec.RedshiftEstimator.from_model(model, distspec.RedshiftConfig(z_max=7.0))
    assert estimator.resolving_power == model.vae.config.resolving_power
    wave, rng = 1e-4 * model.wave_rest * 5.0, np.random.default_rng(1)
    flux = model.sample(5, 4.0, rng) + 0.1 * rng.standard_normal((5, len(wave)))
    ivar = np.full(len(wave), 100.0)
    found = estimator.estimate([distspec.Spectrum("", wave, each, ivar, UNIT, np.nan) for each in flux])
    assert np.median(np.abs(get_best(found) - 4.0)) < 0.02
    assert (np.abs(get_best(found) - 4.0) < 0.05).sum() >= 4


def test_a_spectrum_that_no_galaxy_resembles_is_another(estimator, spectra):
    waves = 1.0 + np.sin(40.0 * np.log(WAVE))
    bands = replace(spectra[0], flux=waves, ivar=np.full(len(WAVE), 0.02**-2.0))
    found = estimator.estimate([bands, spectra[0]])
    assert found.z_class == ["other", "galaxy"]
