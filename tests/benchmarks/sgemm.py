"""What the machine can do at best: floating-point operations of the VAE's layers, and of a bare product."""

from __future__ import annotations

import torch
from torch import nn

from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.vae import SpectrumVAE
from tests.benchmarks.timing import Work

N_PIXELS = 640


def make_vae() -> SpectrumVAE:
    """Return the default VAE of 640 pixels, with the same first weights each time."""
    torch.manual_seed(0)
    return SpectrumVAE({SPECTRUM_KEY: N_PIXELS}, VAEConfig())


def make_sample(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return made-up flux and ivar, (n, 640), a tenth of it masked."""
    generator = torch.Generator().manual_seed(0)
    flux = 1.0 + 0.3 * torch.randn(n, N_PIXELS, generator=generator)
    masked = torch.rand(n, N_PIXELS, generator=generator) < 0.1
    return flux, torch.where(masked, 0.0, 10.0)


def forward_gflop(vae: SpectrumVAE, n: int) -> float:
    """Count the dense layers' 10⁹ multiplications and additions for `n` spectra, forward."""
    return (
        2e-9 * n * sum(layer.sample_weight.numel() for layer in vae.modules() if isinstance(layer, nn.Linear))
    )


def sgemm(batch: int, gflop: float) -> tuple[Work, float]:
    """Return a work of about `gflop` of products like the first layer's, and how many GFLOP it does.

    (batch × 640) · (640 × 512): the VAE's largest product, into memory that is there already.
    """
    left, right, out = torch.randn(batch, N_PIXELS), torch.randn(N_PIXELS, 512), torch.empty(batch, 512)
    each = 2e-9 * batch * right.numel()
    times = max(1, round(gflop / each))

    def work() -> None:
        for _ in range(times):
            torch.mm(left, right, out=out)

    return work, times * each
