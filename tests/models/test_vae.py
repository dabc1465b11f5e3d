"""The VAE: architecture and loss against the published ones, and each option against its definition."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from distspec.core.errors import ConfigError
from distspec.core.spectrum import WavelengthGrid
from distspec.models.augmentation import augment, thin
from distspec.models.batch import Batch, JoinedInputs, ModelInput
from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.layers import SpectrumSmoother
from distspec.models.losses import arcsinh, consistency_loss, kl_divergence
from distspec.models.vae import SpectrumVAE, decode_flux, embed
from distspec.pipeline.recipes import PRISM_VAE, SPECTRAL_VAE, learnspec

L = 40
GRID = WavelengthGrid("log", 1100.0, 8400.0, 64)
SMALL = {"hidden_sizes": (32, 16), "dropout": (0.1, 0.1), "n_latents": 3}
PRISM = replace(PRISM_VAE, **SMALL)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return SpectrumVAE({SPECTRUM_KEY: L}, VAEConfig())


def make_batch(n, n_pixels, seed=1):
    generator = torch.Generator().manual_seed(seed)
    flux = 0.3 * torch.randn(n, n_pixels, generator=generator) + 1.0
    ivar = (torch.rand(n, n_pixels, generator=generator) > 0.3).float() * 25.0
    return Batch.from_spectra(flux, ivar, 4.0 + 4.0 * torch.rand(n, generator=generator))


@pytest.fixture
def spectra():
    return make_batch(24, L)


@pytest.fixture(scope="module")
def galaxies():
    """Three hundred noisy spectra of two components within the prism's range, and the noiseless ones."""
    generator = torch.Generator().manual_seed(5)
    x = torch.from_numpy(np.log(GRID.wave_rest / 3000.0)).float()
    slope, bump = torch.randn(2, 300, 1, generator=generator)
    truth = torch.exp(-0.8 * x + 0.3 * slope * x) + 0.3 * bump.exp() * torch.exp(
        -0.5 * ((x - 0.5) / 0.1) ** 2
    )
    z = 4.0 + 4.0 * torch.rand(300, generator=generator)
    ivar = torch.full_like(truth, 400.0)
    observed = torch.from_numpy(GRID.wave_rest).float() * (1.0 + z[:, None])
    ivar[(observed < 6000.0) | (observed > 53000.0)] = 0.0
    noise = torch.randn(truth.shape, generator=generator) * 0.05
    return Batch.from_spectra(truth + noise, ivar, z), truth


def make_model(config, batch, seed=0):
    torch.manual_seed(seed)
    model = SpectrumVAE({SPECTRUM_KEY: GRID.n_pixels}, config, GRID.wave_rest)
    model.initialize_from_sample(batch)
    return model


def test_published_architecture(vae):
    def widths(stack):
        return [layer.out_features for layer in stack if isinstance(layer, nn.Linear)]

    def rates(stack):
        return [layer.p for layer in stack if isinstance(layer, nn.Dropout)]

    assert widths(vae.encoder) == [512, 256, 128, 64]
    assert widths(vae.decoder) == [64, 128, 256, 512]
    assert rates(vae.encoder) == [0.2, 0.2, 0.2, 0.1]
    assert rates(vae.decoder) == [0.1, 0.2, 0.2, 0.2]
    assert (vae.to_mean.out_features, vae.to_log_var.out_features) == (16, 16)
    assert vae.to_output.out_features == L
    for stack in (vae.encoder, vae.decoder):
        kinds = [type(layer) for layer in stack]
        assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout] * 4


@pytest.mark.parametrize("config", [VAEConfig(), SPECTRAL_VAE], ids=["paper", "spectral"])
def test_masked_pixels_change_nothing(config):
    batch = make_batch(24, L)
    flux, ivar = batch.spectrum
    garbage = torch.where(ivar > 0, flux, torch.full_like(flux, 1e6))
    garbage[ivar == 0] = float("nan")
    results = []
    for values in (flux, garbage):
        inputs = Batch.from_spectra(values, ivar, batch.z)
        torch.manual_seed(0)
        vae = SpectrumVAE({SPECTRUM_KEY: L}, config)
        vae.initialize_from_sample(inputs)
        torch.manual_seed(0)
        losses = vae(inputs)
        losses["total"].backward()
        gradient = torch.cat([p.grad.flatten() for p in vae.parameters() if p.grad is not None])
        results.append((torch.stack(list(losses.values())).detach(), gradient, embed(vae, inputs)))
    (loss, gradient, embedding), (loss2, gradient2, embedding2) = results
    assert torch.equal(loss, loss2)
    assert torch.equal(gradient, gradient2)
    assert all(torch.equal(embedding[name], embedding2[name]) for name in embedding)


def test_published_loss(vae, spectra):
    """(1/N) Σ_i Σ_j M_ij (x_ij − x̂_ij)², the KL divergence to N(0, I), and L2."""
    for layer in vae.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    torch.manual_seed(3)
    losses = vae(spectra)
    flux, ivar = spectra.spectrum
    x, mask = torch.where(ivar > 0, torch.asinh(flux), 0.0), (ivar > 0).float()
    torch.manual_seed(3)
    hidden = vae.encoder(x)
    mean, log_var = vae.to_mean(hidden), vae.to_log_var(hidden)
    latent = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
    recon = vae.to_output(vae.decoder(latent))
    expected = (mask * (x - recon) ** 2).sum(1).mean()
    kl = (-0.5 * (1 + log_var - mean**2 - log_var.exp())).sum(1).mean()
    assert losses["recon"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["kl"].item() == pytest.approx(kl.item(), rel=1e-5)
    assert losses["total"].item() == pytest.approx(
        (expected + kl + vae.compute_l2_penalty()).item(), rel=1e-5
    )


def test_loss_of_the_released_code():
    """Smoothed spectra with masked pixels as 0; pixels that smoothing leaves at 0 are masked."""
    torch.manual_seed(0)
    config = learnspec("/r").vae
    vae = SpectrumVAE({SPECTRUM_KEY: GRID.n_pixels}, config, GRID.wave_rest)
    batch = make_batch(24, GRID.n_pixels)
    flux, ivar = batch.spectrum
    ivar[:, :20] = 0.0
    torch.manual_seed(3)
    losses = vae(batch)
    smoothed = SpectrumSmoother(GRID.wave_rest)(torch.where(ivar > 0, flux, 0.0))
    assert not smoothed[:, :12].any()
    x, mask = torch.asinh(smoothed), (smoothed != 0).float()
    torch.manual_seed(3)
    hidden = vae.encoder(x)
    mean, log_var = vae.to_mean(hidden), vae.to_log_var(hidden)
    latent = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
    expected = (mask * (x - vae.to_output(vae.decoder(latent))) ** 2).sum(1).mean()
    assert losses["recon"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["total"].item() == pytest.approx((expected + losses["kl"]).item(), rel=1e-5)


def test_kl_divergence_equals_torch():
    mean, log_var = torch.randn(8, 16), torch.randn(8, 16)
    posterior = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    assert torch.allclose(kl_divergence(mean, log_var), expected.sum(1).mean(), rtol=1e-5)


def test_arcsinh_equals_torch():
    x = torch.cat([torch.linspace(-50, 50, 1001), torch.logspace(-8, 6, 100), -torch.logspace(-8, 6, 100)])
    assert torch.allclose(arcsinh(x), torch.asinh(x), rtol=1e-6, atol=1e-12)


def test_dropout_acts_in_training_only(vae, spectra):
    vae.train()
    assert not torch.equal(vae.encode(spectra)[0], vae.encode(spectra)[0])
    vae.eval()
    assert torch.equal(vae.encode(spectra)[0], vae.encode(spectra)[0])


def test_batch_norm_acts(vae, spectra):
    norms = [m for m in vae.modules() if isinstance(m, nn.BatchNorm1d)]
    before = [m.running_mean.clone() for m in norms]
    vae.train()
    vae(spectra)
    assert all(not torch.equal(b, m.running_mean) for b, m in zip(before, norms, strict=True))
    # In training a spectrum's latents depend on its batch; in evaluation they do not.
    for layer in vae.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    assert not torch.allclose(vae.encode(spectra)[0][:12], vae.encode(spectra[:12])[0], atol=1e-3)
    vae.eval()
    assert torch.allclose(vae.encode(spectra)[0][:12], vae.encode(spectra[:12])[0], atol=1e-5)


def test_l2_acts_on_hidden_kernels_only(vae):
    hidden = [m for stack in (vae.encoder, vae.decoder) for m in stack if isinstance(m, nn.Linear)]
    expected = 1e-3 * sum((m.weight**2).sum() for m in hidden)
    assert torch.allclose(vae.compute_l2_penalty(), expected, rtol=1e-5)
    vae.zero_grad()
    vae.compute_l2_penalty().backward()
    assert all(torch.allclose(m.weight.grad, 2e-3 * m.weight) for m in hidden)
    others = [
        vae.to_mean.weight,
        vae.to_log_var.weight,
        vae.to_output.weight,
        *(m.bias for m in hidden),
    ]
    assert all(parameter.grad is None for parameter in others)


def test_validation_loss_decodes_the_mean_and_is_a_sum(vae, spectra):
    vae.eval()
    whole = vae.compute_validation_loss(spectra)
    parts = [vae.compute_validation_loss(spectra[part]) for part in (slice(0, 7), slice(7, 24))]
    for name, value in whole.items():
        assert value.item() == pytest.approx(sum(part[name].item() for part in parts), rel=1e-5)
    mean = vae.encode(spectra)[0]
    flux, ivar = spectra.spectrum
    error = torch.where(ivar > 0, torch.asinh(flux) - vae.decode(mean, spectra.z)[SPECTRUM_KEY], 0.0)
    assert whole["recon"].item() == pytest.approx(error.square().sum().item(), rel=1e-5)


def test_embedding_equals_its_definition(galaxies):
    batch, _ = galaxies
    for config in (VAEConfig(**SMALL), PRISM):
        model = make_model(config, batch)
        result = embed(model, batch)
        recon = result["amplitude"][:, None] * decode_flux(model, result["z_mean"], batch.z)
        flux, ivar = batch.spectrum
        row, valid = 3, ivar[3] > 0
        error = (torch.asinh(flux[row]) - torch.asinh(recon[row]))[valid].square().mean()
        chi2 = ((flux[row] - recon[row]).square() * ivar[row])[valid].mean()
        assert result["recon_mse"][row].item() == pytest.approx(error.item(), rel=1e-4)
        assert result["recon_chi2_red"][row].item() == pytest.approx(chi2.item(), rel=1e-4)
        assert result["z_mean"].shape == result["z_log_var"].shape == (300, 3)
        part = embed(model, batch[5:7])
        assert all(torch.allclose(result[name][5:7], part[name], atol=1e-4) for name in result)


def test_model_starts_as_probabilistic_pca(galaxies):
    """Without training it denoises spectra, and its posterior is the prior where nothing was observed."""
    batch, truth = galaxies
    model = make_model(replace(PRISM, convolve_lsf=False), batch)
    found = embed(model, batch)
    recon = found["amplitude"][:, None] * decode_flux(model, found["z_mean"], batch.z)
    seen = batch.spectrum.ivar > 0
    error = (recon - truth)[seen].square().mean()
    noise = (batch.spectrum.value - truth)[seen].square().mean()
    assert error < 0.7 * noise
    blank = Batch.from_spectra(*(torch.zeros_like(t) for t in batch.spectrum), batch.z)
    mean, log_var = model.encode(blank)
    assert torch.allclose(mean, torch.zeros_like(mean), atol=1e-5)
    assert torch.allclose(log_var - model.posterior_inflation, torch.zeros_like(log_var), atol=1e-5)


def test_latents_do_not_depend_on_brightness(galaxies):
    batch, _ = galaxies
    model = make_model(PRISM, batch)
    flux, ivar = batch.spectrum
    brighter = Batch.from_spectra(3.0 * flux, ivar / 9.0, batch.z)
    one, other = embed(model, batch), embed(model, brighter)
    assert torch.allclose(one["z_mean"], other["z_mean"], atol=2e-3)
    assert torch.allclose(3.0 * one["amplitude"], other["amplitude"], rtol=1e-2)


def test_spectra_before_the_instrument(galaxies):
    batch, _ = galaxies
    model, z = make_model(PRISM, batch), batch.z[:5]
    latents = torch.randn(5, model.config.n_latents, generator=torch.Generator().manual_seed(0))
    before, seen = (decode_flux(model, latents, z, convolve=convolve) for convolve in (False, True))
    assert torch.allclose(model.lsf.convolve(before, z), seen, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(before, seen, atol=1e-2)
    assert torch.equal(decode_flux(model, latents, z), seen)


def test_an_extreme_estimate_of_masked_pixels_does_not_overflow(galaxies):
    batch, _ = galaxies
    model = make_model(PRISM, batch)
    model.eval()
    masked = torch.arange(GRID.n_pixels) < 60
    model.ppca.components[:, masked] *= 1e4
    ivar = torch.where(masked, 0.0, batch.spectrum.ivar)
    mean, log_var = model.encode(Batch.from_spectra(batch.spectrum.value, ivar, batch.z))
    assert torch.isfinite(mean).all()
    assert torch.isfinite(log_var).all()


@pytest.mark.parametrize("equally", [False, True])
def test_thinned_halves_are_independent_and_unbiased(equally):
    torch.manual_seed(2)
    n = 40000
    truth, sigma = 2.0, 0.5
    x = truth + sigma * torch.randn(n, 1)
    one, other = thin(
        JoinedInputs(x, torch.full_like(x, sigma**-2), torch.zeros(n)), torch.randn(n, 1), equally
    )
    pulls = [(half.value - truth) * half.ivar.sqrt() for half in (one, other)]
    for pull in pulls:
        assert abs(pull.mean().item()) < 5 / math.sqrt(n)
        assert pull.var().item() == pytest.approx(1.0, abs=5 * math.sqrt(2 / n))
    assert abs((pulls[0] * pulls[1]).mean().item()) < 5 / math.sqrt(n)
    assert torch.allclose(one.ivar + other.ivar, torch.full_like(x, sigma**-2))


def test_augmented_view_has_no_higher_resolution_nor_more_pixels(galaxies):
    batch, _ = galaxies
    model = make_model(PRISM, batch)
    torch.manual_seed(0)
    view = augment(batch.join(model.input_sizes), PRISM, model.lsf)
    assert (view.z <= batch.z).all()
    assert (view.ivar <= batch.spectrum.ivar).all()
    assert (view.ivar < batch.spectrum.ivar).any()
    assert (view.z < batch.z).any()


def test_posteriors_are_calibrated_by_repeats(galaxies):
    batch, truth = galaxies
    model = make_model(PRISM, batch)
    noise = 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(9))
    again = Batch.from_spectra(truth + noise, batch.spectrum.ivar, batch.z)
    with torch.no_grad():
        model.to_log_var.bias.fill_(-3.0)
        model.calibrate_posteriors(batch, again)
        (mean, log_var), (mean2, log_var2) = model.encode(batch), model.encode(again)
    ratio = ((mean - mean2).square() / (log_var.exp() + log_var2.exp())).mean(0)
    assert torch.allclose(ratio, torch.ones_like(ratio), rtol=1e-4)
    assert (model.posterior_inflation > 1.0).all()
    before = model.posterior_inflation.clone()
    damaged = again[torch.arange(len(again))]
    damaged.spectrum.value[:5] *= -30.0
    model.calibrate_posteriors(batch, damaged)
    assert torch.allclose(model.posterior_inflation, before, atol=0.1), "outliers must be clipped"
    before = model.posterior_inflation.clone()
    model.calibrate_posteriors(batch[:10], again[:10])
    assert torch.equal(before, model.posterior_inflation), "ten repeats are too few to calibrate"


def test_consistency_loss_is_a_bounded_distance_without_scale():
    generator = torch.Generator().manual_seed(0)
    mean, mean2, log_var, log_var2 = torch.randn(4, 50, 3, generator=generator)
    cost = consistency_loss(mean, mean2, log_var, log_var2)
    assert cost > 0
    assert consistency_loss(mean, mean, log_var, log_var).item() == pytest.approx(0.0, abs=1e-6)
    scaled = consistency_loss(5 * mean, 5 * mean2, log_var + math.log(25), log_var2 + math.log(25))
    assert scaled.item() == pytest.approx(cost.item(), rel=1e-5)
    # −ln ∫ √(q₁ q₂), here by quadrature for one latent variable.
    x = torch.linspace(-30, 30, 20001)
    p, q = (
        torch.distributions.Normal(m[0, 0], (0.5 * v[0, 0]).exp()).log_prob(x)
        for m, v in ((mean, log_var), (mean2, log_var2))
    )
    expected = -torch.trapezoid((0.5 * (p + q)).exp(), x).log()
    found = consistency_loss(*(t[:1, :1] for t in (mean, mean2, log_var, log_var2)))
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)


def test_half_of_the_light_is_validated_against_the_other(galaxies):
    """The loss of a spectrum is the same in every batch, and noise cannot predict itself."""
    batch, _ = galaxies
    model = make_model(replace(PRISM, noise_correlation=0.0), batch)
    model.eval()
    whole = model.compute_validation_loss(batch)
    parts = [model.compute_validation_loss(batch[part]) for part in (slice(0, 100), slice(100, 300))]
    for name, value in whole.items():
        assert value.item() == pytest.approx(sum(part[name].item() for part in parts), rel=1e-4)
    # A decoder that repeats its input would have no loss if the input were also the target.
    inputs = batch.join(model.input_sizes)
    first, second = thin(inputs, model._draw_validation_noise(batch.z), equally=True)
    valid = inputs.ivar > 0
    pulls = ((first.value - second.value) * (0.5 * second.ivar).sqrt())[valid]
    assert pulls.var().item() == pytest.approx(1.0, abs=0.05)


def test_faint_spectra_are_not_flung_outward(galaxies):
    """Latents of spectra of nearly pure noise stay near the prior's mean."""
    batch, truth = galaxies
    model = make_model(PRISM, batch)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    faint = Batch.from_spectra(truth + 3.0 * noise, (batch.spectrum.ivar > 0) / 9.0, batch.z)
    mean = embed(model, faint)["z_mean"]
    assert mean.square().mean().sqrt() < embed(model, batch)["z_mean"].square().mean().sqrt()


def test_training_learns(galaxies):
    batch, _ = galaxies
    model = make_model(replace(PRISM, l2=1e-4, decoder_dropout=True), batch)
    model.linear_decoder.weight.data.zero_()  # principal components would leave little to learn
    model.eval()
    before = model.compute_validation_loss(batch)["recon"]
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(30):
        losses = model(batch)
        assert all(torch.isfinite(loss) for loss in losses.values())
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
    model.eval()
    assert model.compute_validation_loss(batch)["recon"] < before


def test_photometry_as_a_second_input(galaxies):
    batch, _ = galaxies
    sizes = {SPECTRUM_KEY: GRID.n_pixels, "photometry": 6}
    bands = ModelInput(torch.ones(300, 6), torch.full((300, 6), 100.0))
    joined = Batch({**batch.inputs, "photometry": bands}, batch.z)
    for config in (VAEConfig(**SMALL), PRISM):
        model = SpectrumVAE(sizes, config, GRID.wave_rest)
        model.initialize_from_sample(joined)
        model(joined)["total"].backward()
        recon = model.decode(model.encode(joined)[0], joined.z)
        assert recon["photometry"].shape == (300, 6)
        unseen = Batch({**batch.inputs, "photometry": ModelInput(bands.value, 0 * bands.ivar)}, batch.z)
        assert torch.isfinite(model(unseen)["total"])


def test_state_dict_restores_the_model(galaxies):
    batch, _ = galaxies
    model = make_model(PRISM, batch)
    other = SpectrumVAE({SPECTRUM_KEY: GRID.n_pixels}, PRISM, GRID.wave_rest)
    other.load_state_dict(model.state_dict())
    assert all(
        torch.equal(a, b)
        for a, b in zip(embed(model, batch).values(), embed(other, batch).values(), strict=True)
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": (0.1,)},
        {"dropout": (0.2, 0.2, 0.2, 1.0)},
        {"n_latents": 0},
        {"hidden_sizes": ()},
        {"noise_floor": 0.0},
        {"ppca_init": True},
        {"profile_amplitude": True, "standardize": True},
        {"redshift_augmentation": True},
        {"consistency_weight": 1.0},
    ],
)
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ConfigError, match=r"vae\."):
        VAEConfig(**settings)


def test_bfloat16_keeps_precision_where_it_matters(galaxies):
    batch, _ = galaxies
    model = make_model(PRISM, batch)
    model.eval()
    exact = model.encode(batch)[0], model.compute_validation_loss(batch)["recon"].item()
    with torch.autocast("cpu", torch.bfloat16):
        mean, recon = model.encode(batch)[0], model.compute_validation_loss(batch)["recon"].item()
    assert torch.allclose(mean, exact[0], atol=2e-3)
    assert recon == pytest.approx(exact[1], rel=2e-3)
