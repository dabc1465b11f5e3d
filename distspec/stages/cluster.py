"""Clustering on Ray: the sweep, what is chosen of it, and what that says of every spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.score import ReferenceDistribution, compute_anomaly_scores
from distspec.archives.registry import get_archive
from distspec.catalog.runs import (
    build_clustering_table,
    build_confusion_table,
    build_latent_pairs_table,
    build_null_tests_table,
    build_sweep_table,
    compute_run_id,
    has_run,
    save_run,
)
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.diagnostics import compare_latent_pairs, compute_class_confusion
from distspec.clustering.feature_space import ClusteringInputs, LatentScaler, compute_posterior_widths
from distspec.clustering.selection import Selection, SweepScores
from distspec.clustering.trials import TrialResult
from distspec.core.records import collect_versions, utc_now_iso
from distspec.core.spectrum import Floats32
from distspec.inference.run_model import RUN_MODEL_FILE, RunModel
from distspec.io.files import delete_folder, write_arrays
from distspec.io.paths import join_url, model_url, run_url, store_url
from distspec.measurements.features import compute_features, list_reconstruction_columns
from distspec.models.latents import count_embedded, read_latents
from distspec.models.model import load_model
from distspec.models.record import read_model_record
from distspec.stages.assign import measure_all_reconstructions
from distspec.stages.label import label_spectra
from distspec.stages.result import StageResult
from distspec.stages.score import score_anomalies
from distspec.store.store import Store, open_store


def cluster(
    root: str,
    model: str,
    config: ClusteringConfig,
    seed: int,
    resolved_config: dict[str, Any],
) -> StageResult:
    """Try every clustering of what a model says, keep them all, choose, and label every spectrum.

    Parameters
    ----------
    root : str
    model : str
        Its name.
    config : ClusteringConfig
    seed : int
        Of sample, maps and sweep.
    resolved_config : dict
        The whole configuration, kept with the run.

    Raises
    ------
    FileNotFoundError
        When a model has not embedded every row.
    """
    store = open_store(store_url(root))
    name = compute_run_id(model, store.dataset_checksum(), config, seed)
    url = run_url(root, name)
    if has_run(url):
        return StageResult({"run": name}, did_work=False)
    rows = store.current_rows()
    seen = [_load_model_outputs(root, store, each, rows, config) for each in (model, *config.extra_models)]
    found = label_spectra([each.inputs for each in seen], config, seed, join_url(url, "work"))
    said, judgement, choice = found.assignment, found.sweep_scores, found.selection
    vae, redshifts = load_model(model_url(root, model)), np.asarray(store.open_array("z"))[rows]
    pairs = compare_latent_pairs(
        seen[0].latents["z_mean"],
        seen[0].latents["z_log_var"],
        lambda latent: vae.decode(latent, float(np.median(redshifts))),
        np.random.default_rng(seed),
    )
    answers = seen[0].latents
    widths = compute_posterior_widths(answers["z_log_var"])
    latents = (answers["z_mean"] / widths).astype(np.float32)
    raw, error = score_anomalies(
        store, model_url(root, model), rows, answers, latents, found.sample_rows, seed
    )
    ledger = store.ledger(["object_id", "snr"]).take(pa.array(rows))
    snr = ledger["snr"].to_numpy()
    odd = compute_anomaly_scores(raw, snr, said["label"], answers["artefact_score"])
    object_id = ledger["object_id"]
    measures = {name: seen[0].latents[name] for name in seen[0].measurement_names}
    columns = list_reconstruction_columns(get_archive(store.config.archive_name).measurements) if measures else ()
    tables = {
        "clustering": build_clustering_table(object_id, found.umap_coordinates, said, odd, measures, columns),
        "sweep": build_sweep_table(found.trial_results, judgement, choice),
        "null_tests": build_null_tests_table(found.trial_results),
        "confusion": build_confusion_table(compute_class_confusion(said["label"], said["prob"]), object_id),
        "latent_pairs": build_latent_pairs_table(pairs),
    }
    usual = ReferenceDistribution.from_raw_scores(raw, snr, said["label"])
    kept = RunModel(
        found.labeler, [each.scaler for each in seen], widths, latents[found.sample_rows], seed, error, usual
    )
    trained = {each: read_model_record(model_url(root, each)) for each in (model, *config.extra_models)}
    record = {
        "run_id": name,
        "recipe": resolved_config["recipe"],
        "model_id": model,
        "models": {each: known.checksum for each, known in trained.items()},
        "weights_sha256": trained[model].weights_sha256,
        "snapshot_id": store.snapshot_id,
        "data_digest": store.dataset_checksum(),
        "seed": seed,
        "created": utc_now_iso(),
        "versions": collect_versions(),
        "adaptations": [*trained[model].adaptations, *found.adaptations],
        "clustering": _summarize_selection(judgement, choice, said, config, len(found.data_results)),
        "forecast": {"expected": asdict(found.expected_cost), "took": asdict(found.actual_cost)},
        "config": resolved_config,
        "files": {RUN_MODEL_FILE: write_arrays(join_url(url, RUN_MODEL_FILE), kept.to_arrays())},
    }
    save_run(url, tables, record)
    delete_folder(join_url(url, "work"))
    return StageResult(
        {
            "run": name,
            "trials": len(found.trial_results),
            **_build_stage_metrics(found.data_results, said, judgement, choice),
        }
    )


@dataclass(frozen=True)
class _ModelOutputs:
    """What one model says of every standing row, the names of what was measured on its reconstructions."""

    latents: Mapping[str, Floats32]
    measurement_names: Sequence[str]
    inputs: ClusteringInputs
    scaler: LatentScaler


def _load_model_outputs(
    root: str, store: Store, model: str, rows: NDArray[np.int64], config: ClusteringConfig
) -> _ModelOutputs:
    done = count_embedded(store, model)
    if done < store.n_rows:
        raise FileNotFoundError(
            f"model {model} has embedded {done} of {store.n_rows} rows of {store.url}: "
            "run `python -m jobs.embed` with these settings first"
        )
    measurements = get_archive(store.config.archive_name).measurements
    answers = {name: values[rows] for name, values in read_latents(store, model).items()}
    measured: dict[str, Floats32] = {}
    features = np.zeros((len(rows), 0), np.float32)
    if "features" in config.spaces:
        of = answers["z_mean"], answers["z_log_var"]
        measured = measure_all_reconstructions(
            model_url(root, model), measurements, store.config.grid.n_pixels, *of
        )
        answers |= measured
        features = compute_features(measurements, answers).astype(np.float32)
    consensus = config.selection_rule == "consensus"
    widths = (
        compute_posterior_widths(answers["z_log_var"]) if consensus else np.ones(answers["z_mean"].shape[1])
    )
    beside = measurements.scale_by_error(config.measurements, answers)
    frame = LatentScaler.from_latents(answers["z_mean"], widths, beside)
    sample = frame.transform(answers["z_mean"], beside, features)
    return _ModelOutputs(answers, tuple(measured), sample, frame)


def _summarize_selection(
    sweep_scores: SweepScores,
    selection: Selection | None,
    assignment: Mapping[str, Any],
    config: ClusteringConfig,
    n_trials: int,
) -> dict[str, Any]:
    """Return what run.json says of the choice."""
    found: dict[str, Any] = {"rule": config.selection_rule, "trials": n_trials}
    core = assignment["stability"] >= config.min_core_stability
    found |= {"min_core_stability": config.min_core_stability, "core_fraction": float(core.mean())}
    if selection is None:
        return found | {"why": "nothing could be divided", "beats_null": None}
    found |= {
        "way": str(selection.setting),
        "space": selection.setting.space,
        **selection.setting.algorithm_spec._asdict(),
        "why": selection.reason,
        "stability": sweep_scores.mean_stability(selection.setting),
        "beats_null": sweep_scores.beats_null(selection.setting),
        "level": config.alpha,
        "null_draws": config.n_null_draws,
    }
    for score in ("silhouette", "stability"):
        test = getattr(sweep_scores, f"{score}_test")
        if test is not None:
            found[f"{score}_null"] = {
                "percentile": test.percentile[selection.setting],
                "mean": test.null_mean[selection.setting],
                "excess": test.z_score[selection.setting],
                "chance": test.p_value[selection.setting],
            }
    return found


def _build_stage_metrics(
    data_results: Sequence[TrialResult],
    assignment: Mapping[str, Any],
    sweep_scores: SweepScores,
    selection: Selection | None,
) -> dict[str, int | float | str]:
    counts: dict[str, int | float | str] = {"classes": int(assignment["label"].max(initial=-1)) + 1}
    silhouettes = [each.scores["silhouette"] for each in data_results]
    counts["best_silhouette"] = max(silhouettes, default=float("nan"))
    if selection is not None:
        counts |= {
            "chosen": str(selection.setting),
            "stability": sweep_scores.mean_stability(selection.setting),
        }
        beats = sweep_scores.beats_null(selection.setting)
        counts["null"] = "not drawn" if beats is None else "beaten" if beats else "not beaten"
    return counts
