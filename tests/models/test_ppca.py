"""Probabilistic PCA of noisy, masked data with known components."""

import pytest
import torch

from distspec.models.ppca import (
    STD_SMOOTHING_PIXELS,
    ProbabilisticPCA,
    estimate_arcsinh_moments,
    fit_ppca,
    linearize_arcsinh,
)


@pytest.fixture
def sample():
    """Four hundred vectors of two components and noise of known size, a third of it masked."""
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-1, 1, 50)
    axes = torch.stack([x, 0.5 * torch.cos(3 * x)])
    coefficients = torch.randn(400, 2, generator=generator)
    sigma = 0.05 + 0.2 * torch.rand(400, 1, generator=generator)
    y = coefficients @ axes + sigma * torch.randn(400, 50, generator=generator)
    masked = torch.rand(400, 50, generator=generator) < 0.33
    variance = torch.where(masked, 1e12, (sigma**2).expand(400, 50))
    return torch.where(masked, 0.0, y), variance, axes, coefficients


def fit(y, variance, n_components=2, z_features=None):
    z_features = torch.zeros(len(y), 0) if z_features is None else z_features
    ppca = ProbabilisticPCA(n_components, z_features.shape[1], y.shape[1])
    fit_ppca(ppca, y, variance, torch.ones_like(y), z_features)
    return ppca


def test_components_are_recovered_from_noisy_masked_data(sample):
    y, variance, axes, _ = sample
    ppca = fit(y, variance)
    residual = axes - axes @ torch.linalg.pinv(ppca.components) @ ppca.components
    assert residual.square().sum() < 0.01 * axes.square().sum()
    assert ppca.components[0].norm() >= ppca.components[1].norm()


def test_posteriors_are_calibrated(sample):
    """The pulls of the estimated coefficients have unit standard deviation."""
    y, variance, axes, coefficients = sample
    ppca = fit(y, variance)
    means, widths, _ = ppca.compute_posterior(y, variance, torch.ones_like(y), torch.zeros(400, 0))
    true = coefficients @ axes @ torch.linalg.pinv(ppca.components)
    pulls = (means - true) / widths.sqrt()
    assert pulls.std().item() == pytest.approx(1.0, abs=0.25)


def test_fully_masked_data_gives_the_prior(sample):
    y, variance, _, _ = sample
    ppca = fit(y, variance)
    blank = torch.zeros(3, 50)
    means, widths, estimate = ppca.compute_posterior(blank, blank + 1e12, blank + 1.0, torch.zeros(3, 0))
    assert torch.equal(means, torch.zeros(3, 2))
    assert torch.allclose(widths, torch.ones(3, 2))
    assert torch.equal(estimate, blank)


def test_dependence_on_redshift_is_not_a_component(sample):
    y, variance, _, _ = sample
    z_features = torch.randn(400, 1, generator=torch.Generator().manual_seed(2))
    shape = torch.linspace(0, 1, 50) ** 2
    moved = torch.where(variance < 1e6, y + z_features * shape, 0.0)
    ppca = fit(moved, variance, z_features=z_features)
    assert torch.allclose(ppca.z_coefficients[0], shape, atol=0.15)


def test_moments_exclude_the_noise():
    generator = torch.Generator().manual_seed(1)
    value = 0.2 + 0.1 * torch.randn(4000, 20, generator=generator)
    sigma = 0.1
    seen = value + sigma * torch.randn(4000, 20, generator=generator)
    ivar = torch.full_like(seen, sigma**-2)
    ivar[::3] = 0.0
    mean, spread = estimate_arcsinh_moments(torch.where(ivar > 0, seen, 0.0), ivar)
    assert torch.allclose(mean, torch.full((20,), 0.2), atol=0.04)
    assert spread.mean().item() == pytest.approx(0.1, abs=0.01)
    assert len(spread) == 20 > STD_SMOOTHING_PIXELS


def test_linearized_arcsinh_keeps_noise_gaussian():
    """About a fixed estimate, the mean is that of the flux, and every value has the same variance."""
    truth, sigma = 0.1, 1.0
    noise = sigma * torch.randn(20000, 1, generator=torch.Generator().manual_seed(4))
    ivar = torch.full_like(noise, sigma**-2)
    y, variance = linearize_arcsinh(truth + noise, ivar, torch.zeros_like(noise))
    assert torch.equal(variance, torch.ones_like(variance))
    assert y.mean().item() == pytest.approx(truth, abs=0.03)
    assert y.var().item() == pytest.approx(1.0, abs=0.03)


def test_moments_of_faint_spectra_are_unbiased():
    generator = torch.Generator().manual_seed(1)
    truth = 0.1 + 0.05 * torch.randn(4000, 20, generator=generator)
    seen = truth + torch.randn(4000, 20, generator=generator)
    mean, _ = estimate_arcsinh_moments(seen, torch.ones_like(seen))
    assert mean.mean().item() == pytest.approx(0.1, abs=0.02)
