"""Which rows a worker trains with, and how it comes by them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from distspec.store.splits import is_validation
from distspec.training.config import TrainingConfig
from distspec.training.data import CachedLoader, StreamingLoader
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import GlobalSampler, ShardedSampler
from distspec.training.setup import build_trainer, read_repeat_rows, split_rows
from distspec.training.trainer import fit
from tests.conftest import append, batch_of, identity_of
from tests.training.build_store import L, small_state, small_store

CONFIG = TrainingConfig(learning_rate=1e-3, max_epochs=2, batch_size=16, shuffle_window_chunks=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A hundred spectra, ten of which newer versions have superseded."""
    store = small_store(tmp_path_factory.mktemp("root"), 100)
    names = identity_of(10)
    return append(store, batch_of(10, L, np.random.default_rng(1)), {**names, "version": ["v2"] * 10})


def provided(store, config, team=None, weights=None):
    rows = split_rows(store, config)
    none = "", lambda: False, lambda row: None
    return rows, build_trainer(store, rows, config, 0, team or ProcessGroup(), *none, weights)


def test_only_what_stands_is_trained_on_and_no_source_is_on_both_sides(store):
    rows = split_rows(store, CONFIG)
    both = np.sort(np.concatenate([rows.train, rows.validation]))
    assert np.array_equal(both, store.current_rows())
    assert both.min() == 10, "the first ten were superseded"
    sources = store.ledger(["source_id"])["source_id"].to_pylist()
    assert is_validation([sources[row] for row in rows.validation], 0.15).all()
    assert not is_validation([sources[row] for row in rows.train], 0.15).any()
    assert rows.adaptations == []


def test_too_small_a_sample_is_adapted_in_words(store):
    assert "instead of 1000" in split_rows(store, TrainingConfig(batch_size=1000)).adaptations[0]
    many = TrainingConfig(batch_size=200, workers=40)
    assert "trained and validated on the same 100" in split_rows(store, many).adaptations[0]
    with pytest.raises(ValueError, match="training needs 2 a worker"):
        split_rows(store, TrainingConfig(batch_size=200, workers=60))


@pytest.mark.parametrize(("cache_mb", "feed"), [(1.0, CachedLoader), (0.0, StreamingLoader)])
def test_what_fits_is_held_and_the_rest_is_streamed(store, cache_mb, feed):
    rows, work = provided(store, replace(CONFIG, cache_mb=cache_mb))
    assert isinstance(work.train_loader, feed)
    assert isinstance(work.sampler, GlobalSampler if feed is CachedLoader else ShardedSampler)
    assert sum(map(len, work.validation_batches())) == len(rows.validation)
    assert list(work.read_object_ids(rows.train[:2])) == [f"o{row:04d}" for row in rows.train[:2]]
    state = small_state(CONFIG)
    fit(state, work)
    assert (len(state.history), state.epoch) == (2, 2)


def test_it_begins_anew_or_with_the_weights_of_another(store):
    anew, other = small_state(CONFIG).vae, small_state(CONFIG, seed=1).vae
    rows, work = provided(store, CONFIG)
    seen = []
    anew.initialize_from_sample = lambda batch: seen.append(len(batch))
    work.initialize_model(anew)
    assert seen == [len(rows.train)]
    _, work = provided(store, CONFIG, weights=other.state_dict())
    work.initialize_model(anew)
    assert len(seen) == 1
    for name, value in other.state_dict().items():
        assert torch.equal(anew.state_dict()[name], value), name


def test_just_what_fits_is_held(store):
    n = len(split_rows(store, CONFIG).train)
    for spectra, feed in ((n, CachedLoader), (n - 1, StreamingLoader)):
        config = replace(CONFIG, cache_mb=(spectra + 0.5) * 8 * L / 1e6)
        assert isinstance(provided(store, config)[1].train_loader, feed)


def test_workers_share_the_held_out_spectra(store):
    rows, _ = provided(store, CONFIG)
    shares = [[*provided(store, CONFIG, ProcessGroup(rank, 3))[1].validation_batches()] for rank in range(3)]
    counts = [sum(map(len, share)) for share in shares]
    assert sum(counts) == len(rows.validation)
    assert max(counts) - min(counts) <= 1


def test_two_rows_of_each_source_that_was_seen_again(small_store, small_grid, rng):
    assert read_repeat_rows(small_store).shape == (0, 2)
    again = append(small_store, batch_of(20, small_grid.n_pixels, rng, "again"), identity_of(20))
    assert read_repeat_rows(again).tolist() == [[row, 60 + row] for row in range(20)]
