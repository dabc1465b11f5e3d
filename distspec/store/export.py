"""Copies of the store that need nothing but Zarr."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import zarr
from tqdm import tqdm
from zarr.errors import ContainsGroupError, ZarrUserWarning
from zarr.storage import LocalStore, ObjectStore

from distspec.io import storage
from distspec.store.store import Store

COPY_ROWS = 8192
"""Rows copied at a time."""


def export_zarr(store: Store, url: str) -> int:
    """Write one state of the store as plain Zarr v3, and return its rows.

    Every array is copied as it is, all rows included; ``standing`` (row,) tells which of them count now. The
    consolidated metadata comes last: where it is, the copy is whole.

    Parameters
    ----------
    store : Store
    url : str
        A new folder, or s3://, gs:// or az:// bucket and prefix.

    Raises
    ------
    ValueError
        When something lies at `url` already.
    """
    target = _open_target(url)
    try:
        group = zarr.create_group(target)
    except (FileExistsError, ContainsGroupError) as error:
        raise ValueError(f"{url} holds a Zarr group already: export to another place") from error
    group.attrs.update({**dict(store.group.attrs), "snapshot_id": store.snapshot_id})
    arrays = {
        path: node for path, node in store.group.members(max_depth=None) if isinstance(node, zarr.Array)
    }
    n_cells = sum(array.shape[0] for array in arrays.values())
    with tqdm(total=n_cells, desc="export", unit="row", disable=None) as bar:
        for path, array in sorted(arrays.items()):
            _copy_array(array, group, path, bar)
    standing = np.zeros(store.n_rows, dtype=bool)
    standing[store.current_rows()] = True
    group.create_array("standing", data=standing, dimension_names=("row",))
    with warnings.catch_warnings():
        # Readers of version 3 know it, and those that do not read what is there all the same.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(target)
    return store.n_rows


def _copy_array(array: zarr.Array[Any], group: zarr.Group, path: str, bar: Any) -> None:
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
    return (
        LocalStore(key) if scheme == "file" else ObjectStore(storage.open_bucket_from_env(scheme, name, key))
    )
