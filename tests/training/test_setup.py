"""The split of the rows, and the loaders of a worker."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from distspec.core.errors import TrainingError
from distspec.store.splits import is_validation
from distspec.training.config import TrainingConfig
from distspec.training.data import CachedLoader, StreamingLoader
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import GlobalSampler, ShardedSampler
from distspec.training.setup import (
    build_trainer,
    read_repeat_rows,
    split_rows,
)
from distspec.training.trainer import fit
from tests.conftest import append, batch_of, identity_of
from tests.training.build_store import L, make_state, make_store

CONFIG = TrainingConfig(learning_rate=1e-3, max_epochs=2, batch_size=16, shuffle_window_chunks=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A hundred current spectra; ten others are superseded by newer versions."""
    store = make_store(tmp_path_factory.mktemp("root"), 100)
    names = identity_of(10)
    return append(store, batch_of(10, L, np.random.default_rng(1)), {**names, "version": ["v2"] * 10})


def build(store, config, process_group=None, state_dict=None):
    """Return the split and a trainer without checkpoints."""
    split = split_rows(store, config)
    process_group = process_group or ProcessGroup()
    no_checkpoints = "", lambda: False, lambda metrics: None
    return split, build_trainer(store, split, config, 0, process_group, *no_checkpoints, state_dict)


def test_only_current_rows_are_used_and_no_source_is_on_both_sides(store):
    split = split_rows(store, CONFIG)
    both = np.sort(np.concatenate([split.train, split.validation]))
    assert np.array_equal(both, store.current_rows())
    assert both.min() == 10, "the first ten were superseded"
    sources = store.ledger(["source_id"])["source_id"].to_pylist()
    assert is_validation([sources[row] for row in split.validation], 0.15).all()
    assert not is_validation([sources[row] for row in split.train], 0.15).any()
    assert split.adaptations == ()


def test_adaptations_to_a_small_sample_are_recorded(store):
    assert "instead of 1000" in split_rows(store, TrainingConfig(batch_size=1000)).adaptations[0]
    many = TrainingConfig(batch_size=200, workers=40)
    assert "trained and validated on the same 100" in split_rows(store, many).adaptations[0]
    with pytest.raises(TrainingError, match="training needs 2 per worker"):
        split_rows(store, TrainingConfig(batch_size=200, workers=60))


@pytest.mark.parametrize(("cache_mb", "loader"), [(1.0, CachedLoader), (0.0, StreamingLoader)])
def test_spectra_are_cached_or_streamed(store, cache_mb, loader):
    split, trainer = build(store, replace(CONFIG, cache_mb=cache_mb))
    assert isinstance(trainer.train_loader, loader)
    assert isinstance(trainer.sampler, GlobalSampler if loader is CachedLoader else ShardedSampler)
    assert sum(map(len, trainer.validation_batches())) == len(split.validation)
    assert list(trainer.read_object_ids(split.train[:2])) == [f"o{row:04d}" for row in split.train[:2]]
    state = make_state(CONFIG)
    fit(state, trainer)
    assert (len(state.history), state.epoch) == (2, 2)


def test_new_weights_or_those_of_a_parent(store):
    new, other = make_state(CONFIG).vae, make_state(CONFIG, seed=1).vae
    split, trainer = build(store, CONFIG)
    seen = []
    new.initialize_from_sample = lambda batch: seen.append(len(batch))
    trainer.initialize_model(new)
    assert seen == [len(split.train)]
    _, trainer = build(store, CONFIG, state_dict=other.state_dict())
    trainer.initialize_model(new)
    assert len(seen) == 1
    for name, value in other.state_dict().items():
        assert torch.equal(new.state_dict()[name], value), name


def test_spectra_are_cached_up_to_the_limit(store):
    n = len(split_rows(store, CONFIG).train)
    for n_spectra, loader in ((n, CachedLoader), (n - 1, StreamingLoader)):
        config = replace(CONFIG, cache_mb=(n_spectra + 0.5) * 8 * L / 1e6)
        assert isinstance(build(store, config)[1].train_loader, loader)


def test_held_out_spectra_are_divided_among_the_workers(store):
    split, _ = build(store, CONFIG)
    shares = [[*build(store, CONFIG, ProcessGroup(rank, 3))[1].validation_batches()] for rank in range(3)]
    counts = [sum(map(len, share)) for share in shares]
    assert sum(counts) == len(split.validation)
    assert max(counts) - min(counts) <= 1


def test_pairs_of_repeats(small_store, small_grid, rng):
    assert read_repeat_rows(small_store).shape == (0, 2)
    again = append(small_store, batch_of(20, small_grid.n_pixels, rng, "again"), identity_of(20))
    assert read_repeat_rows(again).tolist() == [[row, 60 + row] for row in range(20)]
