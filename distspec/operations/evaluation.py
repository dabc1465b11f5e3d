"""How well a model does on spectra of sources that no model is trained on: the same for all that compete."""

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
from distspec.measurements.features import compute_features, measure_reconstructions
from distspec.models.embed import embed_spectra
from distspec.models.latents import MODEL_COLUMNS
from distspec.models.model import Model
from distspec.operations.policy import Evaluation
from distspec.store.splits import is_validation
from distspec.store.store import Store

MAX_EVALUATION_SPECTRA = 4096
"""Spectra that models are compared on, at most."""
N_SUBSAMPLES, SUBSAMPLE_FRACTION, N_INIT = 8, 0.8, 5
"""Clusterings, the share of the spectra that each sees, and the starts of each."""


def select_evaluation_rows(store: Store, validation_fraction: float) -> NDArray[np.int64]:
    """Return the rows that models are compared on: of sources that are never trained on, else all that stand.

    Parameters
    ----------
    store : Store
    validation_fraction : float
        Of the sources that is held out: see `distspec.training.config.TrainingConfig`.
    """
    standing = store.current_rows()
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(standing)).to_pylist()
    rows = standing[is_validation(sources, validation_fraction)]
    rows = rows if len(rows) else standing
    # Evenly spread: the store's order is the archive's, so this is no biased sample.
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_EVALUATION_SPECTRA)).astype(np.int64)]


def evaluate(
    model: Model, store: Store, rows: NDArray[np.int64], spaces: Sequence[str], n_clusters: int, seed: int
) -> Evaluation:
    """Say how well a model does on rows of a store.

    Parameters
    ----------
    model : Model
    store : Store
    rows : (n,)
    spaces : sequence of str
        Where classes are looked for: clusterings are of ``features`` where these are among them, else of
        latents.
    n_clusters : int
        Clusters of each clustering.
    seed : int

    Raises
    ------
    ValueError
        When the store is not on the model's grid and scale.
    """
    model.check_compatible(store)
    archive, z = get_archive(store.config.archive_name), np.asarray(store.open_array("z"))[rows]
    said, _ = embed_spectra(model, archive, *store.read_spectra(rows), z)
    finite = all(bool(np.isfinite(said[name]).all()) for name in MODEL_COLUMNS)
    repeat = float("nan")
    if finite:
        of = said["z_mean"], said["z_log_var"]
        points = scale_by_posterior_width(*of)
        if "features" in spaces:
            points = compute_features(
                archive.measurements,
                said | measure_reconstructions(archive.measurements, model.decode, model.grid, *of, n_draws=0),
            )
        repeat = measure_stability(points.astype(np.float64), n_clusters, seed)
    return Evaluation(model.model_id, said["recon_chi2_red"].astype(np.float64), finite, repeat)


def measure_stability(points: Floats, n_clusters: int, seed: int) -> float:
    """Return the mean adjusted Rand index of k-means of shares of points, each labelling all; NaN of too few.

    Parameters
    ----------
    points : (N, D)
    n_clusters : int
    seed : int
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
