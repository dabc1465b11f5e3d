"""A checksum of a store's content that does not depend on how its rows were committed."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa

from distspec.store.columns import METADATA_COLUMNS
from distspec.store.store import Store


def content_checksum(store: Store) -> str:
    """Return a SHA-256 of every row, its source and its pixels, whatever commits appended them."""
    columns = [name for name in METADATA_COLUMNS if name != "ingest_commit"]
    rows = store.ledger(columns).append_column("withdrawn", pa.array(store.withdrawn_mask()))
    rows = rows.sort_by([("object_id", "ascending"), ("version", "ascending"), ("checksum", "ascending")])
    digest = hashlib.sha256()
    for name in rows.column_names:
        digest.update(name.encode() + json.dumps(rows[name].to_pylist()).encode())
    return digest.hexdigest()
