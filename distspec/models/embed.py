"""Per-spectrum results of the embed stage: bad pixels, embedding and measurements."""

from __future__ import annotations

import numpy as np

from distspec.archives.base import Archive
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.bad_pixels import find_bad_pixels
from distspec.models.model import Model


def embed_spectra(
    model: Model, archive: type[Archive], flux: Floats32, ivar: Floats32, z: Floats, first_row: int = 0
) -> tuple[dict[str, Floats32], Floats32]:
    """Mask bad pixels, embed the spectra with a model, and measure them.

    Bad pixels are masked first, so that neither the embedding nor the measurements use them.

    Parameters
    ----------
    model : Model
        The model.
    archive : type of Archive
        The archive of the spectra, which defines the disperser and the measurements.
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Flux density [f_λ / f_λ(reference)] on the model's grid and its inverse variance, 0 where masked.
    z : ndarray of shape (n_spectra,)
        Redshifts.
    first_row : int, optional
        Row number of the first spectrum: see `distspec.models.model.Model.embed`.

    Returns
    -------
    columns : dict of str to ndarray
        The columns `distspec.models.latents.get_column_names`, each of shape (n_spectra,) or
        (n_spectra, n_latents).
    ivar : ndarray of shape (n_spectra, n_pixels)
        The inverse variance with bad pixels masked.
    """
    bad_pixels = find_bad_pixels(flux, ivar, z, model.grid, archive.disperser)
    ivar = np.where(bad_pixels.bad_pixels, np.float32(0.0), ivar)
    columns = model.embed(flux, ivar, z, first_row) | bad_pixels.to_columns()
    return columns | archive.measurements.measure(flux, ivar, z, model.grid), ivar
