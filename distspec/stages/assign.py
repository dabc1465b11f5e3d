"""Ray tasks on blocks of rows: the features, classes and anomaly scores of all spectra."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from distspec.anomaly.latent_density import LatentDensity, fit_latent_density
from distspec.anomaly.residuals import estimate_model_error
from distspec.archives.registry import get_archive
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.labeler import Assignment, EnsembleLabeler
from distspec.core import memory as memory_module
from distspec.core.spectrum import Floats32
from distspec.inference.describe import SpectrumFeatures, compute_spectrum_features
from distspec.inference.latents import (
    ReconstructedSpectra,
    SpectrumLatents,
    compute_raw_anomaly_scores,
    mask_bad_pixels,
    reconstruct_spectra,
)
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.features import N_POSTERIOR_DRAWS
from distspec.models.model import Model, load_model
from distspec.stages.pool import count_retries, map_ordered
from distspec.stages.progress import Progress
from distspec.stages.session import default_max_in_flight, require_worker_slots
from distspec.store.store import Store, open_store

ROWS_PER_TASK = 16_384
"""Number of rows of a task; a multiple of the rows of a model's forward pass."""
ROWS_PER_SCORING_TASK = 4096
"""Number of rows of a task that holds spectra and their reconstructions."""
N_MODEL_ERROR_SPECTRA = 4000
"""Number of spectra of the sample from which the relative error of the reconstructions is estimated."""
SCORING_COLUMNS = ("z_mean", "amplitude", "artefact_scatter")
"""Columns of the latents that anomaly scores need."""


@dataclass(frozen=True)
class RawAnomalyScores:
    """Raw anomaly scores of spectra, and the estimates that they were computed with.

    Attributes
    ----------
    values : mapping of str to ndarray of shape (n_spectra,)
        What `distspec.anomaly.score.ReferenceDistribution` takes.
    model_error : ndarray of shape (n_pixels,)
        Relative error of the reconstructions.
    """

    values: Mapping[str, Floats32]
    model_error: Floats32


def compute_all_features(
    model_url: str,
    measurements: MeasurementSet,
    n_pixels: int,
    latents: SpectrumLatents,
    spaces: Sequence[str],
    n_draws: int = N_POSTERIOR_DRAWS,
) -> SpectrumFeatures:
    """Compute the clustering features of all embedded spectra.

    Parameters
    ----------
    model_url : str
        Folder of the model.
    measurements : MeasurementSet
        The archive's measurements.
    n_pixels : int
        Number of pixels of the grid.
    latents : SpectrumLatents
        Latents of the spectra by the model.
    spaces : sequence of str
        Names of the spaces that are clustered; without "features" no task is started.
    n_draws : int
        Number of posterior draws for the errors of the measurements, which features do not depend on.
    """
    if "features" not in spaces:
        return SpectrumFeatures({}, np.zeros((len(latents), 0)))
    memory = memory_module.estimate_measurement_memory(n_pixels)
    require_worker_slots(
        "a task that measures reconstructions",
        {"CPU": 1.0, "memory": memory},
        "use a grid of fewer pixels",
    )
    task = _compute_features.options(memory=memory)
    parts = map_row_blocks(
        "measure",
        len(latents),
        lambda rows: task.remote(model_url, measurements, latents.take(rows), spaces, n_draws),
    )
    return SpectrumFeatures.concatenate(parts)


@ray.remote(num_cpus=1, max_retries=3)
@count_retries
def _compute_features(
    model_url: str,
    measurements: MeasurementSet,
    latents: SpectrumLatents,
    spaces: Sequence[str],
    n_draws: int,
) -> SpectrumFeatures:
    torch.set_num_threads(1)
    return compute_spectrum_features(load_model(model_url), measurements, latents, spaces, n_draws)


def assign_classes(labeler: EnsembleLabeler, model_inputs: Sequence[ClusteringInputs]) -> Assignment:
    """Assign all spectra to classes.

    Parameters
    ----------
    labeler : EnsembleLabeler
        Fitted ensemble.
    model_inputs : sequence of ClusteringInputs
        All spectra, as derived from each model.
    """
    consensus = labeler.consensus
    n_dims = model_inputs[0].latents.shape[1] + model_inputs[0].features.shape[1]
    n_clusters = max(map(len, consensus.class_given_cluster))
    memory = memory_module.estimate_labeling_memory(
        ROWS_PER_TASK, len(labeler.members), n_clusters, len(consensus.labels), n_dims
    )
    require_worker_slots(
        "a task that assigns classes",
        {"CPU": 1.0, "memory": memory},
        "lower --clustering.n-seeds or --clustering.sample-size",
    )
    shared, task = ray.put(labeler), _assign.options(memory=memory)
    parts = map_row_blocks(
        "assign",
        len(model_inputs[0]),
        lambda rows: task.remote(shared, [inputs.take(rows) for inputs in model_inputs]),
    )
    return Assignment.concatenate(parts)


@ray.remote(num_cpus=1, max_retries=3)
@count_retries
def _assign(labeler: EnsembleLabeler, model_inputs: Sequence[ClusteringInputs]) -> Assignment:
    return labeler.assign(model_inputs)


def score_anomalies(
    store: Store,
    model_url: str,
    rows: NDArray[np.int64],
    latents: SpectrumLatents,
    scaled_latents: Floats32,
    sample_rows: NDArray[np.int64],
    seed: int,
) -> RawAnomalyScores:
    """Compute the raw anomaly scores of all spectra.

    Parameters
    ----------
    store : Store
        Store of the spectra.
    model_url : str
        Folder of the model.
    rows : ndarray of shape (n_spectra,)
        Rows of the spectra in the store.
    latents : SpectrumLatents
        Their latents.
    scaled_latents : ndarray of shape (n_spectra, n_latents)
        Latents in units of the posterior widths, in which the density is measured.
    sample_rows : ndarray of shape (n_sample,)
        Positions, among the spectra, of the sample that anomalies are measured against.
    seed : int
        Seed of the run.
    """
    needed = SpectrumLatents({name: latents.columns[name] for name in SCORING_COLUMNS})
    n_error = min(len(sample_rows), N_MODEL_ERROR_SPECTRA)
    error_rows = sample_rows[np.linspace(0, len(sample_rows) - 1, n_error).astype(np.int64)]
    sample = _read_reconstructed(store, load_model(model_url), rows[error_rows], needed.take(error_rows))
    model_error = estimate_model_error(sample.flux, sample.ivar, sample.recon, sample.scatter_ratio)
    context = ScoringContext(
        fit_latent_density(scaled_latents[sample_rows], seed),
        model_error,
        store.url,
        store.snapshot_id,
        model_url,
    )
    memory = memory_module.estimate_inference_memory(ROWS_PER_SCORING_TASK, store.config.grid.n_pixels)
    require_worker_slots(
        "a task that scores anomalies", {"CPU": 1.0, "memory": memory}, "use a grid of fewer pixels"
    )
    shared, task = ray.put(context), _score_rows.options(memory=memory)
    parts = map_row_blocks(
        "score",
        len(rows),
        lambda block: task.remote(shared, rows[block], needed.take(block), scaled_latents[block]),
        ROWS_PER_SCORING_TASK,
    )
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return RawAnomalyScores(values, model_error)


@dataclass(frozen=True)
class ScoringContext:
    """What all scoring tasks share.

    Attributes
    ----------
    latent_density : LatentDensity
        Density of the latents of the sample.
    model_error : ndarray of shape (n_pixels,)
        Relative error of the reconstructions.
    store_url, snapshot_id, model_url : str
        Where spectra and model are read.
    """

    latent_density: LatentDensity
    model_error: Floats32
    store_url: str
    snapshot_id: str
    model_url: str


@ray.remote(num_cpus=1, max_retries=3)
@count_retries
def _score_rows(
    context: ScoringContext, rows: NDArray[np.int64], latents: SpectrumLatents, scaled_latents: Floats32
) -> dict[str, Floats32]:
    return score_rows(context, rows, latents, scaled_latents)


def score_rows(
    context: ScoringContext, rows: NDArray[np.int64], latents: SpectrumLatents, scaled_latents: Floats32
) -> dict[str, Floats32]:
    """Compute the raw anomaly scores of some rows of the store.

    Parameters
    ----------
    context : ScoringContext
        Store, model and density.
    rows : ndarray of shape (n_spectra,)
        Rows of the store.
    latents : SpectrumLatents
        Their latents, at least `SCORING_COLUMNS`.
    scaled_latents : ndarray of shape (n_spectra, n_latents)
        Latents in units of the posterior widths.
    """
    store, model = _open_cached(context.store_url, context.snapshot_id, context.model_url)
    spectra = _read_reconstructed(store, model, rows, latents)
    disperser = get_archive(store.config.archive_name).disperser
    return compute_raw_anomaly_scores(
        spectra, scaled_latents, context.model_error, context.latent_density, store.config.grid, disperser
    )


@lru_cache(maxsize=1)
def _open_cached(store_url: str, snapshot_id: str, model_url: str) -> tuple[Store, Model]:
    torch.set_num_threads(1)
    return open_store(store_url, snapshot_id), load_model(model_url)


def _read_reconstructed(
    store: Store, model: Model, rows: NDArray[np.int64], latents: SpectrumLatents
) -> ReconstructedSpectra:
    """Read rows of the store, mask their bad pixels and reconstruct them."""
    flux, ivar = store.read_spectra(rows)
    z = np.asarray(store.open_array("z"))[rows]
    disperser = get_archive(store.config.archive_name).disperser
    masked_ivar = mask_bad_pixels(flux, ivar, z, store.config.grid, disperser)
    return reconstruct_spectra(model, latents, flux, masked_ivar, z)


def map_row_blocks(
    task_name: str, n_rows: int, submit: Callable[[slice], Any], block_rows: int = ROWS_PER_TASK
) -> list[Any]:
    """Return the results of tasks on consecutive blocks of rows, in order.

    Parameters
    ----------
    task_name : str
        Name of the tasks in the progress display.
    n_rows : int
        Number of rows.
    submit : callable
        Takes the slice of a block; returns a Ray reference to the result of its task.
    block_rows : int
        Number of rows of a block.
    """
    blocks = [slice(start, min(start + block_rows, n_rows)) for start in range(0, n_rows, block_rows)]
    results = map_ordered(submit, blocks, default_max_in_flight)
    return list(Progress(task_name, len(blocks), "block").track(results))
