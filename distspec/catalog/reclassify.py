"""NEEDS A DOCSTRING."""

from __future__ import annotations

import pyarrow as pa

from distspec.catalog.editions import CatalogConfig, publish, record_of, tables_of
from distspec.core import schema
from distspec.io.lease import Lease
from distspec.io.paths import store_url
from distspec.labels.annotations import digest, history, standing, verdicts
from distspec.labels.predict import columns_for, predict
from distspec.store.store import open_store

LEARNT = ("predictions", "label_scores")
"""Tables that people's labels make."""


def classify(root: str, error: float, lease: Lease | None = None) -> dict[str, pa.Table]:
    """Learn people's labels anew and publish what that says; the other tables stay as they are.

    Parameters
    ----------
    root : str
    error : float
        See `distspec.catalog.editions.CatalogConfig`.
    lease : Lease, optional
        Of the root.

    Returns
    -------
    dict
        See `predict`.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
    ValueError
        When nobody labelled a spectrum of the published run.
    """
    CatalogConfig(error=error)
    record = record_of(root)
    published = tables_of(root, record)["objects"]
    kind = open_store(store_url(root), record["snapshot_id"]).frozen.kind
    objects = published.to_table(columns=columns_for(kind, published.schema.names))
    metadata = published.schema.metadata
    origin = {name: metadata[name.encode()].decode() for name in schema.ORIGIN}
    tables = predict(objects, kind, verdicts(standing(history(root))), error, origin)
    if not tables:
        raise ValueError(f"no labels of the spectra published under {root}: `distspec label FILE` adds some")
    made_with = record["made_with"] | {"classified": {"labels": digest(root), "error": error}}
    kept = [name for name in record["files"] if name not in LEARNT]
    publish(root, tables, record["run_id"], record["snapshot_id"], made_with, kept, record, lease)
    return tables
