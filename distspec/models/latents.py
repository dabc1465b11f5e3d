"""What each model says of every row of the store, and what is measured on the row itself.

    latents/<model>/z_mean, z_log_var                       (row, latent)   float32
    latents/<model>/amplitude, recon_mse, recon_chi2_red    (row,)          float32
    latents/<model>/<artefact>                              (row,)          float32     `distspec.measurements.bad_pixels`
    latents/<model>/<measure>                               (row,)          float32     `distspec.measurements.measure`

Rows come in their order, any number in a commit, and the commit says how many are done: a run that is killed
leaves what it committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from distspec.archives.registry import get_archive
from distspec.core.spectrum import Floats32
from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS as ARTEFACTS
from distspec.store.store import Store, open_repository
from distspec.store.transactions import commit_session

VECTOR_COLUMNS = ("z_mean", "z_log_var")
SCALAR_COLUMNS = ("amplitude", "recon_mse", "recon_chi2_red")
MODEL_COLUMNS = (*VECTOR_COLUMNS, *SCALAR_COLUMNS)
"""What a model says of a row."""
CHUNK_ROWS = 4096
"""Rows of a chunk."""


def get_column_names(store: Store) -> tuple[str, ...]:
    """Return what is kept of every row: `LATENTS`, artefacts, what is measured in archives of this kind."""
    return (
        *MODEL_COLUMNS,
        *ARTEFACTS,
        *(column.name for column in get_archive(store.config.archive_name).measurements.columns),
    )


def count_embedded(store: Store, model_id: str) -> int:
    """Return how many rows, counted from the first, have latents of this model.

    None where a column is missing that was not measured yet when they were made.
    """
    path = f"latents/{model_id}"
    if any(f"{path}/{name}" not in store.group for name in get_column_names(store)):
        return 0
    return int(str(store.group[path].attrs["n_rows"]))


def read_latents(store: Store, model_id: str, columns: Sequence[str] = ()) -> dict[str, Floats32]:
    """Return `columns`, those named or all, of the rows that a model has embedded, (n, latents) or (n,).

    Raises
    ------
    KeyError
        When this model has embedded none.
    """
    n = count_embedded(store, model_id)
    if not n:
        raise KeyError(f"{store.url} has no latents of model {model_id}")
    return {
        name: np.asarray(store.open_array(f"latents/{model_id}/{name}")[:n])
        for name in columns or get_column_names(store)
    }


def append_latents(store: Store, model_id: str, start_row: int, latents: Mapping[str, Floats32]) -> Store:
    """Commit what is said of the next rows, from `start_row` on; return the state after.

    Parameters
    ----------
    store : Store
        The newest state.
    model_id : str
    start_row : int
        `count_embedded`: what is there beyond it is overwritten.
    latents : mapping
        All `columns`, (n, latents) or (n,).

    Raises
    ------
    RuntimeError
        When another run committed meanwhile; nothing of this is then in the store.
    """
    session = open_repository(store.url).writable_session("main")
    group = zarr.open_group(session.store, mode="r+").require_group(f"latents/{model_id}")
    stop = start_row + len(latents["z_mean"])
    for name in get_column_names(store):
        values = latents[name]
        if name not in group:
            group.create_array(
                name,
                shape=(0, *values.shape[1:]),
                chunks=(CHUNK_ROWS, *values.shape[1:]),
                dtype="float32",
                fill_value=float("nan"),
                dimension_names=("row", "latent")[: values.ndim],
            )
        array: Any = group[name]
        array.resize((stop, *values.shape[1:]))
        array[start_row:] = values
    group.attrs["n_rows"] = stop
    made_by = {"model_id": model_id, "embedded": stop}
    return commit_session(store.url, session, f"latents of model {model_id} for {stop} rows", made_by)
