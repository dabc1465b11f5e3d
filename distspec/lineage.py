"""What a model and a run came from: their names, the code that made them, and records that vouch for both.

A record is sealed: it holds a SHA-256 over everything else that it says. It vouches for files by theirs, and
for the record before it by that one's seal, so a catalogue's record vouches for all that it came from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version
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
    """Return the versions of distspec, of its code, and of what its numbers depend on."""
    return {"code": code(), "python": python_version(), **{name: version(name) for name in PACKAGES}}


@cache
def code() -> str:
    """Return 12 hex digits that name the source that runs, however it was installed."""
    package = Path(__file__).parent
    files = sorted(package.rglob("*.py"))
    return fingerprint([(file.relative_to(package).as_posix(), file.read_text()) for file in files])


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its seal."""
    return {**record, "seal": _seal(record)}


def is_intact(record: Mapping[str, Any]) -> bool:
    """Tell whether a record says what it said when it was sealed.

    Examples
    --------
    >>> record = sealed({"model_id": "m-1", "seed": 0})
    >>> is_intact(record), is_intact({**record, "seed": 1})
    (True, False)
    """
    return record.get("seal") == _seal({name: value for name, value in record.items() if name != "seal"})


def _seal(record: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(record))  # tuples and numbers as names come back as lists and texts
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


def save_run(url: str, tables: Mapping[str, pa.Table], record: Mapping[str, Any]) -> None:
    """Write a run's folder; run.json comes last, so a folder that has one is whole.

    Parameters
    ----------
    url : str
        `distspec.places.run_url`.
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
