"""NEEDS A DOCSTRING."""

from __future__ import annotations

import pyarrow as pa

from distspec.archives.registry import get_archive
from distspec.catalog.editions import CatalogConfig, find_record, open_record_tables, publish
from distspec.core import schema
from distspec.io.lease import Lease
from distspec.io.paths import store_url
from distspec.labels.annotations import (
    consensus_labels,
    current_annotations,
    labels_checksum,
    read_annotations,
)
from distspec.labels.predict import predict_labels, select_input_columns
from distspec.store.store import open_store

LABEL_TABLES = ("predictions", "label_scores")
"""Tables that people's labels make."""


def publish_label_predictions(root: str, alpha: float, lease: Lease | None = None) -> dict[str, pa.Table]:
    """Learn people's labels anew and publish what that says; the other tables stay as they are.

    Parameters
    ----------
    root : str
    alpha : float
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
    CatalogConfig(alpha=alpha)
    record = find_record(root)
    published = open_record_tables(root, record)["objects"]
    store = open_store(store_url(root), record["snapshot_id"])
    measurements = get_archive(store.config.archive_name).measurements
    objects = published.to_table(columns=select_input_columns(measurements, published.schema.names))
    metadata = published.schema.metadata
    origin = {name: metadata[name.encode()].decode() for name in schema.PROVENANCE_KEYS}
    tables = predict_labels(
        objects, measurements, consensus_labels(current_annotations(read_annotations(root))), alpha, origin
    )
    if not tables:
        raise ValueError(f"no labels of the spectra published under {root}: `distspec label FILE` adds some")
    made_with = record["made_with"] | {"classified": {"labels": labels_checksum(root), "error": alpha}}
    kept = [name for name in record["files"] if name not in LABEL_TABLES]
    publish(root, tables, record["run_id"], record["snapshot_id"], made_with, kept, record, lease)
    return tables
