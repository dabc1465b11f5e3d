import numpy as np
import pytest
import zarr

from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS
from distspec.models.latents import (
    CHUNK_ROWS,
    MODEL_COLUMNS,
    append_latents,
    count_embedded,
    get_column_names,
    read_latents,
)
from distspec.store.store import StoreConfig, create_store, open_repository, open_store
from tests.conftest import append, batch_of, identity_of


def latents_of(n, n_latents=4, value=1.0, names=(*MODEL_COLUMNS, *BAD_PIXEL_COLUMNS)):
    shapes = {"z_mean": (n, n_latents), "z_log_var": (n, n_latents)}
    return {name: np.full(shapes.get(name, (n,)), value, np.float32) for name in names}


def test_latents_follow_the_rows(small_store, rng):
    assert count_embedded(small_store, "m") == 0
    store = append_latents(small_store, "m", 0, latents_of(60))
    store = append(store, batch_of(5, 32, rng, "p"), identity_of(5))
    assert count_embedded(store, "m") == 60
    store = append_latents(store, "m", 60, latents_of(5, value=2.0))
    assert count_embedded(store, "m") == store.n_rows
    latents = read_latents(store, "m")
    assert latents["z_mean"].shape == (65, 4)
    assert latents["z_mean"][:, 0].tolist() == latents["recon_mse"].tolist() == [1.0] * 60 + [2.0] * 5
    assert read_latents(store, "m", ("amplitude",)).keys() == {"amplitude"}


def test_each_commit_counts_by_itself(small_store):
    append_latents(append_latents(small_store, "m", 0, latents_of(20)), "m", 20, latents_of(10, value=2.0))
    store = open_store(small_store.url)
    assert count_embedded(store, "m") == 30
    assert read_latents(store, "m")["z_log_var"][:, 1].tolist() == [1.0] * 20 + [2.0] * 10


def test_chunks_of_rows(small_store):
    store = append_latents(small_store, "m", 0, latents_of(60))
    assert store.open_array("latents/m/z_mean").chunks == (CHUNK_ROWS, 4)


def test_latents_do_not_change_the_data_set(small_store):
    assert append_latents(small_store, "m", 0, latents_of(60)).dataset_checksum() == small_store.dataset_checksum()


def test_without_latents_it_names_the_model(small_store):
    with pytest.raises(KeyError, match="model m-7"):
        read_latents(small_store, "m-7")


def test_what_was_not_measured_yet_is_made_up_for(tmp_path, small_grid, rng):
    """Latents of an older distspec, without a column that archives of this kind now have."""
    store = create_store(str(tmp_path / "s"), StoreConfig(small_grid, 1500.0, -2.0, archive_name="dja"))
    store = append(store, batch_of(6, 32, rng), identity_of(6))
    assert {"lya_ew", "lya_ew_err"} <= set(get_column_names(store))
    store = append_latents(store, "m", 0, latents_of(6, names=get_column_names(store)))
    assert count_embedded(store, "m") == 6
    session = open_repository(store.url).writable_session("main")
    del zarr.open_group(session.store, mode="r+")["latents/m/lya_ew"]
    session.commit("older")
    store = open_store(store.url)
    assert count_embedded(store, "m") == 0
    assert (
        count_embedded(append_latents(store, "m", 0, latents_of(6, names=get_column_names(store))), "m") == 6
    )
