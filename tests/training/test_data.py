"""Loaders yield the rows of the plan, cached or streamed, from the start or from the middle of an epoch."""

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
from tests.training.build_store import make_spectra, make_store

CPU = torch.device("cpu")


def batches_equal(a, b):
    return torch.equal(a.z, b.z) and all(
        torch.equal(x, y) for name in a.inputs for x, y in zip(a.inputs[name], b.inputs[name], strict=True)
    )


@pytest.fixture(scope="module")
def all_rows():
    batch = make_spectra(200)
    batch.spectrum.value[:, 0] = torch.arange(200.0)  # the first pixel holds the row number
    return batch


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(2, 40), st.integers(1, 4), st.booleans(), st.data())
def test_resumed_epoch_yields_the_remaining_batches(
    all_rows, n_workers, batch_size, window, is_streamed, data
):
    spec = SampleSpec(np.arange(200), max(batch_size, n_workers), 1)
    sampler = ShardedSampler(spec, 16, window) if is_streamed else GlobalSampler(spec)
    epoch = sampler.plan_epoch(2, n_workers)
    start = data.draw(st.integers(0, epoch.n_steps))
    rank = data.draw(st.integers(0, n_workers - 1))
    read = []

    def reader(rows):
        read.append(len(rows))
        return all_rows[rows]

    loader = StreamingLoader(reader, rank, 1) if is_streamed else CachedLoader(spec.rows, all_rows, rank)
    batches = list(loader.iter_batches(epoch, start))
    assert len(batches) == epoch.n_steps - start
    for step, batch in enumerate(batches, start):
        assert batch.spectrum.value[:, 0].tolist() == get_step_rows(epoch, rank, step).tolist()
    # The rows before the start are not read.
    assert not is_streamed or sum(read) == (epoch.n_steps - start) * epoch.get_local_batch_size(rank)


def test_rows_are_read_as_stored_in_any_order(tmp_path):
    store = make_store(tmp_path, 100)
    assert store.chunk_rows == 16
    rows = np.random.default_rng(0).permutation(100)[:70]
    flux, ivar = store.read_spectra(np.arange(100))
    batch = StoreReader(store, CPU).read(rows)
    assert np.array_equal(batch.spectrum.value.numpy(), flux[rows])
    assert np.array_equal(batch.spectrum.ivar.numpy(), ivar[rows])
    assert batch.z.tolist() == [5.0] * 70
    assert len(StoreReader(store, CPU).read(rows[:0])) == 0


def test_each_chunk_is_read_once(tmp_path, monkeypatch):
    store = make_store(tmp_path, 100)
    requested = []
    read_spectra = type(store).read_spectra
    monkeypatch.setattr(
        type(store), "read_spectra", lambda self, rows: requested.append(rows) or read_spectra(self, rows)
    )
    StoreReader(store, CPU).read(np.array([50, 3, 49, 1, 99, 2]))
    assert sorted((part.start, part.stop) for part in requested) == [(0, 16), (48, 64), (96, 100)]


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 7))
@settings(max_examples=50)
def test_batches_span_windows(all_rows, lengths, size):
    ends = np.cumsum([0, *lengths])
    windows = [all_rows[a:b] for a, b in pairwise(ends) if b > a]
    batches = list(rebatch(windows, size))
    assert [len(batch) for batch in batches] == [size] * (sum(lengths) // size)
    for i, batch in enumerate(batches):
        assert batches_equal(batch, all_rows[i * size : (i + 1) * size])


def test_validation_yields_all_rows_in_order(all_rows):
    rows = np.arange(5, 180, 2)
    parts = list(stream_batches(lambda some: all_rows[some], rows, 30, 2))
    assert batches_equal(
        concatenate_batches(
            concatenate_batches(concatenate_batches(parts[0], parts[1]), parts[2]), all_rows[:0]
        ),
        all_rows[rows],
    )
    assert batches_equal(next(split_batch(all_rows)), all_rows)


def test_one_window_is_read_ahead():
    """While the first window is used, the second is read, but not the third."""
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


def test_error_in_the_thread_is_raised_in_the_consumer():
    def read(item):
        raise OSError(f"no chunk {item}")

    with pytest.raises(OSError, match="no chunk 1"):
        list(prefetch_map(read, [1, 2], 1))


def test_masked_pixels_need_not_be_finite(all_rows):
    batch = all_rows[:6]
    batch.spectrum.ivar[1, 3], batch.spectrum.value[1, 3] = 0.0, float("nan")  # masked
    batch.spectrum.ivar[2, 4], batch.spectrum.value[2, 4] = 1.0, float("inf")
    batch.spectrum.ivar[3, 4] = float("nan")
    batch.z[4] = float("nan")
    assert find_nonfinite(batch).tolist() == [False, False, True, True, True, False]
