"""Hidden layers of the VAE, their initialization, and the smoothing of spectra before they are encoded."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

SMOOTHING = ((3000.0, 2.0), (6000.0, 1.5), (math.inf, 1.0))
"""Upper limit of the rest wavelength [Å] and σ [pixels] of each range of the smoothing."""
TRUNCATION = 4.0
"""Half width of the smoothing kernel [σ]."""


class Scale(nn.Module):
    """A trainable scale and offset of each unit.

    Parameters
    ----------
    n_units : int
        Number of units.
    """

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_units))
        self.bias = nn.Parameter(torch.zeros(n_units))

    def forward(self, x: Tensor) -> Tensor:
        """Return scaled units.

        Parameters
        ----------
        x : Tensor of shape (n_spectra, n_units)
            The units.

        Returns
        -------
        Tensor of the same shape
        """
        return self.weight * x + self.bias


def make_hidden_layers(
    n_in: int,
    hidden_sizes: tuple[int, ...],
    dropout: tuple[float, ...],
    kind: Literal["batch-norm", "scale"] = "batch-norm",
) -> nn.Sequential:
    """Return hidden layers.

    Parameters
    ----------
    n_in : int
        Number of inputs.
    hidden_sizes : tuple of int
        Number of units of each layer.
    dropout : tuple of float
        Dropout rate of each layer.
    kind : {"batch-norm", "scale"}
        `distspec.models.config.VAEConfig.hidden_layer`.

    Returns
    -------
    torch.nn.Sequential
    """
    layers: list[nn.Module] = []
    for width, rate in zip(hidden_sizes, dropout, strict=True):
        activation = [nn.BatchNorm1d(width), nn.ReLU()] if kind == "batch-norm" else [nn.ReLU(), Scale(width)]
        layers += [nn.Linear(n_in, width), *activation, nn.Dropout(rate)]
        n_in = width
    return nn.Sequential(*layers)


def init_glorot(model: nn.Module) -> None:
    """Draw the weights of all dense layers from the uniform distribution of Glorot & Bengio; offsets are 0.

    Parameters
    ----------
    model : torch.nn.Module
        Its dense layers are changed.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class SpectrumSmoother(nn.Module):
    """Gaussian smoothing whose width depends on wavelength; each range of wavelengths is smoothed by itself.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest wavelengths [Å].
    """

    def __init__(self, wave_rest: NDArray[np.float64]) -> None:
        super().__init__()
        inner = [int(np.abs(wave_rest - limit).argmin()) for limit, _ in SMOOTHING[:-1]]
        self.ranges = [slice(*pair) for pair in pairwise([0, *inner, len(wave_rest)])]

    def forward(self, flux: Tensor) -> Tensor:
        """Return smoothed spectra.

        Parameters
        ----------
        flux : Tensor of shape (n_spectra, n_pixels)
            Flux density, 0 where masked.

        Returns
        -------
        Tensor of the same shape
        """
        parts = [
            _smooth(flux[:, pixels], sigma) if pixels.start < pixels.stop else flux[:, pixels]
            for pixels, (_, sigma) in zip(self.ranges, SMOOTHING, strict=True)
        ]
        return torch.cat(parts, dim=1)


def _smooth(flux: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian; beyond its ends a spectrum is continued by its mirror image."""
    radius = int(TRUNCATION * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=flux.device, dtype=flux.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    n = flux.shape[1]
    mirrored = torch.cat([torch.arange(n), torch.arange(n - 1, -1, -1)]).to(flux.device)
    padded = flux[:, mirrored[torch.arange(-radius, n + radius, device=flux.device) % (2 * n)]]
    return functional.conv1d(padded[:, None], (kernel / kernel.sum())[None, None])[:, 0]
