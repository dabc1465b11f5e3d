"""What is fed is what the order says, whether it is held or streamed, from the start or from the middle."""

import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.training.data import (
    CachedLoader,
    StoreReader,
    StreamingLoader,
    concatenate_batches,
    find_nonfinite,
    prefetch_map,
    rebatch,
    split_batch,
    stream_batches,
)
from distspec.training.sampler import GlobalSampler, SampleSpec, ShardedSampler, get_step_rows
from tests.training.build_store import small_store, spectra

CPU = torch.device("cpu")


def equal(a, b):
    return torch.equal(a.z, b.z) and all(
        torch.equal(x, y) for name in a.inputs for x, y in zip(a.inputs[name], b.inputs[name], strict=True)
    )


@pytest.fixture(scope="module")
def all_rows():
    batch = spectra(200)
    batch.spectrum.value[:, 0] = torch.arange(200.0)  # each tells its row
    return batch


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(2, 40), st.integers(1, 4), st.booleans(), st.data())
def test_a_resume_is_fed_the_rest(all_rows, n_workers, batch_size, window, is_streamed, data):
    deck = SampleSpec(np.arange(200), max(batch_size, n_workers), 1)
    shuffling = ShardedSampler(deck, 16, window) if is_streamed else GlobalSampler(deck)
    epoch = shuffling.plan_epoch(2, n_workers)
    start = data.draw(st.integers(0, epoch.n_steps))
    rank = data.draw(st.integers(0, n_workers - 1))
    read = []

    def reader(rows):
        read.append(len(rows))
        return all_rows[rows]

    feed = StreamingLoader(reader, rank, 1) if is_streamed else CachedLoader(deck.rows, all_rows, rank)
    fed = list(feed.iter_batches(epoch, start))
    assert len(fed) == epoch.n_steps - start
    for step, batch in enumerate(fed, start):
        assert batch.spectrum.value[:, 0].tolist() == get_step_rows(epoch, rank, step).tolist()
    # Of what lies before, nothing is read.
    assert not is_streamed or sum(read) == (epoch.n_steps - start) * epoch.get_local_batch_size(rank)


def test_rows_are_read_as_stored_in_any_order(tmp_path):
    store = small_store(tmp_path, 100)
    assert store.chunk_rows == 16
    rows = np.random.default_rng(0).permutation(100)[:70]
    flux, ivar = store.read_spectra(np.arange(100))
    batch = StoreReader(store, CPU).read(rows)
    assert np.array_equal(batch.spectrum.value.numpy(), flux[rows])
    assert np.array_equal(batch.spectrum.ivar.numpy(), ivar[rows])
    assert batch.z.tolist() == [5.0] * 70
    assert len(StoreReader(store, CPU).read(rows[:0])) == 0


def test_each_chunk_is_read_once(tmp_path, monkeypatch):
    store = small_store(tmp_path, 100)
    asked = []
    spectra_of = type(store).read_spectra
    monkeypatch.setattr(
        type(store), "read_spectra", lambda self, rows: asked.append(rows) or spectra_of(self, rows)
    )
    StoreReader(store, CPU).read(np.array([50, 3, 49, 1, 99, 2]))
    assert sorted((part.start, part.stop) for part in asked) == [(0, 16), (48, 64), (96, 100)]


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 7))
@settings(deadline=None, max_examples=50)
def test_batches_go_over_the_borders_of_windows(all_rows, lengths, size):
    ends = np.cumsum([0, *lengths])
    windows = [all_rows[a:b] for a, b in pairwise(ends) if b > a]
    batches = list(rebatch(windows, size))
    assert [len(batch) for batch in batches] == [size] * (sum(lengths) // size)
    for i, batch in enumerate(batches):
        assert equal(batch, all_rows[i * size : (i + 1) * size])


def test_validation_comes_whole_and_in_order(all_rows):
    rows = np.arange(5, 180, 2)
    parts = list(stream_batches(lambda some: all_rows[some], rows, 30, 2))
    assert equal(
        concatenate_batches(
            concatenate_batches(concatenate_batches(parts[0], parts[1]), parts[2]), all_rows[:0]
        ),
        all_rows[rows],
    )
    assert equal(next(split_batch(all_rows)), all_rows)


def test_windows_are_read_ahead_by_one_thread():
    """While the first is used the second is read, and no more than that."""
    seen, second = [], threading.Event()

    def read(item):
        seen.append(item)
        if item == 2:
            second.set()
        return item

    windows = prefetch_map(read, range(1, 9), 1)
    assert next(windows) == 1
    assert second.wait(5)
    assert 3 not in seen
    windows.close()
    assert len(seen) <= 3


def test_an_error_in_the_thread_is_raised_where_it_is_used():
    def read(item):
        raise OSError(f"no chunk {item}")

    with pytest.raises(OSError, match="no chunk 1"):
        list(prefetch_map(read, [1, 2], 1))


def test_only_what_counts_must_be_finite(all_rows):
    batch = all_rows[:6]
    batch.spectrum.ivar[1, 3], batch.spectrum.value[1, 3] = 0.0, float("nan")  # masked
    batch.spectrum.ivar[2, 4], batch.spectrum.value[2, 4] = 1.0, float("inf")
    batch.spectrum.ivar[3, 4] = float("nan")
    batch.z[4] = float("nan")
    assert find_nonfinite(batch).tolist() == [False, False, True, True, True, False]
