"""Reproduction of a model or a run from its record, in another root, and comparison with the original."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from distspec.catalog.run_record import RunRecord, has_run, read_run_record
from distspec.catalog.runs import load_run
from distspec.clustering.config import ClusteringConfig
from distspec.core.errors import ConfigError, NotFoundError
from distspec.core.records import collect_versions, lists_to_tuples
from distspec.io.lease import hold_lease
from distspec.io.paths import model_url, run_url
from distspec.models.record import read_model_record
from distspec.models.serialization import import_model, load_vae
from distspec.stages.cluster import cluster
from distspec.stages.config import RayConfig
from distspec.stages.embed import embed_store
from distspec.stages.job import ray_job
from distspec.stages.train import train
from distspec.store.snapshots import clone_store
from distspec.training.config import TrainingConfig

DEFAULT_RAY = RayConfig()
ConfigT = TypeVar("ConfigT", ClusteringConfig, TrainingConfig)
REMOVED_SETTING = "extra_models"
"""Setting that earlier versions recorded for every run; it has no effect if it is empty."""
VOLATILE_COLUMN = "seconds"
"""Column that is never compared: it holds the times that trials took."""


@dataclass(frozen=True)
class VersionChange:
    """A package whose version differs from the recorded one.

    Attributes
    ----------
    package : str
        Name of the package, "code" for distspec's own source, or "python".
    recorded : str
        Version with which the original was made; "none" if it is not recorded.
    installed : str
        Version that is installed.
    """

    package: str
    recorded: str
    installed: str


@dataclass(frozen=True)
class Reproduction:
    """Result of a reproduction.

    Attributes
    ----------
    version_changes : tuple of VersionChange
        Packages of other versions than those that made the original.
    differences : tuple of str
        Descriptions of the differences from the original; empty if there are none.
    """

    version_changes: tuple[VersionChange, ...]
    differences: tuple[str, ...]


def reproduce(
    root: str, model_or_run_id: str, target_root: str, ray: RayConfig = DEFAULT_RAY
) -> Reproduction:
    """Make a model or a run again from its record, in another root, and compare it with the original.

    The store is copied as it was. A run is made with copies of its own models; a model is trained anew.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    model_or_run_id : str
        Id of a model (m-…) or of a run (r-…).
    target_root : str
        Root that does not hold a store yet.
    ray : RayConfig
        Ray cluster to use.

    Raises
    ------
    NotFoundError
        If there is no such model or run.
    StoreError
        If ``target_root`` holds a store already, or the snapshot is missing.
    ConfigError
        If the record contains settings that this version of distspec does not know.
    """
    is_model = model_or_run_id.startswith("m-")
    make = _reproduce_model if is_model else _reproduce_run
    changes = find_version_changes(root, model_or_run_id)
    return Reproduction(changes, tuple(make(root, model_or_run_id, target_root, ray)))


def find_version_changes(root: str, model_or_run_id: str) -> tuple[VersionChange, ...]:
    """Return the packages whose versions differ from those recorded by a model or a run.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    model_or_run_id : str
        Id of a model (m-…) or of a run (r-…).
    """
    if model_or_run_id.startswith("m-"):
        recorded = read_model_record(model_url(root, model_or_run_id)).versions
    else:
        recorded = _read_run_record(root, model_or_run_id).versions
    return tuple(
        VersionChange(name, recorded.get(name, "none"), installed)
        for name, installed in collect_versions().items()
        if recorded.get(name) != installed
    )


def _read_run_record(root: str, run_id: str) -> RunRecord:
    url = run_url(root, run_id)
    if not has_run(url):
        raise NotFoundError(f"no run {run_id} under {root}: `distspec runs` lists those that were published")
    return read_run_record(url)


@contextmanager
def _copied_store(root: str, snapshot_id: str, target_root: str, ray: RayConfig) -> Generator[None]:
    """Copy the store as it was to the other root, where a job runs within the block."""
    with hold_lease(root, "reproduce"):
        clone_store(root, snapshot_id, target_root)
    with ray_job(target_root, "reproduce", ray) as job_log:
        yield
        job_log.did_work = True


def _reproduce_run(root: str, run_id: str, target_root: str, ray: RayConfig) -> Iterator[str]:
    record = _read_run_record(root, run_id)
    recorded = dict(record.config["clustering"])
    if not recorded.get(REMOVED_SETTING):
        recorded.pop(REMOVED_SETTING, None)
    settings = _parse_config(ClusteringConfig, recorded, f"runs/{run_id}/run.json")
    with _copied_store(root, record.snapshot_id, target_root, ray):
        for model_id in record.model_ids:
            import_model(target_root, model_url(root, model_id))
            embed_store(target_root, model_id)
        result = cluster(target_root, record.model_ids, settings, record.seed, dict(record.config))
    _, before = load_run(run_url(root, run_id))
    _, after = load_run(run_url(target_root, str(result.summary["run"])))
    for name in before:
        yield from compare_tables(name, before[name], after[name])


def _reproduce_model(root: str, model_id: str, target_root: str, ray: RayConfig) -> Iterator[str]:
    record = read_model_record(model_url(root, model_id))
    training = _parse_config(TrainingConfig, record.training, f"models/{model_id}/model.json")
    with _copied_store(root, record.snapshot_id, target_root, ray):
        if record.parent_model_id:
            import_model(target_root, model_url(root, record.parent_model_id))
        result = train(target_root, record.vae, training, record.seed, record.parent_model_id)
    new_id = str(result.summary["model"])
    if new_id != model_id:
        yield f"{model_id} is now {new_id}: this version of distspec has settings that its record lacks"
    before, _ = load_vae(model_url(root, model_id))
    after, _ = load_vae(model_url(target_root, new_id))
    yield from _compare_weights(before.state_dict(), after.state_dict())


def _compare_weights(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name, value in before.items():
        difference = float((value.double() - after[name].double()).abs().max())
        if difference > 0.0:
            yield f"{name} differs by up to {difference:.2g} (largest value {float(value.abs().max()):.2g})"


def _parse_config(config_class: type[ConfigT], record: Mapping[str, Any], path: str) -> ConfigT:
    known = {field.name for field in fields(config_class)}
    if unknown := sorted(record.keys() - known):
        raise ConfigError(
            f"{path} sets {', '.join(unknown)}, which this version of distspec does not know: "
            "use the version that made it"
        )
    return config_class(**lists_to_tuples(record))


def compare_tables(name: str, before: pa.Table, after: pa.Table) -> Iterator[str]:
    """Yield descriptions of the columns in which two versions of a table differ.

    Parameters
    ----------
    name : str
        Name of the table.
    before, after : Table
        The two versions; `VOLATILE_COLUMN` is not compared.
    """
    if len(before) != len(after):
        yield f"{name} has {len(after):,} rows, the original has {len(before):,}"
        return
    for column in before.column_names:
        if column == VOLATILE_COLUMN:
            continue
        if column not in after.column_names:
            yield f"{name} has no column {column}"
        elif pa.types.is_floating(before[column].type):
            old, new = (table[column].to_numpy() for table in (before, after))
            differs = ~((old == new) | (np.isnan(old) & np.isnan(new)))
            if differs.any():
                largest = np.abs(old - new)[differs].max()
                yield f"{name}: {column} differs in {int(differs.sum()):,} rows, by up to {largest:.2g}"
        else:
            values = (table[column].to_pylist() for table in (before, after))
            if n := sum(old != new for old, new in zip(*values, strict=True)):
                yield f"{name}: {column} differs in {n:,} rows"
