"""What a model and a run came from: their names, and the records of runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from distspec import schema
from distspec.clustering import Clustering, ClusteringConfig
from distspec.places import exists, get_json, get_table, join, put_json, put_table
from distspec.spectrum import Floats
from distspec.training import TrainingConfig
from distspec.vae import VAEConfig

PACKAGES = ("distspec", "numpy", "torch", "ray", "zarr", "icechunk", "scikit-learn", "umap-learn")


def fingerprint(*parts: object) -> str:
    """Return 12 hex digits that name what was put in.

    Examples
    --------
    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def model_id(digest: str, vae: VAEConfig, training: TrainingConfig, seed: int) -> str:
    """Name the model that these settings make of a data set: the same settings find it again.

    Parameters
    ----------
    digest : str
        Of the data set: `distspec.store.Store.digest`.
    """
    return "m-" + fingerprint(digest, asdict(vae), training.defining(), seed)


def run_id(model: str, clustering: ClusteringConfig, seed: int) -> str:
    """Name the run that clusters a model's latents with these settings."""
    what = {k: v for k, v in asdict(clustering).items() if k != "actors"}
    return "r-" + fingerprint(model, what, seed)


def now() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of distspec and of what its numbers depend on."""
    return {name: version(name) for name in PACKAGES}


def save_run(
    url: str,
    object_id: pa.ChunkedArray,
    points: Floats,
    chosen: Clustering,
    sweep: Sequence[Mapping[str, Any]],
    record: Mapping[str, Any],
) -> None:
    """Write a run's folder; run.json comes last, so a folder that has one is whole.

    Parameters
    ----------
    url : str
        `distspec.places.run_url`.
    object_id : (N,) str
    points : (N, 2)
        The map.
    chosen : Clustering
    sweep : rows of `distspec.schema.SWEEP`, less the number of the trial
    record : mapping
    """
    rows = [{"trial": i, **row} for i, row in enumerate(sweep)]
    trials = {c.name: [row[c.name] for row in rows] for c in schema.SWEEP}
    put_table(join(url, "sweep.parquet"), schema.conform(trials, schema.SWEEP, {}))
    labels = pa.table(
        {
            "object_id": object_id,
            "umap_0": points[:, 0],
            "umap_1": points[:, 1],
            "cluster_label": chosen.labels,
            "cluster_prob": chosen.prob.max(axis=1),
        }
    )
    put_table(join(url, "clustering.parquet"), labels)
    put_json(join(url, "run.json"), record)


def has_run(url: str) -> bool:
    """Tell whether a whole run lies at `url`."""
    return exists(join(url, "run.json"))


def load_run(url: str) -> tuple[dict[str, Any], pa.Table, pa.Table]:
    """Return a run's record, its labels (a row a spectrum) and its sweep (a row a trial)."""
    labels, sweep = (
        get_table(join(url, "clustering.parquet")),
        get_table(join(url, "sweep.parquet")),
    )
    return get_json(join(url, "run.json")), labels, sweep
