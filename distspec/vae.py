"""The variational autoencoder: what it is, what it is trained on, what it says of a spectrum.

d → 512 → 256 → 128 → 64 → 16 and its mirror; each hidden layer is dense, batch norm, ReLU, dropout.
Inputs are a named set (now only "spectrum"), so that photometry can join without a new model class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

SPECTRUM = "spectrum"


@dataclass(frozen=True)
class VAEConfig:
    """Architecture and regularisers of the VAE."""

    hidden: tuple[int, ...] = (512, 256, 128, 64)
    """Widths of the encoder's hidden layers, input side first; the decoder mirrors them."""
    dropout: tuple[float, ...] = (0.2, 0.2, 0.2, 0.1)
    """Dropout after each hidden layer, input side first."""
    n_latents: int = 16
    """Dimensions of the latent space."""
    l2: float = 1e-3
    """Weight of the summed squares of the hidden layers' kernels."""
    kl_weight: float = 1.0
    """Weight of the KL divergence to N(0, I)."""

    def __post_init__(self) -> None:
        if len(self.hidden) != len(self.dropout) or not self.hidden:
            raise ValueError(
                f"vae.hidden {self.hidden} and vae.dropout {self.dropout}: give one dropout a hidden layer"
            )
        if min(self.hidden) < 1 or self.n_latents < 1:
            raise ValueError("vae.hidden and vae.n_latents must be positive")
        if any(not 0 <= rate < 1 for rate in self.dropout):
            raise ValueError(f"vae.dropout {self.dropout}: rates lie in [0, 1)")


class Observed(NamedTuple):
    """One named input: values and which of them were observed.

    value : (B, d), 0 where masked
    mask : (B, d), 1 observed, 0 masked
    """

    value: Tensor
    mask: Tensor


class Output(NamedTuple):
    """What a forward pass gives: reconstructions by input name, and the posterior's moments, (B, latents)."""

    recon: dict[str, Tensor]
    z_mean: Tensor
    z_log_var: Tensor


class Losses(NamedTuple):
    """The terms of the objective; means over the batch."""

    total: Tensor
    recon: Tensor
    kl: Tensor
    l2: Tensor


def observe(flux: Tensor, ivar: Tensor) -> dict[str, Observed]:
    """Turn stored spectra into the model's input: arcsinh of the flux, 0 where ivar is 0.

    Parameters
    ----------
    flux, ivar : (B, L) [f_λ / f_λ(reference)]
    """
    mask = (ivar > 0).to(flux.dtype)
    return {SPECTRUM: Observed(torch.asinh(torch.where(ivar > 0, flux, 0.0)), mask)}


class SpectrumVAE(nn.Module):
    """Variational autoencoder of a named set of masked vectors.

    Parameters
    ----------
    sizes : mapping of input name to its length
    config : VAEConfig
    """

    def __init__(self, sizes: Mapping[str, int], config: VAEConfig) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        self.config = config
        total, narrowest = sum(self.sizes.values()), config.hidden[-1]
        self.encoder = _stack(total, config.hidden, config.dropout)
        self.to_mean = nn.Linear(narrowest, config.n_latents)
        self.to_log_var = nn.Linear(narrowest, config.n_latents)
        self.decoder = _stack(config.n_latents, config.hidden[::-1], config.dropout[::-1])
        self.to_output = nn.Linear(config.hidden[0], total)

    def encode(self, inputs: Mapping[str, Observed]) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean and log variance, (B, latents) each."""
        hidden = self.encoder(torch.cat([inputs[name].value for name in self.sizes], dim=1))
        return self.to_mean(hidden), self.to_log_var(hidden)

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        """Return reconstructions by input name, (B, d) each, in the inputs' own (arcsinh) scale."""
        parts = self.to_output(self.decoder(z)).split(list(self.sizes.values()), dim=1)
        return dict(zip(self.sizes, parts, strict=True))

    def forward(self, inputs: Mapping[str, Observed]) -> Output:
        """Encode, draw z in training (its mean otherwise), decode."""
        z_mean, z_log_var = self.encode(inputs)
        z = z_mean
        if self.training:
            z = z_mean + torch.exp(0.5 * z_log_var) * torch.randn_like(z_mean)
        return Output(self.decode(z), z_mean, z_log_var)

    def l2_penalty(self) -> Tensor:
        """Return the summed squares of the hidden layers' kernels times their weight."""
        kernels = [m.weight for m in (*self.encoder, *self.decoder) if isinstance(m, nn.Linear)]
        return self.config.l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()


def _stack(n_in: int, widths: tuple[int, ...], dropout: tuple[float, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, rate in zip(widths, dropout, strict=True):
        layers += [nn.Linear(n_in, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(rate)]
        n_in = width
    return nn.Sequential(*layers)


def reconstruction_loss(recon: Mapping[str, Tensor], inputs: Mapping[str, Observed]) -> Tensor:
    """Return (1/N) Σ_i Σ_j M_ij (x_ij − x̂_ij)², summed over the named inputs."""
    errors = [
        (observed.mask * (observed.value - recon[name]).square()).sum(dim=1).mean()
        for name, observed in inputs.items()
    ]
    return torch.stack(errors).sum()


def kl_divergence(z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """Return the mean KL divergence of N(z_mean, exp z_log_var) to N(0, I)."""
    terms = z_mean.square() + z_log_var.exp() - 1.0 - z_log_var
    return 0.5 * terms.sum(dim=1).mean()


def elbo(model: SpectrumVAE, output: Output, inputs: Mapping[str, Observed]) -> Losses:
    """Return the objective to minimise and its terms."""
    recon = reconstruction_loss(output.recon, inputs)
    kl = kl_divergence(output.z_mean, output.z_log_var)
    l2 = model.l2_penalty()
    return Losses(recon + model.config.kl_weight * kl + l2, recon, kl, l2)


@torch.inference_mode()
def embed(model: SpectrumVAE, flux: Tensor, ivar: Tensor) -> dict[str, Tensor]:
    """Say what the model makes of each spectrum; each row's answer depends on that row alone.

    Parameters
    ----------
    model : SpectrumVAE
    flux, ivar : (B, L) [f_λ / f_λ(reference)]

    Returns
    -------
    dict of Tensor
        ``z_mean``, ``z_log_var`` (B, latents); ``recon_mse`` (B,), the mean over valid pixels of
        (arcsinh x − x̂)²; ``recon_chi2_red`` (B,), the mean over valid pixels of (x − sinh x̂)² ivar.
    """
    model.eval()
    inputs = observe(flux, ivar)
    z_mean, z_log_var = model.encode(inputs)
    recon = model.decode(z_mean)[SPECTRUM]
    value, mask = inputs[SPECTRUM]
    n_valid = mask.sum(dim=1).clamp(min=1.0)
    chi2 = ((torch.where(ivar > 0, flux, 0.0) - torch.sinh(recon)).square() * ivar).sum(dim=1)
    return {
        "z_mean": z_mean,
        "z_log_var": z_log_var,
        "recon_mse": (mask * (value - recon).square()).sum(dim=1) / n_valid,
        "recon_chi2_red": chi2 / n_valid,
    }


@torch.inference_mode()
def reconstruct(model: SpectrumVAE, z: Tensor) -> Tensor:
    """Return the decoded spectra of latents, (B, L) [f_λ / f_λ(reference)], linear flux."""
    model.eval()
    return torch.sinh(model.decode(z)[SPECTRUM])
