"""Doubtful redshifts that the report shows: p(z), and each spectrum at both redshifts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from distspec.core.spectrum import Floats32, Spectrum
from distspec.models.model import Model
from distspec.report.data import DoubtfulRedshift
from distspec.store.store import Store

N_DOUBTFUL = 6
"""Number of doubtful redshifts that are drawn."""
STATUSES: Mapping[str, str] = {
    "archive": "used at the archive's redshift, which p(z) supports",
    "doubtful": "used at the archive's redshift, which p(z) contradicts",
    "model": "used at the model's redshift",
    "not used": "neither a trusted redshift nor a confident one of the model",
}
"""Values of the column ``status``, with what they mean."""


@dataclass(frozen=True)
class _RestSpectrum:
    """A spectrum on the model's grid with its reconstruction, each of shape (n_pixels,)."""

    flux: Floats32
    ivar: Floats32
    recon: Floats32


def count_statuses(redshifts: pa.Table) -> list[tuple[str, str, int]]:
    """Return the values of ``status``, what they mean, and how many spectra have each.

    Parameters
    ----------
    redshifts : Table
        The table ``redshifts``.

    Returns
    -------
    list of (str, str, int)
        Without those that no spectrum has.
    """
    counts = Counter(redshifts["status"].to_pylist())
    return [(name, meaning, counts[name]) for name, meaning in STATUSES.items() if counts[name]]


def select_doubtful(
    redshifts: pa.Table, objects: pa.Table, store: Store, model: Model
) -> list[DoubtfulRedshift]:
    """Read the spectra whose redshifts are the most doubtful.

    Parameters
    ----------
    redshifts, objects : Table
        Published tables.
    store : Store
        Store of the spectra.
    model : Model
        Model of the run.

    Returns
    -------
    list of DoubtfulRedshift
        At most `N_DOUBTFUL`, the most doubtful first.
    """
    rows = redshifts.to_pylist()[:N_DOUBTFUL]
    store_rows = dict(zip(objects["object_id"].to_pylist(), objects["store_row"].to_pylist(), strict=True))
    found: list[DoubtfulRedshift] = []
    for row in rows:
        if row["status"] != "doubtful":
            continue
        flux, ivar = store.read_spectra(np.array([store_rows[row["object_id"]]]))
        observed = Spectrum(
            row["object_id"],
            1e-4 * model.wave_rest * (1.0 + row["z_archive"]),
            flux[0].astype(np.float64),
            ivar[0].astype(np.float64),
            "",
            row["z_archive"],
        )
        views = [_view(model, observed, z) for z in (row["z_archive"], row["z_model"])]
        empty = np.zeros(len(model.wave_rest), np.float32)
        missing = _RestSpectrum(empty, empty, empty)
        at_archive, at_model = (view or missing for view in views)
        found.append(
            DoubtfulRedshift(
                row["object_id"],
                row["z_archive"],
                row["z_model"],
                row["p_outlier"],
                np.array(row["pdf_z"]),
                np.array(row["pdf_probability"]),
                np.array([at_archive.flux, at_model.flux]),
                np.array([at_archive.ivar, at_model.ivar]),
                np.array([at_archive.recon, at_model.recon]),
            )
        )
    return found


def _view(model: Model, observed: Spectrum, z: float) -> _RestSpectrum | None:
    """Return a spectrum at a redshift; None if it cannot be normalized there."""
    batch, _ = model.preprocess([replace(observed, z=z)])
    if not len(batch):
        return None
    recon = model.reconstruct(batch.flux, batch.ivar, batch.z)
    return _RestSpectrum(batch.flux[0], batch.ivar[0], recon[0])
