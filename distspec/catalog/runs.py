"""The tables of a run: what it says of every spectrum, of every trial, of classes and of latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.clustering.config import ClusteringConfig
from distspec.clustering.selection import Selection, SweepScores, SweepSetting
from distspec.clustering.trials import TrialResult
from distspec.core import schema
from distspec.core.records import add_checksum, compute_fingerprint
from distspec.core.spectrum import Floats32
from distspec.io.files import read_json, read_table, url_exists, write_json, write_table
from distspec.io.paths import join_url

RUN_TABLES = ("clustering", "sweep", "null_tests", "confusion", "latent_pairs")
"""A row a spectrum, a trial, a trial on structureless data, a pair of classes, a pair of latents."""


def compute_run_id(model_id: str, data_digest: str, clustering: ClusteringConfig, seed: int) -> str:
    """Name the run that clusters what a model says of a data set with these settings."""
    return "r-" + compute_fingerprint(model_id, data_digest, clustering.get_defining_settings(), seed)


def save_run(url: str, tables: Mapping[str, pa.Table], record: Mapping[str, Any]) -> None:
    """Write a run's folder; run.json comes last, so a folder that has one is whole.

    Parameters
    ----------
    url : str
        `distspec.io.paths.run_url`.
    tables : mapping
        `RUN_TABLES`.
    record : mapping
        Under ``files``, where it is given: SHA-256 of what else lies in the folder, by name.
    """
    written = {
        f"{name}.parquet": write_table(join_url(url, f"{name}.parquet"), tables[name]) for name in RUN_TABLES
    }
    write_json(
        join_url(url, "run.json"), add_checksum({**record, "files": {**record.get("files", {}), **written}})
    )


def has_run(url: str) -> bool:
    """Tell whether a whole run lies at `url`."""
    return url_exists(join_url(url, "run.json"))


def load_run(url: str) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """Return a run's record and its `RUN_TABLES`."""
    tables = {name: read_table(join_url(url, f"{name}.parquet")) for name in RUN_TABLES}
    return read_json(join_url(url, "run.json")), tables


def build_clustering_table(
    object_id: pa.ChunkedArray,
    umap_coordinates: Floats32,
    assignment: Mapping[str, Any],
    anomalies: Mapping[str, Any],
    measurements: Mapping[str, Floats32],
    columns: Sequence[schema.Column],
) -> pa.Table:
    """Return a row a spectrum.

    Parameters
    ----------
    object_id : (N,) str
    umap_coordinates : (N, 2)
        The map.
    assignment : mapping
        ``label``, ``prob``, ``entropy``, ``stability``: see `distspec.stages.assign.described`.
    anomalies : mapping
        What `distspec.anomaly.score.compute_anomaly_scores` returns.
    measurements : mapping
        What `columns` say, (N,) each.
    columns : sequence of Column
    """
    prob, label = assignment["prob"], assignment["label"]
    own = np.where(label >= 0, np.take_along_axis(prob, np.maximum(label, 0)[:, None], 1)[:, 0], 0.0)
    values: dict[str, Any] = {
        "object_id": object_id,
        "umap_0": umap_coordinates[:, 0],
        "umap_1": umap_coordinates[:, 1],
        "cluster_label": label,
        "cluster_prob": own,
        "cluster_entropy": assignment["entropy"],
        "cluster_stability": assignment["stability"],
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
    """Return a row a trial on the sample itself; the chosen one marked, of a consensus its first repeat."""
    own = [each for each in results if not each.trial.dataset.is_null]
    chosen = None
    if selection is not None:
        chosen = (
            sweep_scores.members[selection.setting][0]
            if selection.trial_index is None
            else selection.trial_index
        )
    test = sweep_scores.silhouette_test
    rows = [
        {
            **_trial_row(i, each),
            "null_percentile": test.percentile[SweepSetting.from_result(each)] if test else float("nan"),
            "stability": sweep_scores.stability[i],
            "chosen": i == chosen,
        }
        for i, each in enumerate(own)
    ]
    return schema.build_table(
        {c.name: [row[c.name] for row in rows] for c in schema.SWEEP_SCHEMA}, schema.SWEEP_SCHEMA, {}
    )


def build_null_tests_table(results: Sequence[TrialResult]) -> pa.Table:
    """Return a row a trial on structureless data."""
    rows = [
        {"null_model": each.trial.dataset.null_model, "draw": each.trial.dataset.index, **_trial_row(i, each)}
        for i, each in enumerate(each for each in results if each.trial.dataset.is_null)
    ]
    return schema.build_table(
        {c.name: [row[c.name] for row in rows] for c in schema.NULL_TESTS_SCHEMA},
        schema.NULL_TESTS_SCHEMA,
        {},
    )


def _trial_row(trial_index: int, trial_result: TrialResult) -> dict[str, Any]:
    trial, space = trial_result.trial, trial_result.trial.space
    return {
        "trial": trial_index,
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
        "noise_share": trial_result.noise_fraction,
        **trial_result.scores,
        "seconds": trial_result.seconds,
    }


def build_confusion_table(rows: Sequence[Mapping[str, Any]], object_id: pa.ChunkedArray) -> pa.Table:
    """Return rows of `distspec.clustering.diagnostics.compute_class_confusion`, their examples by name."""
    columns = {c.name: [row[c.name] for row in rows] for c in schema.CONFUSION_SCHEMA}
    columns["examples"] = [object_id.take(pa.array(row["examples"], pa.int64())).to_pylist() for row in rows]
    return schema.build_table(columns, schema.CONFUSION_SCHEMA, {})


def build_latent_pairs_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows of `distspec.clustering.diagnostics.compare_latent_pairs`."""
    columns = {c.name: [row[c.name] for row in rows] for c in schema.LATENT_PAIRS_SCHEMA}
    return schema.build_table(columns, schema.LATENT_PAIRS_SCHEMA, {})
