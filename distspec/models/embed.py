"""All that is said of a spectrum by itself: bad pixels, what a model makes of it, what is measured on it."""

from __future__ import annotations

import numpy as np

from distspec.core.instruments import DETECTORS
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.bad_pixels import find_artefacts
from distspec.measurements.measure import measure
from distspec.models.model import Model


def embed_spectra(
    model: Model, kind: str, flux: Floats32, ivar: Floats32, z: Floats, first: int = 0
) -> tuple[dict[str, Floats32], Floats32]:
    """Return `distspec.models.latents.columns` of spectra on a model's grid, and their ivar without bad pixels.

    Bad pixels are masked first: neither latents nor χ² nor measures see them.

    Parameters
    ----------
    model : Model
    kind : str
        Of the archive.
    flux, ivar : (N, L)
    z : (N,)
    first : int
        The number of the first of them: see `distspec.models.model.Model.embed`.

    Returns
    -------
    columns : dict
        (N, latents) or (N,) each.
    ivar : (N, L)
    """
    artefacts = find_artefacts(flux, ivar, z, model.grid, DETECTORS.get(kind))
    ivar = np.where(artefacts.bad, np.float32(0.0), ivar)
    said = model.embed(flux, ivar, z, first) | artefacts.columns()
    return said | measure(kind, flux, ivar, z, model.grid), ivar
