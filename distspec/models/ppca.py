"""Probabilistic principal components of noisy, masked spectra: what the model starts from.

Pixels have known variances of their own; masked ones have none that counts (Bailey 2012, PASP 124, 1015;
Tipping & Bishop 1999, JRSS B 61, 611).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SCATTER = 0.0025
"""Variance of a pixel about the components [spread²]: no pixel is believed beyond a twentieth."""
N_ITERATIONS = 25
SMOOTHED = 9
"""Pixels over which the sample's standard deviation is averaged."""
MIN_SPREAD = 1e-2
_RIDGE = 0.01
_BEYOND = 1e6
"""A variance beyond this times the sample's is that of no measurement."""


class Components(nn.Module):
    """Axes with standard normal coefficients, and a mean that depends on redshift.

    Attributes
    ----------
    axes : (q, D) [spread]
    z_slopes : (n_z, D) [spread]
        Of the redshift's terms.
    """

    axes: Tensor
    z_slopes: Tensor

    def __init__(self, n_axes: int, n_z: int, n_values: int) -> None:
        super().__init__()
        self.register_buffer("axes", torch.zeros(n_axes, n_values))
        self.register_buffer("z_slopes", torch.zeros(n_z, n_values))

    def posterior(
        self, y: Tensor, variance: Tensor, counts: Tensor, z_terms: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return coefficients' means and variances, (B, q) each, and the estimated values, (B, D).

        Parameters
        ----------
        y, variance : (B, D)
            Standardised values.
        counts : (B, D)
            Independent measurements that each value counts for.
        z_terms : (B, n_z)
        """
        with torch.autocast(y.device.type, enabled=False):  # half precision solves no equations
            base = z_terms @ self.z_slopes
            weight = weights(variance, counts)
            coefficients, covariance = _solve(self.axes, weight, weight * (y - base))
            widths = covariance.diagonal(dim1=1, dim2=2)
            return coefficients, widths, base + coefficients @ self.axes


def weights(variance: Tensor, counts: Tensor) -> Tensor:
    """Return the weights of standardised values, (B, D); 0 where nothing was measured."""
    return torch.where(variance < _BEYOND, counts / (variance + SCATTER), 0.0)


def _solve(axes: Tensor, weight: Tensor, weighted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the posterior's means, (B, q), and covariances, (B, q, q)."""
    q = len(axes)
    pairs = (axes[:, None] * axes[None]).reshape(q * q, -1)
    precision = (weight @ pairs.T).view(-1, q, q) + torch.eye(q, device=axes.device)
    root = torch.linalg.cholesky(precision)
    means = torch.cholesky_solve((weighted @ axes.T)[:, :, None], root)[:, :, 0]
    return means, torch.cholesky_inverse(root)


def arcsinh_moments(value: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
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
        spread = variance.clamp(min=MIN_SPREAD**2).sqrt()
    half = SMOOTHED // 2
    padded = functional.pad(spread[None, None], (half, half), mode="replicate")
    return mean, functional.avg_pool1d(padded, SMOOTHED, 1)[0, 0]


def fit_components(into: Components, y: Tensor, variance: Tensor, counts: Tensor, z_terms: Tensor) -> None:
    """Fit the dependence on redshift, then the axes by expectation maximisation; the largest come first.

    Parameters
    ----------
    into : Components
        Takes what was found.
    y, variance, counts : (N, D)
    z_terms : (N, n_z)
    """
    weight = weights(variance, counts)
    if z_terms.shape[1]:
        level = torch.where(weight > 0, 1.0 / (variance + 1.0), 0.0)
        normal = torch.einsum("bl,bi,bj->lij", level, z_terms, z_terms)
        normal = normal + _RIDGE * len(y) * torch.eye(z_terms.shape[1], device=y.device)
        right = torch.einsum("bl,bi->li", level * y, z_terms)
        into.z_slopes.copy_(torch.linalg.solve(normal, right[:, :, None])[:, :, 0].T)
        y = y - z_terms @ into.z_slopes
    q, weighted = len(into.axes), weight * y
    axes = 0.1 * torch.randn(q, y.shape[1], generator=torch.Generator().manual_seed(0)).to(y.device)
    eye = torch.eye(q, device=y.device)
    for _ in range(N_ITERATIONS):
        means, covariances = _solve(axes, weight, weighted)
        second = covariances + means[:, :, None] * means[:, None]
        normal = (weight.T @ second.reshape(len(y), -1)).view(-1, q, q) + eye
        axes = torch.linalg.solve(normal, (weighted.T @ means)[:, :, None])[:, :, 0].T
        # Standard normal coefficients along principal axes: EM leaves any rotation open.
        axes = torch.linalg.cholesky(second.mean(dim=0)).T @ axes
        _, sizes, directions = torch.linalg.svd(axes, full_matrices=False)
        axes = sizes[:, None] * directions
    into.axes.copy_(axes)
