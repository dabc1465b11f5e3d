"""Evaluation of models on the held-out spectra, the same ones for all models that are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.archives.registry import get_archive
from distspec.clustering.algorithms import fit_clusterings, labels_from_prob
from distspec.clustering.config import AlgorithmSpec
from distspec.clustering.consensus import compute_stability
from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.core.spectrum import Floats
from distspec.inference.describe import compute_spectrum_features
from distspec.inference.latents import compute_latents
from distspec.models.latents import MODEL_COLUMNS
from distspec.models.model import Model
from distspec.operations.policy import Evaluation
from distspec.store.splits import is_validation
from distspec.store.store import Store

MAX_EVALUATION_SPECTRA = 4096
"""Largest number of spectra that models are compared on."""
N_SUBSAMPLES, SUBSAMPLE_FRACTION, N_INIT = 8, 0.8, 5
"""Number of clusterings, fraction of the spectra that each is fitted to, and initializations of each."""


def select_evaluation_rows(store: Store, validation_fraction: float) -> NDArray[np.int64]:
    """Return the rows that models are compared on: those of held-out sources, or all if there are none.

    Parameters
    ----------
    store : Store
        Store to select from.
    validation_fraction : float
        Fraction of the sources that is held out, see `distspec.training.config.TrainingConfig`.

    Returns
    -------
    ndarray of shape (n_selected,)
        Current rows of the store, at most `MAX_EVALUATION_SPECTRA`.
    """
    current = store.current_rows()
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(current)).to_pylist()
    rows = current[is_validation(sources, validation_fraction)]
    rows = rows if len(rows) else current
    # Evenly spaced rows: the order of the store is that of the archive's listing, unrelated to the spectra.
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_EVALUATION_SPECTRA)).astype(np.int64)]


def evaluate(
    model: Model, store: Store, rows: NDArray[np.int64], spaces: Sequence[str], n_clusters: int, seed: int
) -> Evaluation:
    """Evaluate a model on rows of a store.

    Parameters
    ----------
    model : Model
        Model to evaluate.
    store : Store
        Store that holds the spectra.
    rows : ndarray of shape (n_spectra,)
        Rows of the store.
    spaces : sequence of str
        Spaces in which classes are searched. The stability is measured on physical features if "features" is
        among them, on latents otherwise.
    n_clusters : int
        Number of clusters of each clustering.
    seed : int
        Seed of the subsamples and of k-means.

    Returns
    -------
    Evaluation

    Raises
    ------
    ModelError
        If the store has another grid or normalization than the model.
    """
    model.check_compatible(store)
    archive, z = get_archive(store.config.archive_name), np.asarray(store.open_array("z"))[rows]
    latents, _ = compute_latents(model, archive, *store.read_spectra(rows), z)
    all_finite = all(bool(np.isfinite(latents.columns[name]).all()) for name in MODEL_COLUMNS)
    chi2, stability = latents.columns["recon_chi2_red"].astype(np.float64), float("nan")
    if all_finite:
        if "features" in spaces:
            points = compute_spectrum_features(model, archive.measurements, latents, spaces).features
        else:
            points = scale_by_posterior_width(latents.z_mean, latents.z_log_var).astype(np.float64)
        stability = measure_stability(points, n_clusters, seed)
    return Evaluation(model.model_id, chi2, all_finite, stability)


def measure_stability(points: Floats, n_clusters: int, seed: int) -> float:
    """Return the mean adjusted Rand index between k-means clusterings fitted to different subsamples.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_dims)
        Points; each clustering is fitted to a subsample and labels all of them.
    n_clusters : int
        Number of clusters.
    seed : int
        Seed of the subsamples and of k-means.

    Returns
    -------
    float
        NaN if there are fewer than two clusters or five points per cluster.
    """
    n = len(points)
    if n < 5 * n_clusters or n_clusters < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    labels = [
        labels_from_prob(
            fit_clusterings(
                points[np.sort(rng.choice(n, round(SUBSAMPLE_FRACTION * n), replace=False))],
                [AlgorithmSpec("kmeans", n_clusters)],
                [seed + i],
                N_INIT,
            )[0].membership_model.predict_proba(points)
        )
        for i in range(N_SUBSAMPLES)
    ]
    return float(np.mean(compute_stability(labels)))
