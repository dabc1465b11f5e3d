"""Training of the label classifier on the current labels, and publication of its predictions."""

from __future__ import annotations

import pyarrow as pa

from distspec.archives.registry import get_archive
from distspec.catalog.config import CatalogConfig
from distspec.catalog.editions import find_record, open_record_tables, publish
from distspec.core import schema
from distspec.core.errors import LabelError
from distspec.io.lease import Lease
from distspec.io.paths import store_url
from distspec.labels.annotations import current_annotations, read_annotations
from distspec.labels.consensus import consensus_labels, labels_checksum
from distspec.labels.predict import predict_labels, select_input_columns
from distspec.store.store import open_store

LABEL_TABLES = ("predictions", "label_scores")
"""Tables that depend on labels."""


def publish_label_predictions(root: str, alpha: float, lease: Lease | None = None) -> dict[str, pa.Table]:
    """Train the label classifier on the current labels and publish its predictions as a new edition.

    All other tables of the current edition are reused.

    Parameters
    ----------
    root : str
        Root URL.
    alpha : float
        Conformal miscoverage level: prediction sets miss the true label with at most this probability.
    lease : Lease, optional
        Lease on the root.

    Returns
    -------
    dict of str to Table
        The new tables, as returned by `distspec.labels.predict.predict_labels`.

    Raises
    ------
    NotFoundError
        If nothing is published.
    LabelError
        If no spectrum of the published run has a label.
    """
    CatalogConfig(alpha=alpha)  # checks the value
    record = find_record(root)
    published = open_record_tables(root, record)["objects"]
    archive_name = open_store(store_url(root), record.snapshot_id).config.archive_name
    measurements = get_archive(archive_name).measurements
    objects = published.to_table(columns=select_input_columns(measurements, published.schema.names))
    metadata = published.schema.metadata
    provenance = {name: metadata[name.encode()].decode() for name in schema.PROVENANCE_KEYS}
    consensus = consensus_labels(current_annotations(read_annotations(root)))
    tables = predict_labels(objects, measurements, consensus, alpha, provenance)
    if not tables:
        raise LabelError(
            f"no published spectrum under {root} has a label: add labels with `distspec label FILE`"
        )
    inputs = {**record.inputs, "label_predictions": {"labels": labels_checksum(root), "alpha": alpha}}
    reused = [name for name in record.files if name not in LABEL_TABLES]
    publish(root, tables, record.run_id, record.snapshot_id, inputs, reused, record, lease)
    return tables
