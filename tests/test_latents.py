import pickle

import numpy as np
import pytest

from distspec import latents as latents_module
from distspec.latents import LATENTS, finish, make_room, n_embedded, read_latents, write_part
from distspec.store import open_store
from distspec.transactions import spans
from tests.conftest import append, batch_of, identity_of


def latents_of(n, n_latents=4, value=1.0):
    shapes = {"z_mean": (n, n_latents), "z_log_var": (n, n_latents)}
    return {name: np.full(shapes.get(name, (n,)), value, np.float32) for name in LATENTS}


def embed_all(store, value=1.0, parts=1):
    """What the embed stage does, with pickled forks as Ray would send them."""
    done = n_embedded(store, "m")
    session = make_room(store.url, "m", store.n_rows, 4)
    forks = []
    for start, stop in spans(done, store.n_rows, latents_module.CHUNK):
        fork = pickle.loads(pickle.dumps(session.fork()))
        forks.append(
            pickle.loads(pickle.dumps(write_part(fork, "m", start, latents_of(stop - start, value=value))))
        )
    return finish(store.url, session, forks, "m", store.n_rows)


def test_latents_follow_the_rows(small_store, rng):
    assert n_embedded(small_store, "m") == 0
    store = embed_all(small_store)
    store = append(store, batch_of(5, 32, rng, "p"), identity_of(5))
    assert n_embedded(store, "m") == 60
    store = embed_all(store, value=2.0)
    assert n_embedded(store, "m") == store.n_rows
    latents = read_latents(store, "m")
    assert latents["z_mean"].shape == (65, 4)
    assert latents["z_mean"][:, 0].tolist() == latents["recon_mse"].tolist() == [1.0] * 60 + [2.0] * 5


def test_many_hands_write_one_array(small_store, rng, monkeypatch):
    monkeypatch.setattr("distspec.latents.CHUNK", 16)
    store = embed_all(small_store, value=3.0)
    assert np.all(read_latents(store, "m")["z_log_var"] == 3.0)
    assert len(spans(0, 60, latents_module.CHUNK)) == 4


def test_killed_before_the_merge_nothing_counts_as_done(small_store):
    session = make_room(small_store.url, "m", 60, 4)
    write_part(session.fork(), "m", 0, latents_of(60))
    store = open_store(small_store.url)
    assert n_embedded(store, "m") == 0
    assert n_embedded(embed_all(store), "m") == 60


def test_latents_do_not_change_the_data_set(small_store):
    assert embed_all(small_store).digest() == small_store.digest()


def test_without_latents_it_names_the_model(small_store):
    with pytest.raises(KeyError, match="model m-7"):
        read_latents(small_store, "m-7")
