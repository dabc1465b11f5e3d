"""Looking for oddities, on Ray: what is ordinary is fitted to a sample, then tasks judge spans of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from distspec.anomaly.residuals import compute_residual_statistics, estimate_model_error
from distspec.anomaly.latent_scorer import LatentAnomalyScorer, fit_latent_scorer
from distspec.archives.registry import get_archive
from distspec.core import memory as memory_module
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.bad_pixels import find_bad_pixels
from distspec.models.model import Model, load_model
from distspec.stages.assign import map_row_blocks
from distspec.stages.session import require_worker_slots
from distspec.store.store import Store, open_store

ROWS_PER_TASK = 4096
"""Rows of a task: it holds their spectra and reconstructions."""
N_MODEL_ERROR_SPECTRA = 4000
"""Spectra of the sample from which the model's usual error is taken."""
REQUIRED_LATENTS = ("z_mean", "amplitude", "artefact_scatter")
"""What a model's latents say of each row, that is needed here."""


@dataclass(frozen=True)
class _ScoringContext:
    """What spectra are held against, and where they are.

    Attributes
    ----------
    scorer : Scorer
    model_error : (L,)
        The model's usual error.
    store_url, snapshot_id, model_url : str
    """

    scorer: LatentAnomalyScorer
    model_error: Floats32
    store_url: str
    snapshot_id: str
    model_url: str

    def compute_residuals_and_density(
        self, rows: NDArray[np.int64], latents: Mapping[str, Floats32], scaled_latents: Floats32
    ) -> _ScoreParts:
        store, model = _open_cached(self.store_url, self.snapshot_id, self.model_url)
        flux, ivar, recon, z = _load_spectra(store, model, rows, latents)
        detector = get_archive(store.config.archive_name).disperser
        scatter, grid = latents["artefact_scatter"], store.config.grid
        left = compute_residual_statistics(flux, ivar, recon, scatter, self.model_error, z, grid, detector)
        return left | self.scorer.compute_scores(scaled_latents)


_ScoreParts = dict[str, Floats32]


@lru_cache(maxsize=1)
def _open_cached(store_url: str, snapshot_id: str, model_url: str) -> tuple[Store, Model]:
    torch.set_num_threads(1)
    return open_store(store_url, snapshot_id), load_model(model_url)


def _load_spectra(
    store: Store, model: Model, rows: NDArray[np.int64], latents: Mapping[str, Floats32]
) -> tuple[Floats32, Floats32, Floats32, Floats]:
    """Return flux, ivar without bad pixels, reconstruction (n, L), and redshifts (n,) of rows."""
    flux, ivar = store.read_spectra(rows)
    z = np.asarray(store.open_array("z"))[rows]
    found = find_bad_pixels(flux, ivar, z, store.config.grid, get_archive(store.config.archive_name).disperser)
    recon = latents["amplitude"][:, None] * model.decode(latents["z_mean"], z)
    return flux, np.where(found.bad_pixels, np.float32(0.0), ivar), recon, z


@ray.remote(num_cpus=1, max_retries=3)
def _score_rows(
    context: _ScoringContext,
    rows: NDArray[np.int64],
    latents: Mapping[str, Floats32],
    scaled_latents: Floats32,
) -> _ScoreParts:
    return context.compute_residuals_and_density(rows, latents, scaled_latents)


def score_anomalies(
    store: Store,
    model_url: str,
    rows: NDArray[np.int64],
    latents: Mapping[str, Floats32],
    scaled_latents: Floats32,
    reference_rows: NDArray[np.int64],
    seed: int,
) -> tuple[dict[str, Floats32], Floats32]:
    """Return how odd each spectrum is by itself, (N,) each, and the model's usual error, (L,).

    The first is what `distspec.anomaly.score.ReferenceDistribution` takes.

    Parameters
    ----------
    store : Store
    model_url : str
        Its folder.
    rows : (N,)
        Of the store.
    scaled_latents : mapping
        `REQUIRED_LATENTS` of them, among others.
    scaled_latents : (N, D)
        In which density and distance are taken.
    reference_rows : (S,)
        Which of them tell what is ordinary.
    seed : int
    """
    needed = {name: latents[name] for name in REQUIRED_LATENTS}
    few = reference_rows[
        np.linspace(0, len(reference_rows) - 1, min(len(reference_rows), N_MODEL_ERROR_SPECTRA)).astype(
            np.int64
        )
    ]
    few_said = {name: values[few] for name, values in needed.items()}
    flux, ivar, recon, _ = _load_spectra(store, load_model(model_url), rows[few], few_said)
    error = estimate_model_error(flux, ivar, recon, few_said["artefact_scatter"])
    ordinary = _ScoringContext(
        fit_latent_scorer(scaled_latents[reference_rows], seed),
        error,
        store.url,
        store.snapshot_id,
        model_url,
    )
    shared = ray.put(ordinary)

    def submit(span: slice) -> Any:
        part = {name: values[span] for name, values in needed.items()}
        return task.remote(shared, rows[span], part, scaled_latents[span])

    memory = memory_module.estimate_inference_memory(ROWS_PER_TASK, store.config.grid.n_pixels)
    require_worker_slots(
        "a task that judges oddities", {"CPU": 1.0, "memory": memory}, "use a grid of fewer pixels"
    )
    task: Any = _score_rows.options(memory=memory)
    return map_row_blocks("oddities", len(rows), submit, ROWS_PER_TASK), error
