"""Probabilistic principal component analysis (PPCA) of noisy, masked spectra, from which the VAE may start.

Each value has its own variance; a masked value has a variance so large that it does not count.

References
----------
Tipping & Bishop 1999, JRSS B 61, 611.
Bailey 2012, PASP 124, 1015.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from distspec.models.losses import TINY

RESIDUAL_VARIANCE = 0.0025
"""Variance of a pixel about the components [standardized units²], which limits its weight."""
N_ITERATIONS = 25
"""Iterations of expectation maximization."""
STD_SMOOTHING_PIXELS = 9
"""Pixels over which the sample's standard deviation is averaged."""
MIN_STD = 1e-2
"""Lower limit of the sample's standard deviation [arcsinh flux]."""
N_MOMENT_ITERATIONS = 8
"""Iterations of the estimate of mean and standard deviation."""
_RIDGE = 0.01
"""Ridge penalty of the redshift coefficients, per spectrum."""
_MAX_VARIANCE = 1e6
"""Standardized variance from which a value counts as not measured."""


class ProbabilisticPCA(nn.Module):
    """Principal components with standard normal coefficients, about a mean that depends on redshift.

    Parameters
    ----------
    n_components : int
        Number of components.
    n_z_features : int
        Number of functions of the redshift; 0 for a mean of 0.
    n_features : int
        Number of values per spectrum.

    Attributes
    ----------
    components : Tensor of shape (n_components, n_features)
        The components, in standardized units.
    z_coefficients : Tensor of shape (n_z_features, n_features)
        Coefficients of the functions of the redshift.
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
        """Compute the posterior of the coefficients.

        Parameters
        ----------
        y, variance : Tensor of shape (n_spectra, n_features)
            Standardized values and their variance, very large where masked.
        n_effective : Tensor of shape (n_spectra, n_features)
            Number of independent measurements in each value.
        z_features : Tensor of shape (n_spectra, n_z_features)
            Functions of the redshift.

        Returns
        -------
        mean, variance : Tensor of shape (n_spectra, n_components)
            Posterior mean and variance of the coefficients.
        estimate : Tensor of shape (n_spectra, n_features)
            Values at the posterior mean.
        """
        mean, root, estimate = self._solve(y, variance, n_effective, z_features)
        return mean, torch.cholesky_inverse(root).diagonal(dim1=1, dim2=2), estimate

    def estimate(self, y: Tensor, variance: Tensor, n_effective: Tensor, z_features: Tensor) -> Tensor:
        """Compute the values at the posterior mean alone, the last result of `compute_posterior`.

        Parameters
        ----------
        y, variance, n_effective, z_features : Tensor
            As for `compute_posterior`.

        Returns
        -------
        Tensor of shape (n_spectra, n_features)
        """
        return self._solve(y, variance, n_effective, z_features)[2]

    def _solve(
        self, y: Tensor, variance: Tensor, n_effective: Tensor, z_features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return posterior means, Cholesky factors of the precisions, and values at the means."""
        with torch.autocast(y.device.type, enabled=False):  # bfloat16 is too coarse to solve equations
            base = z_features @ self.z_coefficients
            weight = compute_weights(variance, n_effective)
            mean, root = _solve_posterior(self.components, weight, weight * (y - base))
            return mean, root, base + mean @ self.components


def compute_weights(variance: Tensor, n_effective: Tensor) -> Tensor:
    """Return the weights of standardized values; 0 where nothing was measured.

    Parameters
    ----------
    variance, n_effective : Tensor of shape (n_spectra, n_features)
        Variance of each value, and the number of independent measurements in it.

    Returns
    -------
    Tensor of shape (n_spectra, n_features)
    """
    return torch.where(variance < _MAX_VARIANCE, n_effective / (variance + RESIDUAL_VARIANCE), 0.0)


def _solve_posterior(components: Tensor, weight: Tensor, weighted_y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the posterior means of the coefficients, and the Cholesky factors of their precisions."""
    q = len(components)
    pairs = _Pairs.of(q, components.device)
    products = components.index_select(0, pairs.i) * components.index_select(0, pairs.j)
    precision = (weight @ products.T).index_select(1, pairs.position).view(-1, q, q)
    root = torch.linalg.cholesky(precision + torch.eye(q, device=components.device))
    means = torch.cholesky_solve((weighted_y @ components.T)[:, :, None], root)[:, :, 0]
    return means, root


class _Pairs(NamedTuple):
    """Elements of the lower triangle of a symmetric matrix, which are half of its elements to compute.

    Attributes
    ----------
    i, j : Tensor of int64, shape (n_pairs,)
        Rows and columns of the triangle.
    position : Tensor of int64, shape (n_rows²,)
        Place of each element of the matrix in the triangle.
    """

    i: Tensor
    j: Tensor
    position: Tensor

    @classmethod
    @lru_cache(maxsize=4)
    def of(cls, n_rows: int, device: torch.device) -> _Pairs:
        """Return the elements of a matrix with `n_rows` rows."""
        i, j = torch.tril_indices(n_rows, n_rows, device=device)
        position = torch.zeros(n_rows, n_rows, dtype=torch.int64, device=device)
        position[i, j] = position[j, i] = torch.arange(len(i), device=device)
        return cls(i, j, position.flatten())


def compute_arcsinh_noise(ivar: Tensor, y: Tensor) -> Tensor:
    """Return the variance of arcsinh flux, to first order about ``y``; very large where masked.

    Parameters
    ----------
    ivar : Tensor of shape (n_spectra, n_features)
        Inverse variance of linear flux, 0 where masked.
    y : Tensor of shape (n_spectra, n_features)
        Arcsinh flux.

    Returns
    -------
    Tensor of shape (n_spectra, n_features)
    """
    return 1.0 / (ivar * torch.cosh(y).square()).clamp(min=TINY)


def linearize_arcsinh(value: Tensor, ivar: Tensor, estimate: Tensor) -> tuple[Tensor, Tensor]:
    """Return arcsinh flux to first order about an estimate, and its variance.

    At the noisy value itself the variance is smaller where the noise is positive, so that such values would
    have more weight than those with negative noise.

    Parameters
    ----------
    value, ivar : Tensor of shape (n_spectra, n_features)
        Linear flux and its inverse variance, 0 where masked.
    estimate : Tensor of shape (n_spectra, n_features)
        Arcsinh flux about which to linearize.

    Returns
    -------
    y, variance : Tensor of shape (n_spectra, n_features)
        The variance is very large where masked.
    """
    y = estimate + (value - torch.sinh(estimate)) / torch.cosh(estimate)
    return y, compute_arcsinh_noise(ivar, estimate)


def estimate_arcsinh_moments(value: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate the mean and the intrinsic standard deviation of arcsinh flux in each pixel.

    Parameters
    ----------
    value, ivar : Tensor of shape (n_spectra, n_features)
        Linear flux and its inverse variance, 0 where masked.

    Returns
    -------
    mean, std : Tensor of shape (n_features,)
        The noise is taken out of the standard deviation, which is smoothed over `STD_SMOOTHING_PIXELS`.
    """
    valid, y = ivar > 0, torch.asinh(value)
    mean, std = torch.zeros_like(y[0]), torch.ones_like(y[0])
    for _ in range(N_MOMENT_ITERATIONS):
        # The noise at the estimate mean + trust (y - mean), which follows y where the noise is small only.
        trust = std.square() / (std.square() + compute_arcsinh_noise(ivar, mean.expand_as(y)))
        y, noise = linearize_arcsinh(value, ivar, mean + trust * (torch.asinh(value) - mean))
        weight = torch.where(valid, 1.0 / (noise + std.square()), 0.0)
        mean = (weight * y).sum(dim=0) / weight.sum(dim=0).clamp(min=1e-9)
        excess = weight.square() * ((y - mean).square() - noise)
        variance = torch.where(valid, excess, 0.0).sum(dim=0) / weight.square().sum(dim=0).clamp(min=1e-9)
        std = variance.clamp(min=MIN_STD**2).sqrt()
    half = STD_SMOOTHING_PIXELS // 2
    padded = functional.pad(std[None, None], (half, half), mode="replicate")
    return mean, functional.avg_pool1d(padded, STD_SMOOTHING_PIXELS, 1)[0, 0]


def fit_ppca(
    ppca: ProbabilisticPCA, y: Tensor, variance: Tensor, n_effective: Tensor, z_features: Tensor
) -> None:
    """Fit the dependence on redshift by ridge regression, then the components by expectation maximization.

    Parameters
    ----------
    ppca : ProbabilisticPCA
        Is set to the result, with components in order of decreasing variance.
    y, variance, n_effective : Tensor of shape (n_spectra, n_features)
        Standardized values, their variance, and the number of independent measurements in each.
    z_features : Tensor of shape (n_spectra, n_z_features)
        Functions of the redshift.
    """
    weight = compute_weights(variance, n_effective)
    if z_features.shape[1]:
        z_weight = torch.where(weight > 0, 1.0 / (variance + 1.0), 0.0)
        normal = torch.einsum("bl,bi,bj->lij", z_weight, z_features, z_features)
        normal = normal + _RIDGE * len(y) * torch.eye(z_features.shape[1], device=y.device)
        right = torch.einsum("bl,bi->li", z_weight * y, z_features)
        ppca.z_coefficients.copy_(torch.linalg.solve(normal, right[:, :, None])[:, :, 0].T)
        y = y - z_features @ ppca.z_coefficients
    q, weighted = len(ppca.components), weight * y
    axes = 0.1 * torch.randn(q, y.shape[1], generator=torch.Generator().manual_seed(0)).to(y.device)
    eye, pairs = torch.eye(q, device=y.device), _Pairs.of(q, y.device)
    for _ in range(N_ITERATIONS):
        means, root = _solve_posterior(axes, weight, weighted)
        second_moments = torch.cholesky_inverse(root) + means[:, :, None] * means[:, None]
        of_pairs = second_moments.flatten(1).index_select(1, q * pairs.i + pairs.j)
        normal = (weight.T @ of_pairs).index_select(1, pairs.position).view(-1, q, q) + eye
        axes = torch.linalg.solve(normal, (weighted.T @ means)[:, :, None])[:, :, 0].T
        # EM leaves the rotation open: choose principal axes with standard normal coefficients.
        axes = torch.linalg.cholesky(second_moments.mean(dim=0)).T @ axes
        _, sizes, directions = torch.linalg.svd(axes, full_matrices=False)
        axes = sizes[:, None] * directions
    ppca.components.copy_(axes)
