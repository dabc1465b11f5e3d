"""Probabilistic principal components of noisy, masked spectra: what the model starts from.

Pixels have known variances of their own; masked ones have none that counts (Bailey 2012, PASP 124, 1015;
Tipping & Bishop 1999, JRSS B 61, 611).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

RESIDUAL_VARIANCE = 0.0025
"""Variance of a pixel about the components [spread²]: no pixel is believed beyond a twentieth."""
N_ITERATIONS = 25
STD_SMOOTHING_PIXELS = 9
"""Pixels over which the sample's standard deviation is averaged."""
MIN_STD = 1e-2
_RIDGE = 0.01
_MAX_VARIANCE = 1e6
"""A variance beyond this times the sample's is that of no measurement."""


class ProbabilisticPCA(nn.Module):
    """Axes with standard normal coefficients, and a mean that depends on redshift.

    Attributes
    ----------
    components : (q, D) [spread]
    z_coefficients : (n_z, D) [spread]
        Of the redshift's terms.
    """

    components: Tensor
    z_coefficients: Tensor

    def __init__(self, n_components: int, n_z_features: int, n_features: int) -> None:
        super().__init__()
        self.register_buffer("components", torch.zeros(n_components, n_features))
        self.register_buffer("z_coefficients", torch.zeros(n_z_features, n_features))

    def compute_posterior(
        self, y: Tensor, variance: Tensor, n_effective: Tensor, z_features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return coefficients' means and variances, (B, q) each, and the estimated values, (B, D).

        Parameters
        ----------
        y, variance : (B, D)
            Standardised values.
        n_effective : (B, D)
            Independent measurements that each value counts for.
        z_features : (B, n_z)
        """
        with torch.autocast(y.device.type, enabled=False):  # half precision solves no equations
            base = z_features @ self.z_coefficients
            weight = compute_weights(variance, n_effective)
            coefficients, covariance = _solve_posterior(self.components, weight, weight * (y - base))
            widths = covariance.diagonal(dim1=1, dim2=2)
            return coefficients, widths, base + coefficients @ self.components


def compute_weights(variance: Tensor, n_effective: Tensor) -> Tensor:
    """Return the weights of standardised values, (B, D); 0 where nothing was measured."""
    return torch.where(variance < _MAX_VARIANCE, n_effective / (variance + RESIDUAL_VARIANCE), 0.0)


def _solve_posterior(components: Tensor, weight: Tensor, weighted_y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the posterior's means, (B, q), and covariances, (B, q, q)."""
    q = len(components)
    pairs = (components[:, None] * components[None]).reshape(q * q, -1)
    precision = (weight @ pairs.T).view(-1, q, q) + torch.eye(q, device=components.device)
    root = torch.linalg.cholesky(precision)
    means = torch.cholesky_solve((weighted_y @ components.T)[:, :, None], root)[:, :, 0]
    return means, torch.cholesky_inverse(root)


def estimate_arcsinh_moments(value: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of arcsinh flux without its noise, (D,) each.

    Parameters
    ----------
    value, ivar : (N, D)
        Linear flux; ivar 0 where masked.
    """
    valid, y = ivar > 0, torch.asinh(value)
    noise = 1.0 / (ivar * (1.0 + value.clamp(min=0.0).square())).clamp(min=1e-12)
    mean, spread = torch.zeros_like(y[0]), torch.ones_like(y[0])
    for _ in range(5):
        weight = torch.where(valid, 1.0 / (noise + spread.square()), 0.0)
        mean = (weight * y).sum(dim=0) / weight.sum(dim=0).clamp(min=1e-9)
        excess = weight.square() * ((y - mean).square() - noise)
        variance = excess.sum(dim=0) / weight.square().sum(dim=0).clamp(min=1e-9)
        spread = variance.clamp(min=MIN_STD**2).sqrt()
    half = STD_SMOOTHING_PIXELS // 2
    padded = functional.pad(spread[None, None], (half, half), mode="replicate")
    return mean, functional.avg_pool1d(padded, STD_SMOOTHING_PIXELS, 1)[0, 0]


def fit_ppca(
    ppca: ProbabilisticPCA, y: Tensor, variance: Tensor, n_effective: Tensor, z_features: Tensor
) -> None:
    """Fit the dependence on redshift, then the axes by expectation maximisation; the largest come first.

    Parameters
    ----------
    ppca : Components
        Takes what was found.
    y, variance, n_effective : (N, D)
    z_features : (N, n_z)
    """
    weight = compute_weights(variance, n_effective)
    if z_features.shape[1]:
        level = torch.where(weight > 0, 1.0 / (variance + 1.0), 0.0)
        normal = torch.einsum("bl,bi,bj->lij", level, z_features, z_features)
        normal = normal + _RIDGE * len(y) * torch.eye(z_features.shape[1], device=y.device)
        right = torch.einsum("bl,bi->li", level * y, z_features)
        ppca.z_coefficients.copy_(torch.linalg.solve(normal, right[:, :, None])[:, :, 0].T)
        y = y - z_features @ ppca.z_coefficients
    q, weighted = len(ppca.components), weight * y
    axes = 0.1 * torch.randn(q, y.shape[1], generator=torch.Generator().manual_seed(0)).to(y.device)
    eye = torch.eye(q, device=y.device)
    for _ in range(N_ITERATIONS):
        means, covariances = _solve_posterior(axes, weight, weighted)
        second = covariances + means[:, :, None] * means[:, None]
        normal = (weight.T @ second.reshape(len(y), -1)).view(-1, q, q) + eye
        axes = torch.linalg.solve(normal, (weighted.T @ means)[:, :, None])[:, :, 0].T
        # Standard normal coefficients along principal axes: EM leaves any rotation open.
        axes = torch.linalg.cholesky(second.mean(dim=0)).T @ axes
        _, sizes, directions = torch.linalg.svd(axes, full_matrices=False)
        axes = sizes[:, None] * directions
    ppca.components.copy_(axes)
