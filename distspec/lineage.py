"""What a model and a run came from: their names, and the records of runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from distspec.places import exists, get_json, get_table, join, put_json, put_table
from distspec.sweep import ClusteringConfig
from distspec.training import TrainingConfig
from distspec.vae import VAEConfig

PACKAGES = ("distspec", "numpy", "torch", "ray", "zarr", "icechunk", "scikit-learn", "umap-learn")

RUN_TABLES = ("clustering", "sweep", "nulls", "confusion", "latents")
"""A row a spectrum, a trial, a trial on structureless data, a pair of classes, a pair of latents."""


def fingerprint(*parts: object) -> str:
    """Return 12 hex digits that name what was put in.

    Examples
    --------
    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def model_id(digest: str, vae: VAEConfig, training: TrainingConfig, seed: int, parent: str = "") -> str:
    """Name the model that these settings make of a data set: the same settings find it again.

    Parameters
    ----------
    digest : str
        Of the data set: `distspec.store.Store.digest`.
    vae, training, seed
        Its settings.
    parent : str
        The model whose weights it starts from; empty: it starts anew.
    """
    warm = [parent] if parent else []
    return "m-" + fingerprint(digest, asdict(vae), training.defining(), seed, *warm)


def run_id(model: str, digest: str, clustering: ClusteringConfig, seed: int) -> str:
    """Name the run that clusters what a model says of a data set with these settings."""
    return "r-" + fingerprint(model, digest, clustering.defining(), seed)


def now() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of distspec and of what its numbers depend on."""
    return {name: version(name) for name in PACKAGES}


def save_run(url: str, tables: Mapping[str, pa.Table], record: Mapping[str, Any]) -> None:
    """Write a run's folder; run.json comes last, so a folder that has one is whole.

    Parameters
    ----------
    url : str
        `distspec.places.run_url`.
    tables : mapping
        `RUN_TABLES`.
    record : mapping
    """
    for name in RUN_TABLES:
        put_table(join(url, f"{name}.parquet"), tables[name])
    put_json(join(url, "run.json"), record)


def has_run(url: str) -> bool:
    """Tell whether a whole run lies at `url`."""
    return exists(join(url, "run.json"))


def load_run(url: str) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """Return a run's record and its `RUN_TABLES`."""
    tables = {name: get_table(join(url, f"{name}.parquet")) for name in RUN_TABLES}
    return get_json(join(url, "run.json")), tables
