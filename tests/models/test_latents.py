"""Columns of embeddings in the store."""

import numpy as np
import pytest
import zarr

from distspec.core.errors import NotFoundError
from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS
from distspec.models.latents import (
    CHUNK_ROWS,
    MODEL_COLUMNS,
    append_latents,
    count_embedded,
    get_column_names,
    read_latents,
)
from distspec.store.config import StoreConfig
from distspec.store.store import create_store, open_repository, open_store
from tests.conftest import append, batch_of, identity_of


def make_latents(n, n_latents=4, value=1.0, names=(*MODEL_COLUMNS, *BAD_PIXEL_COLUMNS)):
    shapes = {"z_mean": (n, n_latents), "z_log_var": (n, n_latents)}
    return {name: np.full(shapes.get(name, (n,)), value, np.float32) for name in names}


def test_latents_are_appended_after_new_rows(small_store, rng):
    assert count_embedded(small_store, "m") == 0
    store = append_latents(small_store, "m", 0, make_latents(60))
    store = append(store, batch_of(5, 32, rng, "p"), identity_of(5))
    assert count_embedded(store, "m") == 60
    store = append_latents(store, "m", 60, make_latents(5, value=2.0))
    assert count_embedded(store, "m") == store.n_rows
    latents = read_latents(store, "m")
    assert latents["z_mean"].shape == (65, 4)
    assert latents["z_mean"][:, 0].tolist() == latents["recon_mse"].tolist() == [1.0] * 60 + [2.0] * 5
    assert read_latents(store, "m", ("amplitude",)).keys() == {"amplitude"}


def test_every_commit_is_readable(small_store):
    append_latents(
        append_latents(small_store, "m", 0, make_latents(20)), "m", 20, make_latents(10, value=2.0)
    )
    store = open_store(small_store.url)
    assert count_embedded(store, "m") == 30
    assert read_latents(store, "m")["z_log_var"][:, 1].tolist() == [1.0] * 20 + [2.0] * 10


def test_chunk_shape(small_store):
    store = append_latents(small_store, "m", 0, make_latents(60))
    assert store.open_array("latents/m/z_mean").chunks == (CHUNK_ROWS, 4)


def test_latents_do_not_change_the_dataset_checksum(small_store):
    assert (
        append_latents(small_store, "m", 0, make_latents(60)).dataset_checksum()
        == small_store.dataset_checksum()
    )


def test_missing_latents_name_the_model(small_store):
    with pytest.raises(NotFoundError, match="model m-7"):
        read_latents(small_store, "m-7")


def test_rows_without_a_new_measurement_are_embedded_again(tmp_path, small_grid, rng):
    """An older version of distspec did not measure a column that the archive now has."""
    store = create_store(str(tmp_path / "s"), StoreConfig(small_grid, 1500.0, -2.0, archive_name="dja"))
    store = append(store, batch_of(6, 32, rng), identity_of(6))
    assert {"lya_ew", "lya_ew_err"} <= set(get_column_names(store))
    store = append_latents(store, "m", 0, make_latents(6, names=get_column_names(store)))
    assert count_embedded(store, "m") == 6
    session = open_repository(store.url).writable_session("main")
    del zarr.open_group(session.store, mode="r+")["latents/m/lya_ew"]
    session.commit("remove a column")
    store = open_store(store.url)
    assert count_embedded(store, "m") == 0
    assert (
        count_embedded(append_latents(store, "m", 0, make_latents(6, names=get_column_names(store))), "m")
        == 6
    )
