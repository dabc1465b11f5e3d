"""Line-spread function and wavelength coverage of a spectrograph, on a logarithmic rest-frame grid."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from distspec.models.losses import TINY

PIXELS_PER_FWHM = 2.2
"""Detector pixels per resolution element (FWHM)."""
_FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
_KERNEL_VARIANCES = (0.25, 1.0, 4.0, 16.0, 64.0)
"""Variances [grid pixels²] of the Gaussian kernels between which a convolution is interpolated."""
_KERNEL_HALF_WIDTH = 25
"""Half width of the kernels [grid pixels]."""


class LineSpreadFunction(nn.Module):
    """Gaussian line-spread function of an instrument at the pixels of a logarithmic rest-frame grid.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest wavelengths of the grid [Å], equally spaced in ln λ.
    resolving_power : sequence of (float, float)
        Observed wavelength [µm] and λ / FWHM, by increasing wavelength; the first and the last wavelength are
        the limits of the instrument's range.
    noise_correlation : float, optional
        Correlation of the noise of neighboring detector pixels.

    Attributes
    ----------
    n_detector_pixels : int
        Number of values from which `resample_noise` makes the noise of a spectrum.
    """

    fwhm: Tensor
    detector_position: Tensor
    kernels: Tensor

    def __init__(
        self,
        wave_rest: NDArray[np.float64],
        resolving_power: tuple[tuple[float, float], ...],
        noise_correlation: float = 0.0,
    ) -> None:
        super().__init__()
        self.noise_correlation = noise_correlation
        ln_wave, ln_r = np.log(np.array(resolving_power, np.float64)).T
        self.log_wave_step = float(np.log(wave_rest[-1] / wave_rest[0]) / (len(wave_rest) - 1))
        # From the blue end of the instrument's range to the first pixel of the grid, at z = 0.
        self.log_wave_offset = float(np.log(wave_rest[0] * 1e-4) - ln_wave[0])
        self.n_pixels = len(wave_rest)
        self.log_wave_range = float(ln_wave[-1] - ln_wave[0])
        n_steps = round(self.log_wave_range / self.log_wave_step)
        ln_observed = ln_wave[0] + self.log_wave_step * np.arange(n_steps + 1)
        fwhm = np.exp(-np.interp(ln_observed, ln_wave, ln_r)) / self.log_wave_step
        self.register_buffer("fwhm", torch.tensor(fwhm, dtype=torch.float32), persistent=False)
        width = PIXELS_PER_FWHM / fwhm  # of a grid pixel [detector pixels]
        position = np.concatenate([[0.0], np.cumsum(0.5 * (width[1:] + width[:-1]))])
        self.register_buffer(
            "detector_position", torch.tensor(position, dtype=torch.float32), persistent=False
        )
        self.n_detector_pixels = int(position[-1]) + 2  # the last one shares the noise of one beyond it
        offset = torch.arange(-_KERNEL_HALF_WIDTH, _KERNEL_HALF_WIDTH + 1.0)
        kernels = torch.exp(-0.5 * offset**2 / torch.tensor(_KERNEL_VARIANCES)[:, None])
        kernels[kernels < 1e-12] = 0.0  # arithmetic with subnormal numbers is ten times as slow
        kernels = kernels / kernels.sum(dim=1, keepdim=True)
        self.register_buffer("kernels", kernels[:, None], persistent=False)

    def pixel_positions(self, z: Tensor) -> Tensor:
        """Return the positions of the grid's pixels in the instrument's range.

        Parameters
        ----------
        z : Tensor of shape (n_spectra,)
            Redshifts.

        Returns
        -------
        Tensor of shape (n_spectra, n_pixels)
            Position from the blue end [grid steps].
        """
        first = (self.log_wave_offset + torch.log1p(z)) / self.log_wave_step
        return first[:, None] + torch.arange(self.n_pixels, device=z.device)

    def fwhm_at(self, z: Tensor) -> Tensor:
        """Return the FWHM of the resolution element at each pixel [grid pixels].

        Parameters
        ----------
        z : Tensor of shape (n_spectra,)
            Redshifts.

        Returns
        -------
        Tensor of shape (n_spectra, n_pixels)
            Outside the instrument's range, the value at its nearer end.
        """
        return self.fwhm[self.pixel_positions(z).round().long().clamp(0, len(self.fwhm) - 1)]

    def compute_n_effective(self, z: Tensor) -> Tensor:
        """Return the number of independent measurements per grid pixel, at most 1.

        Where the grid is finer than the detector, one measurement fills several of its pixels. The noise of
        neighboring detector pixels is correlated as well.

        Parameters
        ----------
        z : Tensor of shape (n_spectra,)
            Redshifts.

        Returns
        -------
        Tensor of shape (n_spectra, n_pixels)
            As `distspec.core.instruments.compute_noise_correlation`, which is its inverse for uncorrelated
            detector pixels.
        """
        width = PIXELS_PER_FWHM / self.fwhm_at(z)
        n_effective = torch.where(width < 1.0, width * (1.0 - width / 3.0), 1.0 - 1.0 / (3.0 * width))
        return n_effective / (1.0 + 2.0 * self.noise_correlation)

    def resample_noise(self, noise: Tensor, z: Tensor) -> Tensor:
        """Average the noise of detector pixels over the pixels of the grid, as spectra are resampled.

        Parameters
        ----------
        noise : Tensor of shape (n_spectra, n_detector_pixels)
            Independent noise of unit variance.
        z : Tensor of shape (n_spectra,)
            Redshifts.

        Returns
        -------
        Tensor of shape (n_spectra, n_pixels)
            Noise of unit variance if detector pixels are independent; 0 outside the instrument's range.
        """
        edges = self._detector_edges(z)
        if self.noise_correlation:
            # ε_k + a ε_{k+1} has the correlation a / (1 + a²) of neighbors.
            a = (1.0 - math.sqrt(1.0 - 4.0 * self.noise_correlation**2)) / (2.0 * self.noise_correlation)
            noise = (noise + a * noise.roll(-1, dims=1)) / math.sqrt(1.0 + a**2)
        total = torch.cat([noise.new_zeros(len(z), 1), noise.cumsum(dim=1)], dim=1)
        first = edges.floor().long()
        within = edges - first
        at_edges = total.gather(1, first) + within * noise.gather(1, first)
        low, high, n_crossed = within[:, :-1], within[:, 1:], first.diff(dim=1)
        # Variance of the sum over each grid pixel for independent detector pixels, as ivar is computed.
        one, several = (high - low).square(), (1.0 - low).square() + (n_crossed - 1) + high.square()
        variance = torch.where(n_crossed == 0, one, several)
        return torch.where(variance > 0, at_edges.diff(dim=1) / variance.clamp(min=TINY).sqrt(), 0.0)

    def _detector_edges(self, z: Tensor) -> Tensor:
        """Return the positions of the edges of the grid's pixels [detector pixels].

        The shape is (n_spectra, n_pixels + 1). Outside the instrument's range they are those of its ends.
        """
        center = self.pixel_positions(z)
        edges = torch.cat([center[:, :1] - 0.5, center + 0.5], dim=1)
        edges = edges.clamp(0.0, len(self.detector_position) - 1.001)
        first = edges.floor().long()
        low, high = self.detector_position[first], self.detector_position[first + 1]
        return low + (edges - first) * (high - low)

    def is_covered(self, z: Tensor) -> Tensor:
        """Return which pixels lie within the instrument's range at redshifts ``z``.

        Parameters
        ----------
        z : Tensor of shape (n_spectra,)
            Redshifts.

        Returns
        -------
        Tensor of bool, shape (n_spectra, n_pixels)
        """
        position = self.pixel_positions(z)
        return (position >= 0.0) & (position <= self.log_wave_range / self.log_wave_step)

    def convolve(self, flux: Tensor, z: Tensor) -> Tensor:
        """Convolve spectra with the line-spread function.

        Parameters
        ----------
        flux : Tensor of shape (n_spectra, n_pixels)
            Flux at unlimited resolution.
        z : Tensor of shape (n_spectra,)
            Redshifts, which set the observed wavelengths.
        """
        return self._convolve_gaussian(flux, (self.fwhm_at(z) / _FWHM_PER_SIGMA).square())

    def degrade(self, flux: Tensor, mask: Tensor, z: Tensor, z_target: Tensor) -> Tensor:
        """Lower the resolution of observed spectra to that at another redshift; the resolution never rises.

        Parameters
        ----------
        flux, mask : Tensor of shape (n_spectra, n_pixels)
            Observed flux, and 1 where it is valid, else 0.
        z, z_target : Tensor of shape (n_spectra,)
            Redshift of the observation, and the redshift whose resolution is wanted.
        """
        variance = (self.fwhm_at(z_target).square() - self.fwhm_at(z).square()).clamp(
            min=0.0
        ) / _FWHM_PER_SIGMA**2
        weight = self._convolve_gaussian(mask, variance).clamp(min=1e-3)
        convolved = self._convolve_gaussian(flux * mask, variance) / weight
        return torch.where(variance > _KERNEL_VARIANCES[0], convolved, flux)

    def _convolve_gaussian(self, flux: Tensor, variance: Tensor) -> Tensor:
        """Convolve each pixel with a Gaussian of its own variance [grid pixels²]."""
        padded = functional.pad(flux[:, None], (_KERNEL_HALF_WIDTH, _KERNEL_HALF_WIDTH), mode="replicate")
        convolved = functional.conv1d(padded, self.kernels)
        # Variances add: between two Gaussians, weights linear in the variance give the right second moment.
        position = torch.log(
            variance.clamp(_KERNEL_VARIANCES[0], _KERNEL_VARIANCES[-1]) / _KERNEL_VARIANCES[0]
        ) / math.log(4.0)
        lower = position.floor().clamp(max=len(_KERNEL_VARIANCES) - 2)
        low, high = (_KERNEL_VARIANCES[0] * 4.0**k for k in (lower, lower + 1.0))
        fraction = (variance.clamp(_KERNEL_VARIANCES[0], _KERNEL_VARIANCES[-1]) - low) / (high - low)
        index = lower.long()[:, None]
        return (
            torch.gather(convolved, 1, index)[:, 0] * (1.0 - fraction)
            + torch.gather(convolved, 1, index + 1)[:, 0] * fraction
        )
