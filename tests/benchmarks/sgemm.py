"""Reference for dense layers: the operations of the VAE's layers, and single-precision matrix products."""

from __future__ import annotations

import torch
from torch import nn

from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.vae import SpectrumVAE
from tests.benchmarks.timing import Workload

N_PIXELS = 640


def make_vae() -> SpectrumVAE:
    """Return the default VAE for 640 pixels, always with the same initial weights."""
    torch.manual_seed(0)
    return SpectrumVAE({SPECTRUM_KEY: N_PIXELS}, VAEConfig())


def make_sample(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random flux and ivar, (n, 640) each, with a tenth of the pixels masked."""
    generator = torch.Generator().manual_seed(0)
    flux = 1.0 + 0.3 * torch.randn(n, N_PIXELS, generator=generator)
    masked = torch.rand(n, N_PIXELS, generator=generator) < 0.1
    return flux, torch.where(masked, 0.0, 10.0)


def forward_gflop(vae: SpectrumVAE, n: int) -> float:
    """Return the operations of the dense layers in a forward pass of `n` spectra [10⁹]."""
    return 2e-9 * n * sum(layer.weight.numel() for layer in vae.modules() if isinstance(layer, nn.Linear))


def sgemm(batch_size: int, gflop: float) -> tuple[Workload, float]:
    """Return a function that computes about `gflop` of matrix products, and its exact operations [10⁹].

    The products are (batch_size × 640) · (640 × 512), as in the VAE's largest layer, into allocated memory.
    """
    left, right, out = (
        torch.randn(batch_size, N_PIXELS),
        torch.randn(N_PIXELS, 512),
        torch.empty(batch_size, 512),
    )
    gflop_per_product = 2e-9 * batch_size * right.numel()
    n_products = max(1, round(gflop / gflop_per_product))

    def workload() -> None:
        for _ in range(n_products):
            torch.mm(left, right, out=out)

    return workload, n_products * gflop_per_product
