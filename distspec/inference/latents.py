"""Latents and reconstructions of spectra by one model, and the raw anomaly scores computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distspec.anomaly.latent_density import LatentDensity
from distspec.anomaly.residuals import compute_residual_statistics
from distspec.archives.base import Archive
from distspec.core.instruments import Disperser
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid
from distspec.measurements.bad_pixels import find_bad_pixels
from distspec.models.embed import embed_spectra
from distspec.models.model import Model


@dataclass(frozen=True)
class SpectrumLatents:
    """Latents of spectra by one model, with their bad-pixel statistics and measurements.

    Attributes
    ----------
    columns : mapping of str to ndarray
        The columns `distspec.models.latents.get_column_names`, of shape (n_spectra,) or (n_spectra,
        n_latents).
    """

    columns: Mapping[str, Floats32]

    def __len__(self) -> int:
        return len(self.z_mean)

    @property
    def z_mean(self) -> Floats32:
        """Posterior means, (n_spectra, n_latents)."""
        return self.columns["z_mean"]

    @property
    def z_log_var(self) -> Floats32:
        """Posterior log variances, (n_spectra, n_latents)."""
        return self.columns["z_log_var"]

    @property
    def amplitude(self) -> Floats32:
        """Factor between the decoded and the observed spectrum, (n_spectra,)."""
        return self.columns["amplitude"]

    @property
    def scatter_ratio(self) -> Floats32:
        """Ratio of a spectrum's noise to its errors, (n_spectra,)."""
        return self.columns["artefact_scatter"]

    @property
    def bad_pixel_score(self) -> Floats32:
        """Largest bad-pixel statistic relative to its threshold, (n_spectra,)."""
        return self.columns["artefact_score"]

    def take(self, rows: NDArray[np.int64] | slice) -> SpectrumLatents:
        """Return some of the spectra.

        Parameters
        ----------
        rows : ndarray of int64 or slice
            Positions of the spectra.

        Returns
        -------
        SpectrumLatents
        """
        return SpectrumLatents({name: values[rows] for name, values in self.columns.items()})


@dataclass(frozen=True)
class ReconstructedSpectra:
    """Spectra with bad pixels masked, and their reconstructions by a model.

    Attributes
    ----------
    flux, ivar, recon : ndarray of shape (n_spectra, n_pixels)
        Flux, inverse variance (0 where masked), and reconstruction.
    z : ndarray of shape (n_spectra,)
        Redshifts.
    scatter_ratio : ndarray of shape (n_spectra,)
        Ratio of each spectrum's noise to its errors.
    """

    flux: Floats32
    ivar: Floats32
    recon: Floats32
    z: Floats
    scatter_ratio: Floats32


def compute_latents(
    model: Model, archive: type[Archive], flux: Floats32, ivar: Floats32, z: Floats
) -> tuple[SpectrumLatents, Floats32]:
    """Mask bad pixels, embed spectra with a model, and measure them.

    Parameters
    ----------
    model : Model
        The model.
    archive : type of Archive
        The archive of the spectra, which defines the disperser and the measurements.
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Flux on the model's grid and its inverse variance, 0 where masked.
    z : ndarray of shape (n_spectra,)
        Redshifts.

    Returns
    -------
    latents : SpectrumLatents
        Latents, bad-pixel statistics and measurements.
    ivar : ndarray of shape (n_spectra, n_pixels)
        Inverse variance with bad pixels masked.
    """
    columns, masked_ivar = embed_spectra(model, archive, flux, ivar, z)
    return SpectrumLatents(columns), masked_ivar


def mask_bad_pixels(
    flux: Floats32, ivar: Floats32, z: Floats, grid: WavelengthGrid, disperser: Disperser | None
) -> Floats32:
    """Return the inverse variance of spectra with bad pixels masked.

    Parameters
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Flux and its inverse variance, 0 where masked.
    z : ndarray of shape (n_spectra,)
        Redshifts.
    grid : WavelengthGrid
        Rest-frame grid of the spectra.
    disperser : Disperser or None
        The instrument.

    Returns
    -------
    ndarray of float32, shape (n_spectra, n_pixels)
        Inverse variance; 0 where masked.
    """
    bad_pixels = find_bad_pixels(flux, ivar, z, grid, disperser).bad_pixels
    return np.where(bad_pixels, np.float32(0.0), ivar)


def reconstruct_spectra(
    model: Model, latents: SpectrumLatents, flux: Floats32, masked_ivar: Floats32, z: Floats
) -> ReconstructedSpectra:
    """Reconstruct spectra from their latents.

    Parameters
    ----------
    model : Model
        The model of the latents.
    latents : SpectrumLatents
        Latents of the spectra.
    flux, masked_ivar : ndarray of shape (n_spectra, n_pixels)
        Flux, and its inverse variance with bad pixels masked.
    z : ndarray of shape (n_spectra,)
        Redshifts.

    Returns
    -------
    ReconstructedSpectra
    """
    recon = latents.amplitude[:, None] * model.decode(latents.z_mean, z)
    return ReconstructedSpectra(flux, masked_ivar, recon, z, latents.scatter_ratio)


def compute_raw_anomaly_scores(
    spectra: ReconstructedSpectra,
    scaled_latents: Floats32,
    model_error: Floats32,
    latent_density: LatentDensity,
    grid: WavelengthGrid,
    disperser: Disperser | None,
) -> dict[str, Floats32]:
    """Compute the raw anomaly scores of spectra; those of a spectrum depend on that spectrum alone.

    Parameters
    ----------
    spectra : ReconstructedSpectra
        Spectra and their reconstructions.
    scaled_latents : ndarray of shape (n_spectra, n_latents)
        Latents in units of the posterior widths.
    model_error : ndarray of shape (n_pixels,)
        Result of `distspec.anomaly.residuals.estimate_model_error`.
    latent_density : LatentDensity
        Density of the latents of the run's sample.
    grid : WavelengthGrid
        Rest-frame grid of the spectra.
    disperser : Disperser or None
        The instrument.

    Returns
    -------
    dict of str to ndarray of shape (n_spectra,)
        What `distspec.anomaly.score.ReferenceDistribution` takes.
    """
    residuals = compute_residual_statistics(
        spectra.flux,
        spectra.ivar,
        spectra.recon,
        spectra.scatter_ratio,
        model_error,
        spectra.z,
        grid,
        disperser,
    )
    return {**residuals, "log_prob": latent_density.log_prob(scaled_latents)}
