"""Templates as an instrument shows them: convolved and averaged over its pixels, at any redshift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtr

from distspec.core.errors import ConfigError
from distspec.core.spectrum import Floats, Floats32
from distspec.redshifts.templates import TemplateMixture

STEPS_PER_PIXEL = 2
"""Redshift steps per pixel of the templates, in ln(1 + z)."""
MIN_RESPONSE = 1e-7
"""Response below which a pixel does not see a wavelength."""
MIN_COVERED_RESPONSE = 0.995
"""Fraction of a pixel's response that templates must reach for the pixel to be compared with them."""
KERNEL_SIGMAS = 6.0
"""Half width of the line-spread function [standard deviations]."""
_FWHM_PER_SIGMA = 2.3548


@dataclass(frozen=True)
class PixelResponse:
    """Response of observed pixels to wavelengths on a fine logarithmic grid.

    Attributes
    ----------
    log_step : float
        Step of the grid and of ln(1 + z).
    start : int
        Position of the first wavelength [steps from the blue end of the templates at z = 0].
    response : csr_array of shape (n_pixels, n_wavelengths)
        Rows have the sum 1.
    """

    log_step: float
    start: int
    response: Any

    @classmethod
    def from_instrument(
        cls,
        wave: Floats,
        resolving_power: Sequence[tuple[float, float]],
        log_wave_rest: Floats,
        are_pixelized: bool = False,
    ) -> PixelResponse:
        """Integrate a Gaussian line-spread function over pixels.

        Parameters
        ----------
        wave : ndarray of shape (n_pixels,)
            Observed wavelengths [um], increasing.
        resolving_power : sequence of (float, float)
            Observed wavelength [um] and λ / FWHM, by increasing wavelength; empty if the spectra are not
            convolved.
        log_wave_rest : ndarray
            Natural logarithm of the rest wavelengths of the templates [Å].
        are_pixelized : bool
            Whether the templates were learned from spectra that pixels had broadened, which is then not done
            once more.

        Returns
        -------
        PixelResponse
        """
        log_wave = np.log(1e4 * wave)
        middle = 0.5 * (log_wave[1:] + log_wave[:-1])
        low = np.concatenate([[2 * log_wave[0] - middle[0]], middle])
        high = np.concatenate([middle, [2 * log_wave[-1] - middle[-1]]])
        step = (log_wave_rest[1] - log_wave_rest[0]) / STEPS_PER_PIXEL
        sigma = np.full(len(wave), 0.25 * step)
        if len(resolving_power):
            of_wave, power = np.log(np.array(resolving_power)).T
            lsf = np.exp(-np.interp(np.log(wave), of_wave, power)) / _FWHM_PER_SIGMA
            known = _measure_pixel_variance(high - low, log_wave_rest[1] - log_wave_rest[0])
            sigma = np.sqrt(np.maximum(lsf**2 - known * are_pixelized, sigma**2))
        first = np.floor((low - KERNEL_SIGMAS * sigma - log_wave_rest[0]) / step).astype(int)
        last = np.ceil((high + KERNEL_SIGMAS * sigma - log_wave_rest[0]) / step).astype(int)
        rows: list[NDArray[Any]] = []
        for i in range(len(wave)):
            position = log_wave_rest[0] + step * np.arange(first[i], last[i] + 1)
            rows.append(ndtr((high[i] - position) / sigma[i]) - ndtr((low[i] - position) / sigma[i]))
        values = np.concatenate([row / row.sum() for row in rows])
        start = int(first.min())
        columns = np.concatenate([np.arange(a, b + 1) - start for a, b in zip(first, last, strict=True)])
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        shape = len(wave), int(last.max()) - start + 1
        response = csr_array((values.astype(np.float32), columns, offsets), shape)
        response.data[response.data < MIN_RESPONSE] = 0.0
        response.eliminate_zeros()
        return cls(step, start, response)


@dataclass(frozen=True)
class ObservedTemplates:
    """Templates at the redshifts of a grid, on the pixels of an instrument.

    Attributes
    ----------
    z : ndarray of shape (n_z,)
        Redshifts, equally spaced in ln(1 + z).
    columns : list of ndarray of shape (n_groups, n_columns, n_pixels)
        Templates at each redshift, which are dark blueward of their wavelengths; 0 for pixels that are not
        covered.
    is_covered : ndarray of bool, shape (n_pixels,)
        Pixels that do not lie redward of the templates at any redshift.
    """

    z: Floats
    columns: list[Floats32]
    is_covered: NDArray[np.bool_]

    @classmethod
    def project(
        cls, mixture: TemplateMixture, response: PixelResponse, z_min: float, z_max: float, every: int = 1
    ) -> ObservedTemplates:
        """Project templates onto the pixels of an instrument.

        Parameters
        ----------
        mixture : TemplateMixture
            Templates.
        response : PixelResponse
            Response of the pixels, for the wavelengths of the templates.
        z_min, z_max : float
            Limits of the redshifts.
        every : int
            Number of steps of ln(1 + z) from one redshift to the next.

        Returns
        -------
        ObservedTemplates

        Raises
        ------
        ConfigError
            If no step of ln(1 + z) lies between the limits.
        """
        lowest, highest = np.log1p([z_min, z_max]) / response.log_step
        steps = np.arange(int(np.ceil(lowest)), int(np.floor(highest)) + 1, every)
        if not len(steps):
            raise ConfigError(
                f"no redshift from z_min {z_min} to z_max {z_max}: "
                f"ln(1 + z) has steps of {response.log_step:.2g}"
            )
        n_wave = (len(mixture.log_wave_rest) - 1) * STEPS_PER_PIXEL + 1
        fine = mixture.log_wave_rest[0] + response.log_step * np.arange(n_wave)
        nodes = [_interpolate(each, mixture.log_wave_rest, fine) for each in mixture.templates]
        z = np.expm1(steps * response.log_step)
        node_of = np.abs(np.log1p(z)[:, None] - np.log1p(mixture.z_nodes)).argmin(axis=1)
        by_column = response.response.tocsc()
        n_seen = by_column.shape[1]
        first_steps = steps - response.start
        reached = by_column[:, : max(first_steps[0] + n_wave, 0)]
        is_covered = np.asarray(reached.sum(axis=1)) > MIN_COVERED_RESPONSE
        columns: list[Floats32] = []
        for first, node in zip(first_steps, node_of, strict=True):
            low = min(max(first, 0), n_seen)
            high = max(min(first + n_wave, n_seen), low)
            projected = by_column[:, low:high] @ nodes[node][max(low - first, 0) :][: high - low]
            projected = (projected * is_covered[:, None]).astype(np.float32)
            projected = projected.T.reshape(mixture.n_groups, mixture.n_columns, -1)
            # Ramps that no pixel sees do not change the evidence.
            n_used = int(np.flatnonzero(projected.any(axis=(0, 2))).max(initial=0)) + 1
            columns.append(np.ascontiguousarray(projected[:, :n_used]))
        return cls(z, columns, is_covered)


def _measure_pixel_variance(width: Floats, template_step: float) -> Floats:
    """Return by how much templates are broadened already, as a variance of ln λ, (n_pixels,).

    A model learns spectra that were integrated over the detector's pixels, and resampled to its grid as if
    flux were constant within both; its line-spread function knows neither. Templates are then interpolated
    linearly. A uniform distribution has the variance width² / 12, linear interpolation adds step² / 6.
    """
    return 2.0 * width**2 / 12.0 + template_step**2 * (1.0 / 12.0 + 1.0 / 6.0)


def _interpolate(templates: Floats, log_wave: Floats, fine: Floats) -> Floats32:
    """Return templates (n_groups, n_columns, n_pixels) on a finer grid, (n_fine, n_groups × n_columns)."""
    rows = templates.reshape(-1, templates.shape[-1])
    return np.array([np.interp(fine, log_wave, row) for row in rows], np.float32).T
