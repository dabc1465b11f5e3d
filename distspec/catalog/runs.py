"""The tables of a run: what it says of every spectrum, of every trial, of classes and of latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.clustering.config import ClusteringConfig
from distspec.clustering.selection import Choice, Judgement, Way
from distspec.clustering.trials import Result
from distspec.core import schema
from distspec.core.records import fingerprint, sealed
from distspec.core.spectrum import Floats32
from distspec.io.files import exists, get_json, get_table, put_json, put_table
from distspec.io.paths import join

RUN_TABLES = ("clustering", "sweep", "nulls", "confusion", "latents")
"""A row a spectrum, a trial, a trial on structureless data, a pair of classes, a pair of latents."""


def run_id(model: str, digest: str, clustering: ClusteringConfig, seed: int) -> str:
    """Name the run that clusters what a model says of a data set with these settings."""
    return "r-" + fingerprint(model, digest, clustering.defining(), seed)


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
        f"{name}.parquet": put_table(join(url, f"{name}.parquet"), tables[name]) for name in RUN_TABLES
    }
    put_json(join(url, "run.json"), sealed({**record, "files": {**record.get("files", {}), **written}}))


def has_run(url: str) -> bool:
    """Tell whether a whole run lies at `url`."""
    return exists(join(url, "run.json"))


def load_run(url: str) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """Return a run's record and its `RUN_TABLES`."""
    tables = {name: get_table(join(url, f"{name}.parquet")) for name in RUN_TABLES}
    return get_json(join(url, "run.json")), tables


def clustering_table(
    object_id: pa.ChunkedArray,
    points: Floats32,
    said: Mapping[str, Any],
    odd: Mapping[str, Any],
    measures: Mapping[str, Floats32],
    columns: Sequence[schema.Column],
) -> pa.Table:
    """Return a row a spectrum.

    Parameters
    ----------
    object_id : (N,) str
    points : (N, 2)
        The map.
    said : mapping
        ``label``, ``prob``, ``entropy``, ``stability``: see `distspec.stages.assign.described`.
    odd : mapping
        What `distspec.anomaly.score.combine` returns.
    measures : mapping
        What `columns` say, (N,) each.
    columns : sequence of Column
    """
    prob, label = said["prob"], said["label"]
    own = np.where(label >= 0, np.take_along_axis(prob, np.maximum(label, 0)[:, None], 1)[:, 0], 0.0)
    values: dict[str, Any] = {
        "object_id": object_id,
        "umap_0": points[:, 0],
        "umap_1": points[:, 1],
        "cluster_label": label,
        "cluster_prob": own,
        "cluster_entropy": said["entropy"],
        "cluster_stability": said["stability"],
        **{f"cluster_prob_{k:02d}": prob[:, k] for k in range(prob.shape[1])},
        **odd,
        "anomaly_rank": odd["anomaly_rank"].astype(np.int32),
        **measures,
    }
    known = (schema.OBJECT_ID, *schema.clustering(prob.shape[1]), *schema.ODDNESS, *columns)
    return schema.conform(values, known, {})


def sweep_table(results: Sequence[Result], judgement: Judgement, choice: Choice | None) -> pa.Table:
    """Return a row a trial on the sample itself; the chosen one marked, of a consensus its first repeat."""
    own = [each for each in results if not each.trial.data.is_null]
    chosen = None
    if choice is not None:
        chosen = judgement.repeats[choice.way][0] if choice.trial is None else choice.trial
    test = judgement.silhouette
    rows = [
        {
            **_row(i, each),
            "null_percentile": test.percentile[Way.of(each)] if test else float("nan"),
            "stability": judgement.stability[i],
            "chosen": i == chosen,
        }
        for i, each in enumerate(own)
    ]
    return schema.conform({c.name: [row[c.name] for row in rows] for c in schema.SWEEP}, schema.SWEEP, {})


def nulls_table(results: Sequence[Result]) -> pa.Table:
    """Return a row a trial on structureless data."""
    rows = [
        {"null": each.trial.data.kind, "draw": each.trial.data.draw, **_row(i, each)}
        for i, each in enumerate(each for each in results if each.trial.data.is_null)
    ]
    return schema.conform({c.name: [row[c.name] for row in rows] for c in schema.NULLS}, schema.NULLS, {})


def _row(number: int, result: Result) -> dict[str, Any]:
    trial, space = result.trial, result.trial.space
    return {
        "trial": number,
        "space": space.name,
        "n_neighbors": space.n_neighbors,
        "dims": space.dims,
        "map_seed": space.seed,
        **trial.setting._asdict(),
        "k": trial.setting.k or result.n_clusters,
        "repeat": trial.repeat,
        "seed": trial.seed,
        "n_clusters": result.n_clusters,
        "sizes": result.sizes.tolist(),
        "noise_share": result.noise_share,
        **result.scores,
        "seconds": result.seconds,
    }


def confusion_table(rows: Sequence[Mapping[str, Any]], object_id: pa.ChunkedArray) -> pa.Table:
    """Return rows of `distspec.clustering.diagnostics.confusion`, their examples by name."""
    columns = {c.name: [row[c.name] for row in rows] for c in schema.CONFUSION}
    columns["examples"] = [object_id.take(pa.array(row["examples"], pa.int64())).to_pylist() for row in rows]
    return schema.conform(columns, schema.CONFUSION, {})


def latents_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows of `distspec.clustering.diagnostics.latent_pairs`."""
    columns = {c.name: [row[c.name] for row in rows] for c in schema.LATENT_PAIRS}
    return schema.conform(columns, schema.LATENT_PAIRS, {})
