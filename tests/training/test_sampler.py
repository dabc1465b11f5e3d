"""Every row is used once, all workers take the same steps, and a resumed epoch uses the remaining rows."""

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
def samplers(draw):
    """One of the two samplers, for rows with gaps."""
    n = draw(st.integers(1, 400))
    gaps = draw(st.integers(0, 2**32 - 1))
    rows = np.flatnonzero(np.random.default_rng(gaps).random(2 * n) < 0.5)
    spec = SampleSpec(rows, draw(st.integers(4, 64)), draw(st.integers(0, 9)))
    if draw(st.booleans()):
        return GlobalSampler(spec)
    return ShardedSampler(spec, draw(st.integers(1, 40)), draw(st.integers(1, 5)))


def get_all_rows(epoch, n_workers):
    """Return the rows of all steps by worker."""
    parts = [[get_step_rows(epoch, r, s) for s in range(epoch.n_steps)] for r in range(n_workers)]
    return [np.concatenate([*part, np.empty(0, np.int64)]) for part in parts]


@settings(max_examples=60)
@given(samplers(), st.integers(1, 4), st.integers(0, 3))
def test_no_row_twice_and_complete_batches(sampler, n_workers, number):
    epoch = sampler.plan_epoch(number, n_workers)
    rows = np.concatenate(get_all_rows(epoch, n_workers))
    assert len(rows) == epoch.n_steps * sampler.spec.batch_size
    assert len(np.unique(rows)) == len(rows)
    assert np.isin(rows, sampler.spec.rows).all()


@settings(max_examples=60)
@given(samplers(), st.integers(1, 4), st.integers(1, 4), st.data())
def test_another_number_of_workers_uses_the_remaining_rows(sampler, before, after, data):
    first = sampler.plan_epoch(0, before)
    steps = data.draw(st.integers(0, first.n_steps))
    size = sampler.spec.batch_size
    seen = np.concatenate(
        [part[: steps * first.get_local_batch_size(r)] for r, part in enumerate(get_all_rows(first, before))]
    )
    assert len(seen) == steps * size
    rest = sampler.plan_epoch(0, after, [EpochSegment(before, steps)])
    rows = np.concatenate([seen, *get_all_rows(rest, after)])
    assert len(np.unique(rows)) == len(rows) == (steps + rest.n_steps) * size
    # A second interruption in the same epoch.
    again = data.draw(st.integers(0, rest.n_steps))
    last = sampler.plan_epoch(0, 1, [EpochSegment(before, steps), EpochSegment(after, again)])
    seen = [
        *seen,
        *np.concatenate(
            [p[: again * rest.get_local_batch_size(r)] for r, p in enumerate(get_all_rows(rest, after))]
        ),
    ]
    assert not set(seen) & set(np.concatenate(get_all_rows(last, 1)))


@settings(max_examples=40)
@given(samplers(), st.integers(2, 4))
def test_workers_read_disjoint_chunks(sampler, n_workers):
    if isinstance(sampler, GlobalSampler):
        return
    epoch = sampler.plan_epoch(1, n_workers)
    chunks = [
        {int(row) // sampler.chunk_rows for window in epoch.get_windows(r) for row in window}
        for r in range(n_workers)
    ]
    assert sum(map(len, chunks)) == len(set().union(*chunks))
    every = np.concatenate([np.concatenate([*epoch.get_windows(r), []]) for r in range(n_workers)])
    assert sorted(every) == sorted(sampler.spec.rows)


@pytest.mark.parametrize("n_workers", [2, 3, 5])
def test_global_batches_do_not_depend_on_the_number_of_workers(n_workers):
    sampler = GlobalSampler(SampleSpec(np.arange(300) * 3, 32, 5))
    alone, many = sampler.plan_epoch(4, 1), sampler.plan_epoch(4, n_workers)
    assert alone.n_steps == many.n_steps == 9
    for step in range(9):
        parts = [get_step_rows(many, rank, step) for rank in range(n_workers)]
        assert np.array_equal(np.concatenate(parts), get_step_rows(alone, 0, step))


def test_rows_are_distributed_evenly():
    """Although chunks differ in size, fewer than two chunks per worker are left over."""
    rows = np.flatnonzero(np.random.default_rng(0).random(20_000) < np.linspace(0.1, 1.0, 20_000))
    epoch = ShardedSampler(SampleSpec(rows, 64, 0), 100, 8).plan_epoch(0, 3)
    assert epoch.n_steps * 64 > len(rows) - 2 * 3 * 100
    assert max(np.ptp([len(np.concatenate(epoch.get_windows(r))) for r in range(3)]), 1) <= 300


def test_order_differs_between_epochs_and_is_reproducible():
    sampler = ShardedSampler(SampleSpec(np.arange(1000), 10, 0), 50, 4)
    first, second, again = sampler.plan_epoch(0, 2), sampler.plan_epoch(1, 2), sampler.plan_epoch(0, 2)
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
    # Different epochs leave out different rows.
    left = [
        set(range(1000))
        - set(
            np.concatenate(
                get_all_rows(GlobalSampler(SampleSpec(np.arange(1000), 64, 0)).plan_epoch(e, 1), 1)
            )
        )
        for e in (0, 1)
    ]
    assert left[0] != left[1]


@given(st.integers(2, 500), st.integers(1, 9))
def test_local_batches_sum_to_the_batch_size(batch, n_workers):
    shares = [compute_local_batch_size(batch, n_workers, rank) for rank in range(n_workers)]
    assert sum(shares) == batch
    assert max(shares) - min(shares) <= 1


def test_sample_consists_of_whole_chunks():
    spec = SampleSpec(np.arange(0, 1000, 2), 10, 3)
    rows = sample_rows(spec, 20, 100)
    assert np.array_equal(rows, sample_rows(spec, 20, 100))
    assert len(rows) == len(np.unique(rows)) == 100
    assert len(np.unique(rows // 20)) == 10
    assert np.array_equal(sample_rows(spec, 20, 10_000), spec.rows)
