"""Where everything lies under a root, and writing that is seen whole or not at all."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq


def join(url: str, *parts: str) -> str:
    """Return a URL below another.

    Examples
    --------
    >>> join("s3://bucket/root/", "models", "m-1")
    's3://bucket/root/models/m-1'
    """
    return "/".join([url.rstrip("/"), *parts])


def store_url(root: str) -> str:
    """Return where the growing store is."""
    return join(root, "store")


def model_url(root: str, model_id: str) -> str:
    """Return the folder of a model."""
    return join(root, "models", model_id)


def run_url(root: str, run_id: str) -> str:
    """Return the folder of a run."""
    return join(root, "runs", run_id)


def catalog_url(root: str) -> str:
    """Return the folder of the published catalogues."""
    return join(root, "catalog")


def exists(url: str) -> bool:
    """Tell whether there is a file at `url`."""
    fs, path = fsspec.core.url_to_fs(url)
    return bool(fs.exists(path))


def put(url: str, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    An object store's put is atomic by itself; a local file is written beside its place and renamed.
    """
    fs, path = fsspec.core.url_to_fs(url)
    if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    else:
        fs.pipe_file(path, content)


def get(url: str) -> bytes:
    """Read a file."""
    fs, path = fsspec.core.url_to_fs(url)
    return bytes(fs.cat_file(path))


def put_json(url: str, record: Mapping[str, Any]) -> None:
    """Write a record as JSON."""
    put(url, json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False).encode())


def get_json(url: str) -> dict[str, Any]:
    """Read a JSON record."""
    return json.loads(get(url))


def put_table(url: str, table: pa.Table, row_group_size: int = 65_536) -> None:
    """Write a table as one Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=row_group_size)
    put(url, buffer.getvalue())


def get_table(url: str) -> pa.Table:
    """Read a Parquet file."""
    return pq.read_table(io.BytesIO(get(url)))
