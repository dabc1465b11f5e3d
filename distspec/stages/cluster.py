"""The cluster stage: a sweep on a sample, then classes and anomaly scores of all spectra."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.score import ReferenceDistribution, compute_anomaly_scores
from distspec.archives.base import Archive
from distspec.archives.registry import get_archive
from distspec.catalog.run_record import CostRecord, RunRecord, has_run
from distspec.catalog.runs import (
    build_clustering_table,
    build_confusion_table,
    build_latent_pairs_table,
    build_null_tests_table,
    build_selection_record,
    build_sweep_table,
    compute_run_id,
    find_selected_trial,
    save_run,
)
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.cost import (
    SweepCost,
    get_memory_usage,
)
from distspec.clustering.diagnostics import LatentPair, compare_latent_pairs, compute_class_confusion
from distspec.clustering.feature_space import (
    ClusteringInputs,
    LatentScaler,
    compute_posterior_widths,
    select_sample_rows,
)
from distspec.clustering.labeler import Assignment
from distspec.core.errors import NotFoundError
from distspec.core.records import collect_versions, utc_now_iso
from distspec.core.spectrum import Floats
from distspec.inference.describe import (
    SpectrumFeatures,
    build_clustering_inputs,
    fit_latent_scaler,
)
from distspec.inference.latents import SpectrumLatents
from distspec.inference.run_model import RUN_MODEL_FILE, RunModel
from distspec.io.files import delete_folder, write_arrays
from distspec.io.paths import join_url, model_url, run_url, store_url
from distspec.measurements.features import N_POSTERIOR_DRAWS, list_reconstruction_columns
from distspec.models.latents import count_embedded, read_latents
from distspec.models.model import load_model
from distspec.models.record import read_model_record
from distspec.stages.assign import assign_classes, compute_all_features, score_anomalies
from distspec.stages.result import StageResult, SummaryValue
from distspec.stages.sweep import SweepResult, run_sweep
from distspec.store.store import Store, open_store

log = logging.getLogger("distspec")
WORK_FOLDER = "work"
"""Folder of a run in which the results of jobs are kept until the run is complete."""


def cluster(
    root: str,
    model_ids: Sequence[str],
    config: ClusteringConfig,
    seed: int,
    resolved_config: Mapping[str, Any],
) -> StageResult:
    """Cluster the embedded spectra of a store and write the run.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    model_ids : sequence of str
        Models whose latents are clustered. Those of the first are published, too.
    config : ClusteringConfig
        Settings of the sweep.
    seed : int
        Seed of the sample, the maps and the sweep.
    resolved_config : mapping
        All settings, as JSON values, for the record of the run.

    Raises
    ------
    NotFoundError
        If a model has not embedded all spectra.
    """
    store = open_store(store_url(root))
    run_id = compute_run_id(model_ids, store.dataset_checksum(), config, seed)
    url = run_url(root, run_id)
    if has_run(url):
        return StageResult({"run": run_id}, did_work=False)
    archive = get_archive(store.config.archive_name)
    rows = store.current_rows()
    model_id = model_ids[0]
    models = [
        # The errors of the measurements, which need posterior draws, are published for the first model alone.
        _describe_model(root, store, archive, name, rows, config, 0 if i else N_POSTERIOR_DRAWS)
        for i, name in enumerate(model_ids)
    ]
    clustering = cluster_spectra([model.inputs for model in models], config, seed, join_url(url, WORK_FOLDER))
    latents, labels = models[0].latents, clustering.assignment.labels
    posterior_widths = compute_posterior_widths(latents.z_log_var)
    scaled_latents = (latents.z_mean / posterior_widths).astype(np.float32)
    raw = score_anomalies(
        store, model_url(root, model_id), rows, latents, scaled_latents, clustering.sample_rows, seed
    )
    ledger = store.ledger(["object_id", "snr"]).take(pa.array(rows))
    snr = ledger["snr"].to_numpy()
    reference = ReferenceDistribution.from_raw_scores(raw.values, snr, labels)
    anomaly_scores = compute_anomaly_scores(raw.values, snr, labels, latents.bad_pixel_score, reference)
    redshift = float(np.median(np.asarray(store.open_array("z"))[rows]))
    latent_pairs = _compare_latents(model_url(root, model_id), latents, redshift, seed)
    tables = _build_tables(
        ledger["object_id"], archive, models[0].features, clustering, anomaly_scores, latent_pairs
    )
    run_model = RunModel(
        labeler=clustering.sweep.labeler,
        scalers=[model.scaler for model in models],
        posterior_widths=posterior_widths,
        reference_latents=scaled_latents[clustering.sample_rows],
        seed=seed,
        model_error=raw.model_error,
        reference_distribution=reference,
    )
    record = _build_record(root, store, run_id, model_ids, clustering, config, seed, resolved_config)
    log.info("cluster: %s", record.clustering.describe_verdict(int(labels.max(initial=-1)) + 1))
    files = {RUN_MODEL_FILE: write_arrays(join_url(url, RUN_MODEL_FILE), run_model.to_arrays())}
    save_run(url, tables, replace(record, files=files))
    delete_folder(join_url(url, WORK_FOLDER))
    return StageResult(
        {"run": run_id, "trials": len(clustering.sweep.trial_results), **_summarize(clustering)}
    )


@dataclass(frozen=True)
class _ModelDescription:
    """The current rows of the store as described by one model.

    Attributes
    ----------
    latents : SpectrumLatents
        Latents of the spectra.
    features : SpectrumFeatures
        Clustering features.
    scaler : LatentScaler
        Scale of the latents.
    inputs : ClusteringInputs
        Points to cluster.
    """

    latents: SpectrumLatents
    features: SpectrumFeatures
    scaler: LatentScaler
    inputs: ClusteringInputs


def _describe_model(
    root: str,
    store: Store,
    archive: type[Archive],
    model_id: str,
    rows: NDArray[np.int64],
    config: ClusteringConfig,
    n_draws: int,
) -> _ModelDescription:
    """Read the latents of a model, measure its reconstructions, and scale both for clustering."""
    n_embedded = count_embedded(store, model_id)
    if n_embedded < store.n_rows:
        raise NotFoundError(
            f"model {model_id} has embedded {n_embedded} of {store.n_rows} spectra of {store.url}: "
            f"run `distspec run embed RECIPE --root {root}` with these settings first"
        )
    measurements = archive.measurements
    latents = SpectrumLatents(read_latents(store, model_id)).take(rows)
    features = compute_all_features(
        model_url(root, model_id), measurements, store.config.grid.n_pixels, latents, config.spaces, n_draws
    )
    scaler = fit_latent_scaler(latents, measurements, config)
    inputs = build_clustering_inputs(latents, features, scaler, measurements, config)
    return _ModelDescription(latents, features, scaler, inputs)


@dataclass(frozen=True)
class ClusteringResult:
    """Result of a sweep, and the classes of all spectra.

    Attributes
    ----------
    sample_rows : ndarray of shape (n_sample,)
        Positions of the spectra that the sweep was fitted to.
    sweep : SweepResult
        Result of the sweep on the sample.
    assignment : Assignment
        Classes of all spectra, with their positions on the displayed map.
    actual_cost : SweepCost
        Measured cost of the sweep.
    """

    sample_rows: NDArray[np.int64]
    sweep: SweepResult
    assignment: Assignment
    actual_cost: SweepCost


def cluster_spectra(
    model_inputs: Sequence[ClusteringInputs], config: ClusteringConfig, seed: int, work_url: str
) -> ClusteringResult:
    """Run the sweep on a sample of spectra, select a setting, and assign all spectra to its classes.

    Parameters
    ----------
    model_inputs : sequence of ClusteringInputs
        All spectra as derived from each model, the run's own first. If there are fewer than `config` asks
        for, the ensemble is one of these models.
    config : ClusteringConfig
        Settings of the sweep.
    seed : int
        Seed of the sample, the maps and the sweep.
    work_url : str
        Folder in which the results of jobs are kept until the run is complete.

    Returns
    -------
    ClusteringResult
    """
    n = len(model_inputs[0])
    config = replace(config, n_models=len(model_inputs))
    rng = np.random.default_rng([seed, n])
    sample_rows = select_sample_rows(model_inputs[0].latents, config.sample_size, rng)
    is_sampled = len(sample_rows) < n
    sample = [inputs.take(sample_rows) for inputs in model_inputs] if is_sampled else model_inputs
    sweep = run_sweep(sample, n, config, seed, work_url)
    if is_sampled:
        assignment = assign_classes(sweep.labeler, model_inputs)
    else:
        assignment = sweep.sample_assignment
        if assignment is None:
            assignment = assign_classes(replace(sweep.labeler, display_umap=None), model_inputs)
        coordinates = sweep.display_umap.coordinates.astype(np.float32)
        assignment = replace(assignment, umap_coordinates=coordinates)
    actual_cost = SweepCost(sweep.seconds, sweep.actor_peak_mb, get_memory_usage().peak_mb)
    if sweep.expected_cost.seconds:
        log.info("cluster: the sweep took %s", actual_cost)
    return ClusteringResult(sample_rows, sweep, assignment, actual_cost)


def _compare_latents(url: str, latents: SpectrumLatents, redshift: float, seed: int) -> list[LatentPair]:
    """Compare all pairs of latents, decoded at one redshift."""
    model = load_model(url)
    return compare_latent_pairs(
        latents.z_mean,
        latents.z_log_var,
        lambda z_mean: model.decode(z_mean, redshift),
        np.random.default_rng(seed),
    )


def _build_tables(
    object_id: pa.ChunkedArray,
    archive: type[Archive],
    features: SpectrumFeatures,
    clustering: ClusteringResult,
    anomaly_scores: Mapping[str, Floats],
    latent_pairs: Sequence[LatentPair],
) -> dict[str, pa.Table]:
    """Build the tables of the run."""
    assignment = clustering.assignment
    columns = list_reconstruction_columns(archive.measurements) if features.measurements else ()
    return {
        "clustering": build_clustering_table(
            object_id, assignment, anomaly_scores, features.measurements, columns
        ),
        "sweep": build_sweep_table(
            clustering.sweep.trial_results, clustering.sweep.scores, clustering.sweep.selection
        ),
        "null_tests": build_null_tests_table(clustering.sweep.trial_results),
        "confusion": build_confusion_table(
            compute_class_confusion(assignment.labels, assignment.prob), object_id
        ),
        "latent_pairs": build_latent_pairs_table(latent_pairs),
    }


def _build_record(
    root: str,
    store: Store,
    run_id: str,
    model_ids: Sequence[str],
    clustering: ClusteringResult,
    config: ClusteringConfig,
    seed: int,
    resolved_config: Mapping[str, Any],
) -> RunRecord:
    """Build the record of the run."""
    models = {model_id: read_model_record(model_url(root, model_id)) for model_id in model_ids}
    own = models[model_ids[0]]
    return RunRecord(
        run_id=run_id,
        recipe=str(resolved_config["recipe"]),
        model_id=own.model_id,
        models={model_id: record.checksum for model_id, record in models.items()},
        additional_models=tuple(model_ids[1:]),
        weights_sha256=own.weights_sha256,
        snapshot_id=store.snapshot_id,
        dataset_checksum=store.dataset_checksum(),
        seed=seed,
        created=utc_now_iso(),
        versions=collect_versions(),
        clustering=build_selection_record(
            clustering.sweep.scores,
            clustering.sweep.selection,
            clustering.assignment,
            config,
            len(clustering.sweep.data_results),
        ),
        config=resolved_config,
        adaptations=(
            *own.adaptations,
            *_describe_missing_models(len(model_ids), config),
            *clustering.sweep.adaptations,
        ),
        expected_cost=CostRecord(**asdict(clustering.sweep.expected_cost)),
        actual_cost=CostRecord(**asdict(clustering.actual_cost)),
    )


def _describe_missing_models(n_models: int, config: ClusteringConfig) -> list[str]:
    """Return a sentence if there are fewer models than the settings ask for."""
    if n_models >= config.n_clustered_models:
        return []
    return [
        f"stability is that of {n_models} model instead of {config.n_clustered_models}: a pretrained model "
        "has no others that were trained like it, and classes may depend on its weights"
    ]


def _summarize(clustering: ClusteringResult) -> dict[str, SummaryValue]:
    """Return what is logged about the selected clustering: classes, or groups that do not beat the null."""
    scores, selection = clustering.sweep.scores, clustering.sweep.selection
    n_groups = int(clustering.assignment.labels.max(initial=-1)) + 1
    if selection is None:
        return {"classes": n_groups}
    beats_null = scores.beats_null(selection.setting)
    selected = clustering.sweep.data_results[find_selected_trial(selection, scores)]
    return {
        "groups" if beats_null is False else "classes": n_groups,
        "selected": str(selection.setting),
        "silhouette": selected.scores.silhouette,
        "stability": scores.mean_stability(selection.setting),
        "null_test": "none" if beats_null is None else "beaten" if beats_null else "not beaten",
    }
