"""The variational autoencoder: what it is, what it is trained on, what it says of a spectrum.

d → 512 → 256 → 128 → 64 → 16 and its mirror; each hidden layer is dense, batch norm, ReLU, dropout.
Inputs are a named set (now only "spectrum"), so that photometry can join without a new model class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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

    @property
    def settled_after(self) -> int:
        """Steps after which the objective no longer changes: only then can epochs be compared."""
        return 0

    def __post_init__(self) -> None:
        if len(self.hidden) != len(self.dropout) or not self.hidden:
            raise ValueError(
                f"vae.hidden {self.hidden} and vae.dropout {self.dropout}: give one dropout a hidden layer"
            )
        if min(self.hidden) < 1 or self.n_latents < 1:
            raise ValueError("vae.hidden and vae.n_latents must be positive")
        if any(not 0 <= rate < 1 for rate in self.dropout):
            raise ValueError(f"vae.dropout {self.dropout}: rates lie in [0, 1)")


class Measured(NamedTuple):
    """One named input as stored.

    value : (B, d), linear
    ivar : (B, d), 0 = masked
    """

    value: Tensor
    ivar: Tensor


@dataclass(frozen=True)
class Batch:
    """Objects to train on or to embed: named inputs, and each one's redshift (B,)."""

    inputs: Mapping[str, Measured]
    z: Tensor

    @classmethod
    def of_spectra(cls, flux: Tensor, ivar: Tensor, z: Tensor) -> Batch:
        """Return objects of which spectra are known: flux, ivar (B, L) [f_λ / f_λ(reference)], z (B,)."""
        return cls({SPECTRUM: Measured(flux, ivar)}, z)

    @property
    def spectrum(self) -> Measured:
        """The spectra."""
        return self.inputs[SPECTRUM]

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: Any) -> Batch:
        """Return some of the objects: a slice, indices or flags."""
        inputs = {name: Measured(m.value[rows], m.ivar[rows]) for name, m in self.inputs.items()}
        return Batch(inputs, self.z[rows])

    def to(self, device: Any) -> Batch:
        """Return the same objects on a device."""
        inputs = {
            name: Measured(*(t.to(device, non_blocking=True) for t in m)) for name, m in self.inputs.items()
        }
        return Batch(inputs, self.z.to(device, non_blocking=True))


class Observed(NamedTuple):
    """What the model sees of one named input: values and which of them were observed.

    value : (B, d), 0 where masked
    mask : (B, d), 1 observed, 0 masked
    """

    value: Tensor
    mask: Tensor


def observe(batch: Batch) -> dict[str, Observed]:
    """Turn measurements into the model's input: their arcsinh, 0 where ivar is 0."""
    seen: dict[str, Observed] = {}
    for name, (value, ivar) in batch.inputs.items():
        seen[name] = Observed(torch.asinh(torch.where(ivar > 0, value, 0.0)), (ivar > 0).to(value.dtype))
    return seen


class SpectrumVAE(nn.Module):
    """Variational autoencoder of a named set of masked vectors.

    Parameters
    ----------
    sizes : mapping of input name to its length
    config : VAEConfig
    wave_rest : (L,) [Å]
        Of the spectrum's pixels, for what depends on wavelength.
    """

    def __init__(
        self, sizes: Mapping[str, int], config: VAEConfig, wave_rest: NDArray[np.float64] | None = None
    ) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        self.config = config
        total, narrowest = sum(self.sizes.values()), config.hidden[-1]
        self.encoder = _stack(total, config.hidden, config.dropout)
        self.to_mean = nn.Linear(narrowest, config.n_latents)
        self.to_log_var = nn.Linear(narrowest, config.n_latents)
        self.decoder = _stack(config.n_latents, config.hidden[::-1], config.dropout[::-1])
        self.to_output = nn.Linear(config.hidden[0], total)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean and log variance, (B, latents) each."""
        inputs = observe(batch)
        hidden = self.encoder(torch.cat([inputs[name].value for name in self.sizes], dim=1))
        return self.to_mean(hidden), self.to_log_var(hidden)

    def decode(self, latent: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Return reconstructions by input name, (B, d) each, arcsinh of what is stored.

        Parameters
        ----------
        latent : (B, latents)
        z : (B,)
            Redshifts at which to decode.
        """
        parts = self.to_output(self.decoder(latent)).split(list(self.sizes.values()), dim=1)
        return dict(zip(self.sizes, parts, strict=True))

    def prepare(self, batch: Batch) -> None:
        """Set what the model takes from its training spectra before the first step; once, on a sample."""

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the objective to minimise, "total", and its terms: means over the batch.

        Parameters
        ----------
        batch : Batch
        step : int
            Steps taken so far.
        """
        z_mean, z_log_var = self.encode(batch)
        latent = z_mean + torch.exp(0.5 * z_log_var) * torch.randn_like(z_mean)
        recon = reconstruction_loss(self.decode(latent, batch.z), observe(batch))
        kl = kl_divergence(z_mean, z_log_var)
        l2 = self.l2_penalty()
        return {"total": recon + self.config.kl_weight * kl + l2, "recon": recon, "kl": kl, "l2": l2}

    def validation(self, batch: Batch) -> dict[str, Tensor]:
        """Return "recon", by which training stops, and "kl": sums over the batch, decoded from z_mean."""
        z_mean, z_log_var = self.encode(batch)
        recon = reconstruction_loss(self.decode(z_mean, batch.z), observe(batch))
        return {"recon": recon * len(batch), "kl": kl_divergence(z_mean, z_log_var) * len(batch)}

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


@torch.inference_mode()
def embed(model: SpectrumVAE, batch: Batch) -> dict[str, Tensor]:
    """Say what the model makes of each spectrum; each row's answer depends on that row alone.

    Returns
    -------
    dict of Tensor
        ``z_mean``, ``z_log_var`` (B, latents); ``amplitude`` (B,), by which `reconstruct` is to be
        multiplied to compare with the spectrum; ``recon_mse`` (B,), the mean over valid pixels of
        (arcsinh x − arcsinh x̂)²; ``recon_chi2_red`` (B,), the mean over valid pixels of (x − x̂)² ivar.
    """
    model.eval()
    z_mean, z_log_var = model.encode(batch)
    recon = torch.sinh(model.decode(z_mean, batch.z)[SPECTRUM])
    flux, ivar = batch.spectrum
    valid = ivar > 0
    n_valid = valid.sum(dim=1).clamp(min=1)
    residual = torch.where(valid, flux - recon, 0.0)
    scaled = torch.where(valid, torch.asinh(flux) - torch.asinh(recon), 0.0)
    return {
        "z_mean": z_mean,
        "z_log_var": z_log_var,
        "amplitude": torch.ones_like(batch.z),
        "recon_mse": scaled.square().sum(dim=1) / n_valid,
        "recon_chi2_red": (residual.square() * ivar).sum(dim=1) / n_valid,
    }


@torch.inference_mode()
def reconstruct(model: SpectrumVAE, latent: Tensor, z: Tensor) -> Tensor:
    """Return the decoded spectra of latents (B, latents) at redshifts z (B,): (B, L), linear flux."""
    model.eval()
    return torch.sinh(model.decode(latent, z)[SPECTRUM])
