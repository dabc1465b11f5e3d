"""The folder of a run, ``runs/<run_id>``: its tables, and reading and writing them with the run's record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.catalog.run_record import (
    RECORD_FILE,
    NullTestRecord,
    RunRecord,
    SelectionRecord,
    read_run_record,
)
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.diagnostics import ClassConfusion, LatentPair
from distspec.clustering.labeler import Assignment
from distspec.clustering.null_tests import NullTest
from distspec.clustering.selection import Selection
from distspec.clustering.sweep_scores import SweepScores, SweepSetting
from distspec.clustering.trials import TrialResult
from distspec.core import schema
from distspec.core.records import CHECKSUM_KEY, add_checksum, compute_fingerprint
from distspec.core.spectrum import Floats32
from distspec.io.files import read_table, write_json, write_table
from distspec.io.paths import join_url

RUN_TABLES = ("clustering", "sweep", "null_tests", "confusion", "latent_pairs")
"""Tables of a run: one row per spectrum, trial, null trial, pair of classes and pair of latents."""


def compute_run_id(
    model_ids: Sequence[str], dataset_checksum: str, clustering: ClusteringConfig, seed: int
) -> str:
    """Return the identifier of the run of models, a data set and clustering settings.

    Parameters
    ----------
    model_ids : sequence of str
        Models whose latents are clustered, that whose latents are published first.
    dataset_checksum : str
        Checksum of the store's current rows.
    clustering : ClusteringConfig
        Settings; those that do not change the result are ignored.
    seed : int
        Seed of the run.
    """
    return "r-" + compute_fingerprint(*model_ids, dataset_checksum, clustering.get_defining_settings(), seed)


def save_run(url: str, tables: Mapping[str, pa.Table], record: RunRecord) -> None:
    """Write the folder of a run. The record ``run.json`` is written last and marks the folder as complete.

    Parameters
    ----------
    url : str
        Folder of the run (`distspec.io.paths.run_url`).
    tables : mapping of str to Table
        The tables `RUN_TABLES`.
    record : RunRecord
        Record of the run; `files` has the SHA-256 of other files in the folder, and those of the tables are
        added.
    """
    written = {
        f"{name}.parquet": write_table(join_url(url, f"{name}.parquet"), tables[name]) for name in RUN_TABLES
    }
    content = replace(record, files={**record.files, **written}).to_json()
    del content[CHECKSUM_KEY]
    write_json(join_url(url, RECORD_FILE), add_checksum(content))


def load_run(url: str) -> tuple[RunRecord, dict[str, pa.Table]]:
    """Read the record and the tables of a run.

    Parameters
    ----------
    url : str
        Folder of the run.

    Returns
    -------
    record : RunRecord, tables : dict of str to pyarrow.Table
        The record, and the tables `RUN_TABLES` by name.
    """
    tables = {name: read_table(join_url(url, f"{name}.parquet")) for name in RUN_TABLES}
    return read_run_record(url), tables


def build_clustering_table(
    object_id: pa.ChunkedArray,
    assignment: Assignment,
    anomalies: Mapping[str, Any],
    measurements: Mapping[str, Floats32],
    columns: Sequence[schema.Column],
) -> pa.Table:
    """Build the table ``clustering``, one row per spectrum.

    Parameters
    ----------
    object_id : ChunkedArray of shape (n_spectra,)
        Identifiers of the spectra.
    assignment : Assignment
        Classes of the spectra, and their positions on the displayed map.
    anomalies : mapping of str to ndarray of shape (n_spectra,)
        Scores from `distspec.anomaly.score.compute_anomaly_scores`.
    measurements : mapping of str to ndarray of shape (n_spectra,)
        Measurements of the reconstructions, by column name.
    columns : sequence of Column
        Columns of `measurements`.
    """
    prob, coordinates = assignment.prob, assignment.umap_coordinates
    if coordinates is None:
        raise ValueError("the assignment has no positions on the displayed map")
    values: dict[str, Any] = {
        "object_id": object_id,
        "umap_0": coordinates[:, 0],
        "umap_1": coordinates[:, 1],
        "cluster_label": assignment.labels,
        "cluster_prob": assignment.own_prob,
        "cluster_entropy": assignment.entropy,
        "cluster_stability": assignment.stability,
        **{f"cluster_prob_{k:02d}": prob[:, k] for k in range(prob.shape[1])},
        **anomalies,
        "anomaly_rank": anomalies["anomaly_rank"].astype(np.int32),
        **measurements,
    }
    known = (
        schema.OBJECT_ID,
        *schema.build_clustering_columns(prob.shape[1]),
        *schema.ANOMALY_COLUMNS,
        *columns,
    )
    return schema.build_table(values, known, {})


def build_sweep_table(
    results: Sequence[TrialResult], sweep_scores: SweepScores, selection: Selection | None
) -> pa.Table:
    """Build the table ``sweep``, one row per trial on the sample.

    Parameters
    ----------
    results : sequence of TrialResult
        Results of all trials; those on null data are left out.
    sweep_scores : SweepScores
        Scores of the settings.
    selection : Selection or None
        The selected setting; ``selected`` marks its trial, or its first ensemble member for a consensus.
    """
    real_results = [result for result in results if not result.trial.dataset.is_null]
    selected = None if selection is None else find_selected_trial(selection, sweep_scores)
    test = sweep_scores.silhouette_test
    rows = [
        {
            **_trial_row(i, result),
            "null_quantile": test.quantile[SweepSetting.from_result(result)] if test else float("nan"),
            "stability": sweep_scores.stability[i],
            "selected": i == selected,
        }
        for i, result in enumerate(real_results)
    ]
    return schema.build_table(
        {c.name: [row[c.name] for row in rows] for c in schema.SWEEP_SCHEMA}, schema.SWEEP_SCHEMA, {}
    )


def find_selected_trial(selection: Selection, sweep_scores: SweepScores) -> int:
    """Return the index of the trial that represents the selected setting: a consensus's first member.

    Parameters
    ----------
    selection : Selection
        The selected setting.
    sweep_scores : SweepScores
        Scores of the settings.

    Returns
    -------
    int
        Index among the results on the data.
    """
    if selection.trial_index is not None:
        return selection.trial_index
    return sweep_scores.members[selection.setting][0]


def build_null_tests_table(results: Sequence[TrialResult]) -> pa.Table:
    """Build the table ``null_tests``, one row per trial on null data.

    Parameters
    ----------
    results : sequence of TrialResult
        Results of all trials.

    Returns
    -------
    pyarrow.Table
    """
    rows = [
        {
            "null_model": result.trial.dataset.null_model,
            "draw": result.trial.dataset.number,
            **_trial_row(i, result),
        }
        for i, result in enumerate(result for result in results if result.trial.dataset.is_null)
    ]
    return schema.build_table(
        {c.name: [row[c.name] for row in rows] for c in schema.NULL_TESTS_SCHEMA},
        schema.NULL_TESTS_SCHEMA,
        {},
    )


def _trial_row(trial_index: int, trial_result: TrialResult) -> dict[str, Any]:
    """Return the columns that ``sweep`` and ``null_tests`` share."""
    trial, space = trial_result.trial, trial_result.trial.space
    return {
        "trial": trial_index,
        "model": 0 if trial.dataset.is_null else trial.dataset.number,
        "space": space.name,
        "n_neighbors": space.umap_n_neighbors,
        "dims": space.umap_dims,
        "map_seed": space.umap_seed,
        **trial.algorithm_spec._asdict(),
        "k": trial.algorithm_spec.k or trial_result.n_clusters,
        "member": trial.member,
        "seed": trial.seed,
        "n_clusters": trial_result.n_clusters,
        "sizes": trial_result.sizes.tolist(),
        "noise_fraction": trial_result.noise_fraction,
        **asdict(trial_result.scores),
        "seconds": trial_result.seconds,
    }


def build_confusion_table(pairs: Sequence[ClassConfusion], object_id: pa.ChunkedArray) -> pa.Table:
    """Build the table ``confusion``.

    Parameters
    ----------
    pairs : sequence of ClassConfusion
        Result of `distspec.clustering.diagnostics.compute_class_confusion`.
    object_id : ChunkedArray of shape (n_spectra,)
        Identifiers of the spectra.
    """
    examples = [object_id.take(pa.array(pair.example_rows, pa.int64())).to_pylist() for pair in pairs]
    columns = {
        "cluster_label": [pair.cluster_label for pair in pairs],
        "other_label": [pair.other_label for pair in pairs],
        "share": [pair.share for pair in pairs],
        "n_ambiguous": [pair.n_ambiguous for pair in pairs],
        "examples": examples,
    }
    return schema.build_table(columns, schema.CONFUSION_SCHEMA, {})


def build_latent_pairs_table(pairs: Sequence[LatentPair]) -> pa.Table:
    """Build the table ``latent_pairs`` from `distspec.clustering.diagnostics.compare_latent_pairs`.

    Parameters
    ----------
    pairs : sequence of LatentPair
        One row of the table each.
    """
    columns = {c.name: [getattr(pair, c.name) for pair in pairs] for c in schema.LATENT_PAIRS_SCHEMA}
    return schema.build_table(columns, schema.LATENT_PAIRS_SCHEMA, {})


def build_selection_record(
    sweep_scores: SweepScores,
    selection: Selection | None,
    assignment: Assignment,
    config: ClusteringConfig,
    n_trials: int,
) -> SelectionRecord:
    """Build the part of a run's record that describes the selected clustering.

    Parameters
    ----------
    sweep_scores : SweepScores
        Scores of the settings.
    selection : Selection or None
        The selected setting; None if nothing could be clustered.
    assignment : Assignment
        Classes of all spectra.
    config : ClusteringConfig
        Settings of the sweep.
    n_trials : int
        Number of trials on the sample itself.
    """
    core_fraction = float((assignment.stability >= config.min_core_stability).mean())
    record = SelectionRecord(
        selection_rule=config.selection_rule,
        n_trials=n_trials,
        min_core_stability=config.min_core_stability,
        core_fraction=core_fraction,
        reason="the sample could not be divided" if selection is None else selection.reason,
    )
    if selection is None:
        return record
    setting = selection.setting
    return replace(
        record,
        beats_null=sweep_scores.beats_null(setting),
        setting=str(setting),
        space=setting.space,
        **setting.algorithm_spec._asdict(),
        stability=sweep_scores.mean_stability(setting),
        min_stability=config.min_stability,
        rerun_agreement=selection.rerun_agreement,
        alpha=config.alpha,
        n_null_draws=config.n_null_draws,
        silhouette_test=_build_null_test_record(sweep_scores.silhouette_test, setting),
        stability_test=_build_null_test_record(sweep_scores.stability_test, setting),
    )


def _build_null_test_record(
    test: NullTest[SweepSetting] | None, setting: SweepSetting
) -> NullTestRecord | None:
    if test is None:
        return None
    return NullTestRecord(
        test.quantile[setting], test.null_mean[setting], test.z_score[setting], test.p_value[setting]
    )
