import pytest
import torch
from torch import nn

from distspec.vae import (
    SPECTRUM,
    Observed,
    SpectrumVAE,
    VAEConfig,
    elbo,
    embed,
    kl_divergence,
    observe,
    reconstruct,
    reconstruction_loss,
)

L = 40


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return SpectrumVAE({SPECTRUM: L}, VAEConfig())


@pytest.fixture
def spectra():
    generator = torch.Generator().manual_seed(1)
    flux = torch.randn(24, L, generator=generator) + 1.0
    ivar = (torch.rand(24, L, generator=generator) > 0.3).float() * 25.0
    return flux, ivar


def test_architecture_of_the_paper(vae):
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


def test_masked_pixels_change_nothing_at_all(spectra):
    flux, ivar = spectra
    nonsense = torch.where(ivar > 0, flux, torch.full_like(flux, 1e6))
    nonsense[ivar == 0] = float("nan")
    results = []
    for values in (flux, nonsense):
        torch.manual_seed(0)
        vae = SpectrumVAE({SPECTRUM: L}, VAEConfig())
        vae.train()
        inputs = observe(values, ivar)
        losses = elbo(vae, vae(inputs), inputs)
        losses.total.backward()
        gradient = torch.cat([p.grad.flatten() for p in vae.parameters() if p.grad is not None])
        results.append((torch.stack(losses).detach(), gradient, embed(vae, values, ivar)))
    (loss, gradient, embedding), (loss2, gradient2, embedding2) = results
    assert torch.equal(loss, loss2)
    assert torch.equal(gradient, gradient2)
    assert all(torch.equal(embedding[name], embedding2[name]) for name in embedding)


def test_the_loss_is_the_papers():
    x = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 5.0]])
    mask = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    recon = torch.tensor([[0.0, 9.0, 1.0], [1.0, 1.0, 9.0]])
    # (1/N) Σ_i Σ_j M_ij (x_ij − x̂_ij)² = ((1 + 4) + (1 + 0)) / 2
    assert reconstruction_loss({SPECTRUM: recon}, {SPECTRUM: Observed(x, mask)}).item() == pytest.approx(3.0)


def test_kl_against_torch():
    mean, log_var = torch.randn(8, 16), torch.randn(8, 16)
    posterior = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    assert torch.allclose(kl_divergence(mean, log_var), expected.sum(1).mean(), rtol=1e-5)


def test_total_is_the_sum_of_its_terms(vae, spectra):
    inputs = observe(*spectra)
    losses = elbo(vae, vae(inputs), inputs)
    assert torch.allclose(losses.total, losses.recon + losses.kl + losses.l2)
    assert all(term > 0 for term in losses)


def test_input_is_arcsinh_of_the_flux(spectra):
    flux, ivar = spectra
    value, mask = observe(flux, ivar)[SPECTRUM]
    assert torch.equal(mask, (ivar > 0).float())
    assert torch.allclose(value, torch.asinh(flux) * mask)


def test_dropout_is_live_in_training_only(vae, spectra):
    inputs = observe(*spectra)
    vae.train()
    assert not torch.equal(vae.encode(inputs)[0], vae.encode(inputs)[0])
    vae.eval()
    assert torch.equal(vae.encode(inputs)[0], vae.encode(inputs)[0])


def test_batch_norm_is_live(vae, spectra):
    inputs = observe(*spectra)
    norms = [m for m in vae.modules() if isinstance(m, nn.BatchNorm1d)]
    before = [m.running_mean.clone() for m in norms]
    vae.train()
    vae(inputs)
    assert all(not torch.equal(b, m.running_mean) for b, m in zip(before, norms, strict=True))
    # In training a spectrum's latents depend on its batch, afterwards on itself alone.
    for layer in vae.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    part = {SPECTRUM: Observed(*(tensor[:12] for tensor in inputs[SPECTRUM]))}
    assert not torch.allclose(vae.encode(inputs)[0][:12], vae.encode(part)[0], atol=1e-3)
    vae.eval()
    assert torch.allclose(vae.encode(inputs)[0][:12], vae.encode(part)[0], atol=1e-5)


def test_l2_is_live_on_hidden_kernels_alone(vae):
    hidden = [m for stack in (vae.encoder, vae.decoder) for m in stack if isinstance(m, nn.Linear)]
    expected = 1e-3 * sum((m.weight**2).sum() for m in hidden)
    assert torch.allclose(vae.l2_penalty(), expected, rtol=1e-5)
    vae.zero_grad()
    vae.l2_penalty().backward()
    assert all(torch.allclose(m.weight.grad, 2e-3 * m.weight) for m in hidden)
    others = [vae.to_mean.weight, vae.to_log_var.weight, vae.to_output.weight, *(m.bias for m in hidden)]
    assert all(parameter.grad is None for parameter in others)


def test_z_is_drawn_in_training_and_the_mean_afterwards(vae, spectra):
    inputs = observe(*spectra)
    vae.eval()
    output = vae(inputs)
    assert torch.equal(output.recon[SPECTRUM], vae.decode(output.z_mean)[SPECTRUM])
    vae.train()
    for layer in vae.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    assert not torch.equal(vae(inputs).recon[SPECTRUM], vae(inputs).recon[SPECTRUM])


def test_embedding_by_definition(vae, spectra):
    flux, ivar = spectra
    result = embed(vae, flux, ivar)
    model = reconstruct(vae, result["z_mean"])
    row, valid = 3, ivar[3] > 0
    error = (torch.asinh(flux[row]) - torch.asinh(model[row]))[valid].square().mean()
    chi2 = ((flux[row] - model[row]).square() * ivar[row])[valid].mean()
    assert result["recon_mse"][row].item() == pytest.approx(error.item(), rel=1e-4)
    assert result["recon_chi2_red"][row].item() == pytest.approx(chi2.item(), rel=1e-4)
    assert result["z_mean"].shape == result["z_log_var"].shape == (24, 16)


def test_embedding_of_a_row_does_not_depend_on_its_neighbours(vae, spectra):
    flux, ivar = spectra
    whole, part = embed(vae, flux, ivar), embed(vae, flux[5:7], ivar[5:7])
    assert all(torch.allclose(whole[name][5:7], part[name], atol=1e-5) for name in whole)


def test_inputs_are_a_named_set_that_photometry_can_join():
    vae = SpectrumVAE({SPECTRUM: L, "photometry": 6}, VAEConfig(hidden=(16, 8), dropout=(0.0, 0.0)))
    inputs = {
        SPECTRUM: Observed(torch.randn(4, L), torch.ones(4, L)),
        "photometry": Observed(torch.randn(4, 6), torch.zeros(4, 6)),
    }
    output = vae(inputs)
    assert output.recon["photometry"].shape == (4, 6)
    alone = {SPECTRUM: inputs[SPECTRUM]}
    assert torch.allclose(reconstruction_loss(output.recon, inputs), reconstruction_loss(output.recon, alone))


@pytest.mark.parametrize(
    "settings", [{"dropout": (0.1,)}, {"dropout": (0.2, 0.2, 0.2, 1.0)}, {"n_latents": 0}, {"hidden": ()}]
)
def test_impossible_architectures_are_refused(settings):
    with pytest.raises(ValueError, match=r"vae\."):
        VAEConfig(**settings)
