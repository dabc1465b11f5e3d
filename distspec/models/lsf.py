"""What a spectrograph does to a spectrum on a logarithmic rest-frame grid: blur, pixels, coverage."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

PIXELS_PER_FWHM = 2.2
"""Detector pixels in a resolution element, FWHM."""
_FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))  # of a Gaussian, in standard deviations
_KERNEL_VARIANCES = (0.25, 1.0, 4.0, 16.0, 64.0)
"""Variances [grid pixels²] of the Gaussians between which a blur is interpolated."""
_KERNEL_HALF_WIDTH = 25


class LineSpreadFunction(nn.Module):
    """A resolving power, seen from the pixels of one logarithmic rest-frame grid.

    Parameters
    ----------
    wave_rest : (L,) [Å]
        The grid's pixels, equally spaced in ln λ.
    resolving_power : sequence of (wave [µm, observed], R = λ / FWHM)
        Increasing wavelengths; the first and the last are where the instrument's range ends.
    """

    def __init__(
        self, wave_rest: NDArray[np.float64], resolving_power: tuple[tuple[float, float], ...]
    ) -> None:
        super().__init__()
        ln_wave, ln_r = np.log(np.array(resolving_power, np.float64)).T
        self.log_wave_step = float(np.log(wave_rest[-1] / wave_rest[0]) / (len(wave_rest) - 1))
        self.log_wave_offset = float(
            np.log(wave_rest[0] * 1e-4) - ln_wave[0]
        )  # of the grid, from the range's blue end
        self.n_pixels = len(wave_rest)
        self.log_wave_range = float(ln_wave[-1] - ln_wave[0])
        fine = ln_wave[0] + self.log_wave_step * np.arange(
            round(self.log_wave_range / self.log_wave_step) + 1
        )
        fwhm = np.exp(-np.interp(fine, ln_wave, ln_r)) / self.log_wave_step
        self.register_buffer("fwhm", torch.tensor(fwhm, dtype=torch.float32), persistent=False)
        at = torch.arange(-_KERNEL_HALF_WIDTH, _KERNEL_HALF_WIDTH + 1.0)
        kernels = torch.exp(-0.5 * at**2 / torch.tensor(_KERNEL_VARIANCES)[:, None])
        kernels = kernels / kernels.sum(dim=1, keepdim=True)
        self.register_buffer("kernels", kernels[:, None], persistent=False)

    def pixel_positions(self, z: Tensor) -> Tensor:
        """Return where the grid's pixels fall in the instrument's range, (B, L) [grid steps]."""
        first = (self.log_wave_offset + torch.log1p(z)) / self.log_wave_step
        return first[:, None] + torch.arange(self.n_pixels, device=z.device)

    def fwhm_at(self, z: Tensor) -> Tensor:
        """Return the resolution element at each pixel, (B, L) [grid pixels]; at the ends, that of the end."""
        fwhm: Tensor = self.fwhm  # pyright: ignore[reportAssignmentType]
        return fwhm[self.pixel_positions(z).round().long().clamp(0, len(fwhm) - 1)]

    def compute_n_effective(self, z: Tensor) -> Tensor:
        """Return how many detector pixels each grid pixel counts for, (B, L), at most 1.

        Where the grid is finer than the detector, one measurement fills several of its pixels.
        """
        return (PIXELS_PER_FWHM / self.fwhm_at(z)).clamp(max=1.0)

    def is_covered(self, z: Tensor) -> Tensor:
        """Tell which pixels lie in the instrument's range at redshifts z, (B, L)."""
        place = self.pixel_positions(z)
        return (place >= 0.0) & (place <= self.log_wave_range / self.log_wave_step)

    def convolve(self, flux: Tensor, z: Tensor) -> Tensor:
        """Blur spectra, (B, L), as the instrument does at redshifts z, (B,)."""
        return self._convolve_gaussian(flux, (self.fwhm_at(z) / _FWHM_PER_SIGMA).square())

    def degrade(self, flux: Tensor, mask: Tensor, z: Tensor, z_target: Tensor) -> Tensor:
        """Return spectra seen at z, (B, L), as blurred as they would be at redshifts `z_target`; never sharper."""
        more = (self.fwhm_at(z_target).square() - self.fwhm_at(z).square()).clamp(
            min=0.0
        ) / _FWHM_PER_SIGMA**2
        blurred = self._convolve_gaussian(flux * mask, more) / self._convolve_gaussian(mask, more).clamp(
            min=1e-3
        )
        return torch.where(more > _KERNEL_VARIANCES[0], blurred, flux)

    def _convolve_gaussian(self, flux: Tensor, variance: Tensor) -> Tensor:
        """Convolve with Gaussians of `variance`, (B, L) [grid pixels²], between neighbouring `_KERNEL_VARIANCES`."""
        kernels: Tensor = self.kernels  # pyright: ignore[reportAssignmentType]
        padded = functional.pad(flux[:, None], (_KERNEL_HALF_WIDTH, _KERNEL_HALF_WIDTH), mode="replicate")
        blurred = functional.conv1d(padded, kernels)
        # Variances add: between two Gaussians, weights linear in the variance give the right second moment.
        position = torch.log(
            variance.clamp(_KERNEL_VARIANCES[0], _KERNEL_VARIANCES[-1]) / _KERNEL_VARIANCES[0]
        ) / math.log(4.0)
        lower = position.floor().clamp(max=len(_KERNEL_VARIANCES) - 2)
        low, high = (_KERNEL_VARIANCES[0] * 4.0**k for k in (lower, lower + 1.0))
        share = (variance.clamp(_KERNEL_VARIANCES[0], _KERNEL_VARIANCES[-1]) - low) / (high - low)
        index = lower.long()[:, None]
        return (
            torch.gather(blurred, 1, index)[:, 0] * (1.0 - share)
            + torch.gather(blurred, 1, index + 1)[:, 0] * share
        )
