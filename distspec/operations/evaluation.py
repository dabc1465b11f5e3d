"""How well a model does on spectra of sources that no model is trained on: the same for all that compete."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.clustering.algorithms import fit_all, labels_of
from distspec.clustering.config import Setting
from distspec.clustering.consensus import stability
from distspec.clustering.feature_space import in_posterior_widths
from distspec.core.spectrum import Floats
from distspec.measurements.features import measure_reconstructions, space
from distspec.models.embed import embed_spectra
from distspec.models.latents import LATENTS
from distspec.models.model import Model
from distspec.operations.policy import Evaluation
from distspec.store.splits import in_validation
from distspec.store.store import Store

MOST = 4096
"""Spectra that models are compared on, at most."""
REPEATS, SHARE, STARTS = 8, 0.8, 5
"""Clusterings, the share of the spectra that each sees, and the starts of each."""


def held_out(store: Store, share: float) -> NDArray[np.int64]:
    """Return the rows that models are compared on: of sources that are never trained on, else all that stand.

    Parameters
    ----------
    store : Store
    share : float
        Of the sources that is held out: see `distspec.training.config.TrainingConfig`.
    """
    standing = store.standing()
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(standing)).to_pylist()
    rows = standing[in_validation(sources, share)]
    rows = rows if len(rows) else standing
    # Evenly spread: the store's order is the archive's, so this is no biased sample.
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(np.int64)]


def evaluate(
    model: Model, store: Store, rows: NDArray[np.int64], spaces: Sequence[str], k: int, seed: int
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
    k : int
        Clusters of each clustering.
    seed : int

    Raises
    ------
    ValueError
        When the store is not on the model's grid and scale.
    """
    model.check_fits(store)
    kind, z = store.frozen.kind, np.asarray(store.array("z"))[rows]
    said, _ = embed_spectra(model, kind, *store.spectra(rows), z)
    finite = all(bool(np.isfinite(said[name]).all()) for name in LATENTS)
    repeat = float("nan")
    if finite:
        of = said["z_mean"], said["z_log_var"]
        points = in_posterior_widths(*of)
        if "features" in spaces:
            points = space(
                kind, said | measure_reconstructions(kind, model.decode, model.grid, *of, n_draws=0)
            )
        repeat = repeatability(points.astype(np.float64), k, seed)
    return Evaluation(model.model_id, said["recon_chi2_red"].astype(np.float64), finite, repeat)


def repeatability(points: Floats, k: int, seed: int) -> float:
    """Return the mean adjusted Rand index of k-means of shares of points, each labelling all; NaN of too few.

    Parameters
    ----------
    points : (N, D)
    k : int
    seed : int
    """
    n = len(points)
    if n < 5 * k or k < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    labels = [
        labels_of(
            fit_all(
                points[np.sort(rng.choice(n, round(SHARE * n), replace=False))],
                [Setting("kmeans", k)],
                [seed + i],
                STARTS,
            )[0].predictor.posterior(points)
        )
        for i in range(REPEATS)
    ]
    return float(np.mean(stability(labels)))
