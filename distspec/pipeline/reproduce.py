"""A model or a run made again from its record, in a root of its own, and held against what it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from distspec.catalog.runs import load_run
from distspec.clustering.config import ClusteringConfig
from distspec.core.records import collect_versions, lists_to_tuples
from distspec.io.files import read_json, url_exists
from distspec.io.lease import hold_lease
from distspec.io.paths import join_url, model_url, run_url
from distspec.models.config import VAEConfig
from distspec.models.serialization import import_model, load_vae, read_model_record
from distspec.stages.cluster import cluster
from distspec.stages.embed import embed_store
from distspec.stages.train import train
from distspec.store.snapshots import clone_store
from distspec.training.config import TrainingConfig

ConfigT = TypeVar("ConfigT", ClusteringConfig, TrainingConfig, VAEConfig)
VOLATILE_COLUMN = "seconds"
"""The column that is never the same again."""


def reproduce(root: str, model_or_run_id: str, target_root: str) -> list[str]:
    """Make a model or a run again from its record, in another root.

    The store is copied as it was. A run is made with its own models, each copied; a model is trained anew.

    Parameters
    ----------
    root : str
    model_or_run_id : str
        m-… or r-….
    target_root : str
        A root that holds no store yet.

    Returns
    -------
    list of str
        What came out otherwise, in words; empty where nothing did.

    Raises
    ------
    FileNotFoundError
        When there is no such model or run.
    FileExistsError
        When there is a store in `target_root`.
    ValueError
        When its snapshot is gone, or its record has settings that this distspec does not know.
    """
    if model_or_run_id.startswith("m-"):
        return list(_reproduce_model(root, model_or_run_id, target_root))
    record = _read_run_record(root, model_or_run_id)
    settings = _parse_config(
        ClusteringConfig, record["config"]["clustering"], f"runs/{model_or_run_id}/run.json"
    )
    with hold_lease(root, "remake"):
        clone_store(root, record["snapshot_id"], target_root)
    for model in record["models"]:
        import_model(target_root, model_url(root, model))
        embed_store(target_root, model)
    made = cluster(target_root, record["model_id"], settings, record["seed"], record["config"]).counts["run"]
    _, before = load_run(run_url(root, model_or_run_id))
    _, after = load_run(run_url(target_root, str(made)))
    return [problem for table in before for problem in compare_tables(table, before[table], after[table])]


def find_version_changes(root: str, model_or_run_id: str) -> Mapping[str, tuple[str, str]]:
    """Return what made a model or a run and is of another version now: by name, then and now."""
    record = (
        read_model_record(model_url(root, model_or_run_id))
        if model_or_run_id.startswith("m-")
        else _read_run_record(root, model_or_run_id)
    )
    then, here = record["versions"], collect_versions()
    return {each: (then.get(each, "none"), here[each]) for each in here if then.get(each) != here[each]}


def _read_run_record(root: str, run_id: str) -> dict[str, Any]:
    url = join_url(run_url(root, run_id), "run.json")
    if not url_exists(url):
        raise FileNotFoundError(
            f"no run {run_id} under {root}: `distspec runs` lists those that were published"
        )
    return read_json(url)


def _reproduce_model(root: str, name: str, into: str) -> Iterator[str]:
    record = read_model_record(model_url(root, name))
    where = f"models/{name}/model.json"
    vae = _parse_config(VAEConfig, record["vae"], where)
    training = _parse_config(TrainingConfig, record["training"], where)
    with hold_lease(root, "remake"):
        clone_store(root, record["snapshot_id"], into)
    if record["parent"]:
        import_model(into, model_url(root, record["parent"]))
    made = str(train(into, vae, training, record["seed"], record["parent"]).counts["model"])
    if made != name:
        yield f"{name} is called {made} now: settings came that it did not have"
    before, after = (
        load_vae(model_url(at, each))[0].state_dict() for at, each in ((root, name), (into, made))
    )
    for weights, value in before.items():
        apart = float((value.double() - after[weights].double()).abs().max())
        if apart > 0.0:
            yield f"{weights} differ by up to {apart:.2g} (largest value {float(value.abs().max()):.2g})"


def _parse_config(config_class: type[ConfigT], record: Mapping[str, Any], path: str) -> ConfigT:
    known = {field.name for field in fields(config_class)}
    if unknown := sorted(record.keys() - known):
        raise ValueError(f"{path} sets {', '.join(unknown)}, which this distspec does not know: upgrade")
    return config_class(**lists_to_tuples(record))


def compare_tables(name: str, before: pa.Table, after: pa.Table) -> Iterator[str]:
    """Say in which columns a table came out otherwise; `TIMES` are never the same.

    Parameters
    ----------
    name : str
    before, after : Table
    """
    if len(before) != len(after):
        yield f"{name} has {len(after):,} rows, it had {len(before):,}"
        return
    for column in before.column_names:
        if column == VOLATILE_COLUMN:
            continue
        if column not in after.column_names:
            yield f"{name} has no {column} any more"
        elif pa.types.is_floating(before[column].type):
            then, now = (table[column].to_numpy() for table in (before, after))
            apart = ~((then == now) | (np.isnan(then) & np.isnan(now)))
            if apart.any():
                most = np.abs(then - now)[apart].max()
                yield f"{name}: {column} of {int(apart.sum()):,} rows differs, by up to {most:.2g}"
        elif n := sum(x != y for x, y in zip(*(t[column].to_pylist() for t in (before, after)), strict=True)):
            yield f"{name}: {column} of {n:,} rows differs"
