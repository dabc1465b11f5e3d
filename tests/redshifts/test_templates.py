from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distspec.redshifts.templates import LYMAN_LIMIT, N_RAMPS, N_SAMPLES, draw_spectra, fit_mixture
from tests.redshifts.analytic import LOG_WAVE, draw_galaxies


def fit(flux, n_groups=1, n_axes=3):
    return fit_mixture(LOG_WAVE, np.zeros(1), flux[None].astype(np.float32), n_groups, n_axes)


def get_inner(mixture):
    """Return the templates on the wavelengths on which they were fitted, without ramps."""
    first = round((LOG_WAVE[0] - mixture.log_wave_rest[0]) / (LOG_WAVE[1] - LOG_WAVE[0]))
    return mixture.templates[0, :, :-N_RAMPS, first : first + len(LOG_WAVE)]


def test_mixture_does_not_depend_on_the_amplitudes():
    flux = draw_galaxies(200, seed=3)
    amplitudes = np.random.default_rng(4).lognormal(size=(200, 1))
    one, other = (get_inner(fit(each))[0] for each in (flux, flux * amplitudes))
    assert other[0] / other[0].mean() == pytest.approx(one[0] / one[0].mean(), rel=0.01)


def test_axes_have_the_covariance_of_the_spectra(rng):
    x = LOG_WAVE - LOG_WAVE.mean()
    axes = 0.05 * np.array([np.sin(4.0 * x), np.sin(9.0 * x)])
    flux = 1.0 + rng.normal(size=(1500, 2)) @ axes
    mean, *found = get_inner(fit(flux, n_axes=3))[0]
    assert mean == pytest.approx(np.full(len(x), mean.mean()), rel=0.01)
    found = np.array(found) / mean.mean()
    assert found.T @ found == pytest.approx(axes.T @ axes, abs=6e-4)
    assert np.abs(found[2]).max() < 0.01


def test_groups_are_found_with_their_shares():
    x = np.exp(LOG_WAVE - LOG_WAVE.mean())
    noise = 1.0 + 0.01 * np.random.default_rng(5).normal(size=(100, 1))
    flux = np.where(np.arange(100)[:, None] < 25, x**2 * noise, x**-2 * noise)
    mixture = fit(flux, n_groups=2)
    assert sorted(np.exp(mixture.log_weights)) == pytest.approx([0.25, 0.75])
    is_red = get_inner(mixture)[:, 0, -1] > get_inner(mixture)[:, 0, 0]
    assert np.exp(mixture.log_weights[is_red]) == pytest.approx([0.25])


def test_templates_are_continued():
    flux = np.ones((50, len(LOG_WAVE))) * (1.0 + 0.01 * np.arange(50)[:, None])
    mixture = fit(flux, n_axes=1)
    wave, mean = np.exp(mixture.log_wave_rest), mixture.templates[0, 0, 0]
    assert np.diff(mixture.log_wave_rest) == pytest.approx(LOG_WAVE[1] - LOG_WAVE[0])
    assert not mean[wave < LYMAN_LIMIT].any()
    assert mean[(wave >= LYMAN_LIMIT) & (wave < 8000.0)] == pytest.approx(1.0)
    assert wave[-1] >= 7.0 * 8000.0
    is_red = wave > 8100.0
    assert mean[is_red] == pytest.approx((wave[is_red] / 8000.0) ** -1.5, rel=1e-3)
    ramps = mixture.templates[0, 0, -N_RAMPS:]
    assert not ramps[:, wave <= 8000.0].any()
    assert ramps[:, -1] == pytest.approx(np.full(N_RAMPS, 0.5), rel=0.01)
    assert (np.diff(ramps, axis=1) >= 0).all()


def test_more_axes_than_spectra_are_zero():
    inner = get_inner(fit(draw_galaxies(4, seed=6), n_axes=9))
    assert inner.shape == (1, 10, len(LOG_WAVE))
    assert not inner[0, 5:].any()


@pytest.mark.parametrize("condition_on_z", [True, False])
def test_spectra_are_drawn_from_the_prior_before_the_instrument(condition_on_z):
    """A decoder that returns latents and redshift."""

    def decode(latents, z, convolve):
        assert not convolve
        return np.column_stack([latents, np.full(len(latents), z)]).astype(np.float32)

    config = SimpleNamespace(condition_on_z=condition_on_z)
    vae = SimpleNamespace(config=config, log1pz_moments=torch.tensor([1.5, 0.2]))
    z_nodes, flux = draw_spectra(SimpleNamespace(vae=vae, n_latents=2, decode=decode))
    nodes = [1.2, 1.4, 1.6, 1.8, 2.0] if condition_on_z else [0.0]
    assert np.log1p(z_nodes) == pytest.approx(nodes, abs=1e-6)
    assert flux.shape == (len(nodes), N_SAMPLES, 3)
    assert flux[:, 0, 2] == pytest.approx(z_nodes, rel=1e-6)
    assert (flux[:, :, :2] == flux[0, :, :2]).all()
    assert flux[0, :, :2].std(axis=0) == pytest.approx(np.ones(2), abs=0.05)
