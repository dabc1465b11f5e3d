"""Every row once, the same steps for all, and a resume takes up exactly what was left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.training.sampler import (
    EpochSegment,
    GlobalSampler,
    SampleSpec,
    ShardedSampler,
    compute_local_batch_size,
    compute_order_checksum,
    get_step_rows,
    sample_rows,
)


@st.composite
def shufflings(draw):
    """Some rows with gaps, and one of the two ways to shuffle them."""
    n = draw(st.integers(1, 400))
    gaps = draw(st.integers(0, 2**32 - 1))
    rows = np.flatnonzero(np.random.default_rng(gaps).random(2 * n) < 0.5)
    deck = SampleSpec(rows, draw(st.integers(4, 64)), draw(st.integers(0, 9)))
    if draw(st.booleans()):
        return GlobalSampler(deck)
    return ShardedSampler(deck, draw(st.integers(1, 40)), draw(st.integers(1, 5)))


def taken(epoch, n_workers):
    """Each worker's rows of all steps."""
    parts = [[get_step_rows(epoch, r, s) for s in range(epoch.n_steps)] for r in range(n_workers)]
    return [np.concatenate([*part, np.empty(0, np.int64)]) for part in parts]


@settings(deadline=None, max_examples=60)
@given(shufflings(), st.integers(1, 4), st.integers(0, 3))
def test_no_row_twice_and_whole_batches(shuffling, n_workers, number):
    epoch = shuffling.plan_epoch(number, n_workers)
    rows = np.concatenate(taken(epoch, n_workers))
    assert len(rows) == epoch.n_steps * shuffling.spec.batch_size
    assert len(np.unique(rows)) == len(rows)
    assert np.isin(rows, shuffling.spec.rows).all()


@settings(deadline=None, max_examples=60)
@given(shufflings(), st.integers(1, 4), st.integers(1, 4), st.data())
def test_another_number_of_workers_goes_on_with_what_is_left(shuffling, before, after, data):
    first = shuffling.plan_epoch(0, before)
    steps = data.draw(st.integers(0, first.n_steps))
    size = shuffling.spec.batch_size
    seen = np.concatenate(
        [part[: steps * first.get_local_batch_size(r)] for r, part in enumerate(taken(first, before))]
    )
    assert len(seen) == steps * size
    rest = shuffling.plan_epoch(0, after, [EpochSegment(before, steps)])
    rows = np.concatenate([seen, *taken(rest, after)])
    assert len(np.unique(rows)) == len(rows) == (steps + rest.n_steps) * size
    # And once more: two breaks in one epoch.
    again = data.draw(st.integers(0, rest.n_steps))
    last = shuffling.plan_epoch(0, 1, [EpochSegment(before, steps), EpochSegment(after, again)])
    seen = [
        *seen,
        *np.concatenate(
            [p[: again * rest.get_local_batch_size(r)] for r, p in enumerate(taken(rest, after))]
        ),
    ]
    assert not set(seen) & set(np.concatenate(taken(last, 1)))


@settings(deadline=None, max_examples=40)
@given(shufflings(), st.integers(2, 4))
def test_workers_read_disjoint_chunks(shuffling, n_workers):
    if isinstance(shuffling, GlobalSampler):
        return
    epoch = shuffling.plan_epoch(1, n_workers)
    chunks = [
        {int(row) // shuffling.chunk_rows for window in epoch.get_windows(r) for row in window}
        for r in range(n_workers)
    ]
    assert sum(map(len, chunks)) == len(set().union(*chunks))
    every = np.concatenate([np.concatenate([*epoch.get_windows(r), []]) for r in range(n_workers)])
    assert sorted(every) == sorted(shuffling.spec.rows)


@pytest.mark.parametrize("n_workers", [2, 3, 5])
def test_cached_global_batches_know_of_no_workers(n_workers):
    shuffling = GlobalSampler(SampleSpec(np.arange(300) * 3, 32, 5))
    alone, many = shuffling.plan_epoch(4, 1), shuffling.plan_epoch(4, n_workers)
    assert alone.n_steps == many.n_steps == 9
    for step in range(9):
        parts = [get_step_rows(many, rank, step) for rank in range(n_workers)]
        assert np.array_equal(np.concatenate(parts), get_step_rows(alone, 0, step))


def test_workers_are_dealt_as_many_rows_as_their_shares():
    """Rows are spread unevenly over the chunks; what is left over is less than two chunks a worker."""
    rows = np.flatnonzero(np.random.default_rng(0).random(20_000) < np.linspace(0.1, 1.0, 20_000))
    epoch = ShardedSampler(SampleSpec(rows, 64, 0), 100, 8).plan_epoch(0, 3)
    assert epoch.n_steps * 64 > len(rows) - 2 * 3 * 100
    assert max(np.ptp([len(np.concatenate(epoch.get_windows(r))) for r in range(3)]), 1) <= 300


def test_epochs_and_windows_differ_and_repeat():
    shuffling = ShardedSampler(SampleSpec(np.arange(1000), 10, 0), 50, 4)
    first, second, again = shuffling.plan_epoch(0, 2), shuffling.plan_epoch(1, 2), shuffling.plan_epoch(0, 2)
    assert compute_order_checksum(first, 0) == compute_order_checksum(again, 0)
    assert (
        len(
            {
                compute_order_checksum(first, 0),
                compute_order_checksum(first, 1),
                compute_order_checksum(second, 0),
                compute_order_checksum(second, 1),
            }
        )
        == 4
    )
    assert compute_order_checksum(
        ShardedSampler(SampleSpec(np.arange(1000), 10, 1), 50, 4).plan_epoch(0, 2), 0
    ) != compute_order_checksum(first, 0)
    # What an epoch leaves out is not always the same.
    left = [
        set(range(1000))
        - set(np.concatenate(taken(GlobalSampler(SampleSpec(np.arange(1000), 64, 0)).plan_epoch(e, 1), 1)))
        for e in (0, 1)
    ]
    assert left[0] != left[1]


@given(st.integers(2, 500), st.integers(1, 9))
def test_shares_fill_the_batch_evenly(batch, n_workers):
    shares = [compute_local_batch_size(batch, n_workers, rank) for rank in range(n_workers)]
    assert sum(shares) == batch
    assert max(shares) - min(shares) <= 1


def test_a_sample_is_of_whole_chunks_and_knows_of_no_workers():
    deck = SampleSpec(np.arange(0, 1000, 2), 10, 3)
    rows = sample_rows(deck, 20, 100)
    assert np.array_equal(rows, sample_rows(deck, 20, 100))
    assert len(rows) == len(np.unique(rows)) == 100
    assert len(np.unique(rows // 20)) == 10
    assert np.array_equal(sample_rows(deck, 20, 10_000), deck.rows)
