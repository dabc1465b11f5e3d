"""A model or a run made again from its record, in a root of its own, and held against what it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from distspec.catalog.runs import load_run
from distspec.clustering.config import ClusteringConfig
from distspec.core.records import tuples, versions
from distspec.io.files import exists, get_json
from distspec.io.lease import hold
from distspec.io.paths import join, model_url, run_url
from distspec.models.config import VAEConfig
from distspec.models.serialization import adopt, read_model, read_record
from distspec.stages.cluster import cluster
from distspec.stages.embed import embed_store
from distspec.stages.train import train
from distspec.store.snapshots import clone
from distspec.training.config import TrainingConfig

Settings = TypeVar("Settings", ClusteringConfig, TrainingConfig, VAEConfig)
TIMES = "seconds"
"""The column that is never the same again."""


def remake(root: str, name: str, into: str) -> list[str]:
    """Make a model or a run again from its record, in another root.

    The store is copied as it was. A run is made with its own models, each copied; a model is trained anew.

    Parameters
    ----------
    root : str
    name : str
        m-… or r-….
    into : str
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
        When there is a store in `into`.
    ValueError
        When its snapshot is gone, or its record has settings that this distspec does not know.
    """
    if name.startswith("m-"):
        return list(_remake_model(root, name, into))
    record = _record_of_run(root, name)
    settings = _settings(ClusteringConfig, record["config"]["clustering"], f"runs/{name}/run.json")
    with hold(root, "remake"):
        clone(root, record["snapshot_id"], into)
    for model in record["models"]:
        adopt(into, model_url(root, model))
        embed_store(into, model)
    made = cluster(into, record["model_id"], settings, record["seed"], record["config"]).counts["run"]
    _, before = load_run(run_url(root, name))
    _, after = load_run(run_url(into, str(made)))
    return [problem for table in before for problem in differing(table, before[table], after[table])]


def newer(root: str, name: str) -> Mapping[str, tuple[str, str]]:
    """Return what made a model or a run and is of another version now: by name, then and now."""
    record = read_record(model_url(root, name)) if name.startswith("m-") else _record_of_run(root, name)
    then, here = record["versions"], versions()
    return {each: (then.get(each, "none"), here[each]) for each in here if then.get(each) != here[each]}


def _record_of_run(root: str, name: str) -> dict[str, Any]:
    url = join(run_url(root, name), "run.json")
    if not exists(url):
        raise FileNotFoundError(
            f"no run {name} under {root}: `distspec runs` lists those that were published"
        )
    return get_json(url)


def _remake_model(root: str, name: str, into: str) -> Iterator[str]:
    record = read_record(model_url(root, name))
    where = f"models/{name}/model.json"
    vae = _settings(VAEConfig, record["vae"], where)
    training = _settings(TrainingConfig, record["training"], where)
    with hold(root, "remake"):
        clone(root, record["snapshot_id"], into)
    if record["parent"]:
        adopt(into, model_url(root, record["parent"]))
    made = str(train(into, vae, training, record["seed"], record["parent"]).counts["model"])
    if made != name:
        yield f"{name} is called {made} now: settings came that it did not have"
    before, after = (
        read_model(model_url(at, each))[0].state_dict() for at, each in ((root, name), (into, made))
    )
    for weights, value in before.items():
        apart = float((value.double() - after[weights].double()).abs().max())
        if apart > 0.0:
            yield f"{weights} differ by up to {apart:.2g} (largest value {float(value.abs().max()):.2g})"


def _settings(kind: type[Settings], record: Mapping[str, Any], where: str) -> Settings:
    known = {field.name for field in fields(kind)}
    if unknown := sorted(record.keys() - known):
        raise ValueError(f"{where} sets {', '.join(unknown)}, which this distspec does not know: upgrade")
    return kind(**tuples(record))


def differing(name: str, before: pa.Table, after: pa.Table) -> Iterator[str]:
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
        if column == TIMES:
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
