"""Uncertainty of latents that comes from the redshift, for spectra at the redshift of the model.

The posterior of such a spectrum is a mixture: of the posteriors at redshifts drawn from p(z), all solutions
included. Its variance about the latents at the best redshift replaces the variance at that redshift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.core.arrow import pc
from distspec.core.spectrum import Floats, Floats32, Spectrum
from distspec.models.model import Model
from distspec.redshifts.measured import build_keys, read_current, read_measured
from distspec.redshifts.selection import get_archive_version
from distspec.store.store import Store

N_SAMPLES = 9
"""Number of redshifts, equally probable, at which a spectrum is encoded."""


@dataclass(frozen=True)
class RedshiftSamples:
    """Equally probable redshifts of the rows of a store that are used at the redshift of the model.

    Attributes
    ----------
    rows : ndarray of shape (n,)
        Rows of the store, increasing.
    z : ndarray of shape (n, N_SAMPLES)
        Quantiles of p(z) of each.
    """

    rows: NDArray[np.int64]
    z: Floats

    @classmethod
    def read(cls, root: str, store: Store, first_row: int) -> Self:
        """Read p(z) of the rows of a store from a row on.

        Parameters
        ----------
        root : str
            Root of the measured redshifts.
        store : Store
            The store.
        first_row : int
            First of the rows.

        Returns
        -------
        RedshiftSamples
            Rows whose redshifts are not those of the current measurement, because they are superseded, are
            left out.
        """
        rows = np.flatnonzero(store.measured_rows())
        rows, current = rows[rows >= first_row], read_current(root)
        if not len(rows) or current is None:
            return cls(np.zeros(0, np.int64), np.zeros((0, N_SAMPLES)))
        measured = read_measured(
            root, current.measurement_id, ["object_id", "version", "z_model", "pdf_z", "pdf_probability"]
        )
        ledger = store.ledger(["object_id", "version", "z"]).take(pa.array(rows))
        versions = [get_archive_version(version) for version in ledger["version"].to_pylist()]
        keys = build_keys(ledger.set_column(1, "version", pa.array(versions, pa.string())))
        found = measured.take(pc.index_in(keys, value_set=build_keys(measured)))
        is_same = found["z_model"].to_numpy() == ledger["z"].to_numpy()
        densities = found.filter(pa.array(is_same)).select(["pdf_z", "pdf_probability"]).to_pylist()
        z = [_compute_quantiles(each["pdf_z"], each["pdf_probability"]) for each in densities]
        return cls(rows[is_same], np.array(z).reshape(-1, N_SAMPLES))

    def select(self, start: int, stop: int) -> Self:
        """Return the samples of a range of rows.

        Parameters
        ----------
        start, stop : int
            First row, and the row after the last.
        """
        own = slice(*np.searchsorted(self.rows, [start, stop]))
        return type(self)(self.rows[own], self.z[own])


def widen_posteriors(
    model: Model,
    z_mean: Floats32,
    z_log_var: Floats32,
    flux: Floats32,
    ivar: Floats32,
    z: Floats,
    samples: Floats,
) -> Floats32:
    """Return the log variances of latents with the uncertainty of the redshift.

    Parameters
    ----------
    model : Model
        The model.
    z_mean, z_log_var : ndarray of shape (n_spectra, n_latents)
        Posteriors at the redshifts ``z``.
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        The spectra on the model's grid at the redshifts ``z``.
    z : ndarray of shape (n_spectra,)
        Redshifts.
    samples : ndarray of shape (n_spectra, n_samples)
        Equally probable redshifts of each spectrum. Those at which it cannot be normalized are left out.

    Returns
    -------
    ndarray of shape (n_spectra, n_latents)
        Natural logarithm of the variance of the mixture about ``z_mean``, never below ``z_log_var``.
    """
    wave = 1e-4 * model.wave_rest
    shifted = [
        Spectrum(str(i), wave * (1.0 + z[i]), flux[i].astype(float), ivar[i].astype(float), "", sample)
        for i in range(len(z))
        for sample in samples[i].tolist()
    ]
    batch, _ = model.preprocess(shifted)
    widened = z_log_var.copy()
    if not len(batch):
        return widened
    mean, log_var = model.encode(batch.flux, batch.ivar, batch.z)
    owner = np.array([int(name) for name in batch.object_id])
    for i in np.unique(owner):
        own = owner == i
        variance = (np.exp(log_var[own]) + (mean[own] - z_mean[i]) ** 2).mean(axis=0)
        widened[i] = np.maximum(z_log_var[i], np.log(variance))
    return widened


def _compute_quantiles(z: list[float], probability: list[float]) -> Floats:
    """Return `N_SAMPLES` equally probable redshifts."""
    centers = np.cumsum(probability) - 0.5 * np.array(probability)
    return np.interp((np.arange(N_SAMPLES) + 0.5) / N_SAMPLES, centers, z)
