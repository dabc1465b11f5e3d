"""All that is said of a spectrum by itself: bad pixels, what a model makes of it, what is measured on it."""

from __future__ import annotations

import numpy as np

from distspec.archives.base import Archive
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.bad_pixels import find_bad_pixels
from distspec.measurements.measure import measure_spectra
from distspec.models.model import Model


def embed_spectra(
    model: Model, archive: type[Archive], flux: Floats32, ivar: Floats32, z: Floats, first_row: int = 0
) -> tuple[dict[str, Floats32], Floats32]:
    """Return `distspec.models.latents.get_column_names` of spectra on a model's grid, and their ivar without bad pixels.

    Bad pixels are masked first: neither latents nor χ² nor measures see them.

    Parameters
    ----------
    model : Model
    archive : type of Archive
        Supplies the disperser and the measurements.
    flux, ivar : (N, L)
    z : (N,)
    first_row : int
        The number of the first of them: see `distspec.models.model.Model.embed`.

    Returns
    -------
    columns : dict
        (N, latents) or (N,) each.
    ivar : (N, L)
    """
    artefacts = find_bad_pixels(flux, ivar, z, model.grid, archive.disperser)
    ivar = np.where(artefacts.bad_pixels, np.float32(0.0), ivar)
    said = model.embed(flux, ivar, z, first_row) | artefacts.to_columns()
    return said | measure_spectra(archive.measurements, flux, ivar, z, model.grid), ivar
