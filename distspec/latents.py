"""What each model says of every row of the store: written by many hands, seen when all are done.

    latents/<model>/z_mean, z_log_var       (row, latent)   float32
    latents/<model>/amplitude, recon_mse, recon_chi2_red    (row,)  float32

One process makes room and commits; others write whole chunks of forked sessions; the first merges them,
says how many rows are done, and commits. Killed in between, the rows count as not done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import icechunk
import numpy as np
import zarr

from distspec.spectrum import Floats32
from distspec.store import Store, repository
from distspec.transactions import commit

LATENTS = ("z_mean", "z_log_var", "amplitude", "recon_mse", "recon_chi2_red")
CHUNK = 4096
"""Rows of a chunk: the least that one hand writes."""


def n_embedded(store: Store, model_id: str) -> int:
    """Return how many rows, counted from the first, have latents of this model."""
    path = f"latents/{model_id}"
    return int(str(store.group[path].attrs["n_rows"])) if path in store.group else 0


def read_latents(store: Store, model_id: str) -> dict[str, Floats32]:
    """Return `LATENTS` of the rows that a model has embedded, (n, latents) or (n,).

    Raises
    ------
    KeyError
        When this model has embedded none.
    """
    n = n_embedded(store, model_id)
    if not n:
        raise KeyError(f"{store.url} has no latents of model {model_id}")
    return {name: np.asarray(store.array(f"latents/{model_id}/{name}")[:n]) for name in LATENTS}


def make_room(url: str, model_id: str, n_rows: int, n_latents: int) -> icechunk.Session:
    """Commit arrays long enough for `n_rows`; return a session to fork, and to merge forks into."""
    session = repository(url).writable_session("main")
    root = zarr.open_group(session.store, mode="r+")
    path = f"latents/{model_id}"
    if path not in root:
        root.create_group(path).attrs["n_rows"] = 0
    for name in LATENTS:
        width = (n_latents,) if name.startswith("z_") else ()
        if f"{path}/{name}" not in root:
            root.create_array(
                f"{path}/{name}",
                shape=(0, *width),
                chunks=(CHUNK, *width),
                dtype="float32",
                fill_value=float("nan"),
                dimension_names=("row", "latent")[: 1 + len(width)],
            )
        array: Any = root[f"{path}/{name}"]
        array.resize((n_rows, *width))
    if session.has_uncommitted_changes:
        commit(url, session, f"room for latents of model {model_id}", {"model_id": model_id})
    return repository(url).writable_session("main")


def write_part(
    fork: icechunk.ForkSession, model_id: str, start: int, latents: Mapping[str, Floats32]
) -> icechunk.ForkSession:
    """Write rows that share no chunk with others' into a forked session, which goes back to be merged."""
    root = zarr.open_group(fork.store, mode="r+")
    for name in LATENTS:
        array: Any = root[f"latents/{model_id}/{name}"]
        array[start : start + len(latents[name])] = latents[name]
    return fork


def finish(
    url: str, session: icechunk.Session, forks: Sequence[icechunk.ForkSession], model_id: str, n_rows: int
) -> Store:
    """Merge what the forks hold, say that `n_rows` are done, and commit."""
    session.merge(*forks)
    zarr.open_group(session.store, mode="r+")[f"latents/{model_id}"].attrs["n_rows"] = n_rows
    made_by = {"model_id": model_id, "embedded": n_rows}
    return commit(url, session, f"latents of model {model_id} for {n_rows} rows", made_by)
