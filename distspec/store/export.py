"""Export of the store as plain Zarr, which can be read without Icechunk."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import zarr
from tqdm import tqdm
from zarr.errors import ContainsGroupError, ZarrUserWarning
from zarr.storage import LocalStore, ObjectStore

from distspec.core.errors import StoreError
from distspec.io import storage
from distspec.store.store import Store

COPY_ROWS = 8192
"""Approximate number of rows that are copied at a time."""


def export_zarr(store: Store, url: str) -> int:
    """Write one snapshot of the store as plain Zarr v3.

    Every array is copied with all rows; an additional bool array ``is_current`` (row,) marks the rows that
    are neither superseded nor withdrawn. The consolidated metadata is written last, so that an incomplete
    copy can be recognized by its absence.

    Parameters
    ----------
    store : Store
        Snapshot to export.
    url : str
        A new folder, or a URL of the form s3://, gs:// or az:// with bucket and prefix.

    Returns
    -------
    int
        Number of rows written.

    Raises
    ------
    StoreError
        If `url` holds a Zarr group already.
    """
    target = _open_target(url)
    try:
        group = zarr.create_group(target)
    except (FileExistsError, ContainsGroupError) as error:
        raise StoreError(f"{url} holds a Zarr group already: export to another place") from error
    group.attrs.update({**dict(store.group.attrs), "snapshot_id": store.snapshot_id})
    arrays = {
        path: node for path, node in store.group.members(max_depth=None) if isinstance(node, zarr.Array)
    }
    n_values = sum(array.shape[0] for array in arrays.values())
    with tqdm(total=n_values, desc="export", unit="row", disable=None) as bar:
        for path, array in sorted(arrays.items()):
            _copy_array(array, group, path, bar)
    is_current = np.zeros(store.n_rows, dtype=bool)
    is_current[store.current_rows()] = True
    group.create_array("is_current", data=is_current, dimension_names=("row",))
    with warnings.catch_warnings():
        # Zarr warns that version 3 does not specify consolidated metadata; readers that ignore it still work.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(target)
    return store.n_rows


def _copy_array(array: zarr.Array[Any], group: zarr.Group, path: str, bar: Any) -> None:
    """Copy an array with its chunks, dimension names and attributes."""
    copy: Any = group.create_array(
        path,
        shape=array.shape,
        chunks=array.chunks,
        dtype=array.dtype,
        fill_value=array.fill_value,
        dimension_names=array.metadata.dimension_names,  # pyright: ignore
        attributes=dict(array.attrs),
    )
    step = max(array.chunks[0], COPY_ROWS // array.chunks[0] * array.chunks[0])
    for start in range(0, array.shape[0], step):
        rows = slice(start, start + step)
        copy[rows] = array[rows]
        bar.update(min(step, array.shape[0] - start))


def _open_target(url: str) -> Any:
    scheme, name, key = storage.split_url(url)
    return LocalStore(key) if scheme == "file" else ObjectStore(storage.open_bucket(scheme, name, prefix=key))
