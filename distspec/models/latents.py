"""Columns of the store that the embed stage writes for each model.

==================================================  =====================================
Array (float32)                                     Dimensions
==================================================  =====================================
``latents/<model>/z_mean``, ``z_log_var``           row, latent
``latents/<model>/amplitude``, ``recon_mse``,       row
``recon_chi2_red``
``latents/<model>/<bad-pixel statistic>``           row; `distspec.measurements.bad_pixels`
``latents/<model>/<measurement>``                   row; the archive's `MeasurementSet`
==================================================  =====================================

Rows are appended in their order, any number per commit; the attribute ``n_rows`` holds how many are complete,
so that a job that is killed loses only uncommitted results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from distspec.archives.registry import get_archive
from distspec.core.errors import NotFoundError
from distspec.core.spectrum import Floats32
from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS
from distspec.store.store import Store, open_repository
from distspec.store.transactions import commit_session

VECTOR_COLUMNS = ("z_mean", "z_log_var")
"""Columns of a model with one value per latent."""
SCALAR_COLUMNS = ("amplitude", "recon_mse", "recon_chi2_red")
"""Columns of a model with one value per spectrum."""
MODEL_COLUMNS = (*VECTOR_COLUMNS, *SCALAR_COLUMNS)
"""Columns that depend on the model: see `distspec.models.vae.embed`."""
CHUNK_ROWS = 4096
"""Rows per chunk of these arrays."""


def get_column_names(store: Store) -> tuple[str, ...]:
    """Return the columns of each row: of the model, bad-pixel statistics, the archive's measurements.

    Parameters
    ----------
    store : Store
        Store whose archive defines the measurements.
    """
    measurements = get_archive(store.config.archive_name).measurements
    return (*MODEL_COLUMNS, *BAD_PIXEL_COLUMNS, *(column.name for column in measurements.columns))


def count_embedded(store: Store, model_id: str) -> int:
    """Return how many rows, counted from the first, have all columns of a model.

    Returns 0 if a column is missing because an older version of distspec did not measure it.

    Parameters
    ----------
    store : Store
        The store.
    model_id : str
        Name of the model.

    Returns
    -------
    int
        Number of rows.
    """
    path = f"latents/{model_id}"
    if any(f"{path}/{name}" not in store.group for name in get_column_names(store)):
        return 0
    return int(str(store.group[path].attrs["n_rows"]))


def read_latents(store: Store, model_id: str, columns: Sequence[str] = ()) -> dict[str, Floats32]:
    """Read columns of the rows that a model has embedded.

    Parameters
    ----------
    store : Store
        The store.
    model_id : str
        Name of the model.
    columns : sequence of str, optional
        Columns to read; all of them by default.

    Returns
    -------
    dict of str to ndarray
        Each of shape (n_rows,) or (n_rows, n_latents).

    Raises
    ------
    NotFoundError
        If the model has embedded no row.
    """
    n = count_embedded(store, model_id)
    if not n:
        raise NotFoundError(f"{store.url} has no latents of model {model_id}: run the embed stage first")
    return {
        name: np.asarray(store.open_array(f"latents/{model_id}/{name}")[:n])
        for name in columns or get_column_names(store)
    }


def append_latents(store: Store, model_id: str, start_row: int, latents: Mapping[str, Floats32]) -> Store:
    """Commit the columns of the next rows.

    Parameters
    ----------
    store : Store
        Newest snapshot of the store.
    model_id : str
        Name of the model.
    start_row : int
        First of the rows, `count_embedded`; rows that follow it are overwritten.
    latents : mapping of str to ndarray
        The columns `get_column_names`, each of shape (n_rows,) or (n_rows, n_latents).

    Returns
    -------
    Store
        The snapshot after the commit.

    Raises
    ------
    StoreError
        If another job committed in the meantime; nothing is then written.
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
    metadata = {"model_id": model_id, "embedded": stop}
    return commit_session(store.url, session, f"latents of model {model_id} for {stop} rows", metadata)
