"""The order of an epoch: which rows each worker takes at which step. Pure, numpy alone.

It follows from seed, epoch and number of workers, so a run that was cut short knows from three numbers what
it has seen. Where an epoch goes on with another number of workers, those who took its first steps are its
`EpochSegment`s: what they took is worked out again, and what they left is shared out anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

RowIndices = NDArray[np.int64]


@dataclass(frozen=True)
class EpochSegment:
    """Steps of an epoch that so many workers took together."""

    n_workers: int
    n_steps: int


@dataclass(frozen=True)
class SampleSpec:
    """Rows to train on, and how they are shuffled.

    Parameters
    ----------
    rows : (n,) int64, ascending
    batch_size : int
        Rows in a global batch.
    seed : int
    """

    rows: RowIndices
    batch_size: int
    seed: int

    def make_rng(self, epoch: int, stream: int, *keys: int) -> np.random.Generator:
        """Return the random numbers of one purpose, the same for all who ask."""
        return np.random.default_rng([self.seed, epoch, stream, *keys])


class EpochPlan(Protocol):
    """Steps of one epoch, or what earlier legs have left of them."""

    @property
    def n_steps(self) -> int:
        """Steps, the same number for every worker."""
        ...

    def get_windows(self, rank: int) -> Sequence[RowIndices]:
        """Return a worker's rows in the order of training, in parts that are read together."""
        ...

    def get_local_batch_size(self, rank: int) -> int:
        """Return how many rows of each global batch a worker takes."""
        ...


class Sampler(Protocol):
    """How every epoch is shuffled."""

    @property
    def spec(self) -> SampleSpec:
        """What is shuffled."""
        ...

    def plan_epoch(self, epoch: int, n_workers: int, segments: Sequence[EpochSegment] = ()) -> EpochPlan:
        """Return an epoch, or what its legs left of it."""
        ...


def compute_local_batch_size(batch_size: int, n_workers: int, rank: int) -> int:
    """Return how many rows of a global batch a worker takes: as equal as can be.

    Examples
    --------
    >>> [share(64, 3, rank) for rank in range(3)]
    [21, 21, 22]
    """
    return batch_size * (rank + 1) // n_workers - batch_size * rank // n_workers


def sample_rows(spec: SampleSpec, chunk_rows: int, n: int) -> RowIndices:
    """Return about `n` rows of whole random chunks, the same for any number of workers, ascending."""
    pieces = _split_by_chunk(spec.rows, chunk_rows)
    order = spec.make_rng(0, 3).permutation(len(pieces))
    return np.sort(np.concatenate([pieces[i] for i in order])[:n])


def _split_by_chunk(rows: RowIndices, chunk_rows: int) -> list[RowIndices]:
    return np.split(rows, np.flatnonzero(np.diff(rows // chunk_rows)) + 1) if len(rows) else []


def get_step_rows(plan: EpochPlan, rank: int, step: int) -> RowIndices:
    """Return the rows that a worker takes at a step of an epoch."""
    size = plan.get_local_batch_size(rank)
    return np.concatenate([*plan.get_windows(rank), np.empty(0, np.int64)])[step * size : (step + 1) * size]


def compute_order_checksum(plan: EpochPlan, rank: int) -> str:
    """Return a SHA-256 of a worker's order: who goes on with an epoch must come to the same one."""
    sink = hashlib.sha256(f"{plan.n_steps} {plan.get_local_batch_size(rank)}".encode())
    for window in plan.get_windows(rank):
        sink.update(window.astype("<i8").tobytes())
    return sink.hexdigest()


@dataclass(frozen=True)
class GlobalSampler:
    """All rows shuffled at once, for data that every worker holds: global batches know of no workers."""

    spec: SampleSpec

    def plan_epoch(self, epoch: int, n_workers: int, segments: Sequence[EpochSegment] = ()) -> EpochPlan:
        """Return an epoch, or what its legs left of it."""
        order = self.spec.make_rng(epoch, 0).permutation(self.spec.rows)
        return GlobalEpochPlan(
            order[sum(leg.n_steps for leg in segments) * self.spec.batch_size :],
            self.spec.batch_size,
            n_workers,
        )


@dataclass(frozen=True)
class GlobalEpochPlan:
    """Global batches one after the other in `row_order`; each worker takes its slice of each."""

    row_order: RowIndices
    batch_size: int
    n_workers: int

    @property
    def n_steps(self) -> int:
        """Steps; rows that do not fill a last batch are left out, other ones each epoch."""
        return len(self.row_order) // self.batch_size

    def get_local_batch_size(self, rank: int) -> int:
        """Return how many rows of each global batch a worker takes."""
        return compute_local_batch_size(self.batch_size, self.n_workers, rank)

    def get_windows(self, rank: int) -> Sequence[RowIndices]:
        """Return a worker's rows in the order of training, in one part."""
        start = self.batch_size * rank // self.n_workers
        batches = self.row_order[: self.n_steps * self.batch_size].reshape(-1, self.batch_size)
        return [batches[:, start : start + self.get_local_batch_size(rank)].ravel()]


@dataclass(frozen=True)
class ShardedSampler:
    """Whole chunks shuffled and dealt to the workers, then rows shuffled within a window of chunks.

    Parameters
    ----------
    spec : Deck
    chunk_rows : int
        Rows of a chunk of the store.
    window_chunks : int
        Chunks that a worker shuffles together.
    """

    spec: SampleSpec
    chunk_rows: int
    window_chunks: int

    def plan_epoch(
        self, epoch: int, n_workers: int, segments: Sequence[EpochSegment] = ()
    ) -> ShardedEpochPlan:
        """Return an epoch, or what its legs left of it."""
        if not segments:
            return ShardedEpochPlan(self, self.spec.rows, epoch, 0, n_workers)
        before = self.plan_epoch(epoch, segments[-1].n_workers, segments[:-1])
        taken = [
            np.concatenate([*before.get_windows(rank), np.empty(0, np.int64)])[
                : segments[-1].n_steps * before.get_local_batch_size(rank)
            ]
            for rank in range(segments[-1].n_workers)
        ]
        left = np.setdiff1d(before.rows, np.concatenate(taken), assume_unique=True)
        return ShardedEpochPlan(self, left, epoch, len(segments), n_workers)


@dataclass(frozen=True)
class ShardedEpochPlan:
    """Some rows, a leg of an epoch, dealt to so many workers."""

    sampler: ShardedSampler
    rows: RowIndices
    epoch: int
    segment_index: int
    n_workers: int

    @property
    def n_steps(self) -> int:
        """Steps: as many as the worker with the fewest rows can take; what is over differs each epoch."""
        return min(
            sum(map(len, hand)) // self.get_local_batch_size(rank) if self.get_local_batch_size(rank) else 0
            for rank, hand in enumerate(self.chunks_by_worker)
        )

    def get_local_batch_size(self, rank: int) -> int:
        """Return how many rows of each global batch a worker takes."""
        return compute_local_batch_size(self.sampler.spec.batch_size, self.n_workers, rank)

    @cached_property
    def chunks_by_worker(self) -> list[list[RowIndices]]:
        """Each worker's chunks: in random order, each to who has least for its share so far."""
        pieces = _split_by_chunk(self.rows, self.sampler.chunk_rows)
        shares = np.array([self.get_local_batch_size(rank) for rank in range(self.n_workers)])
        load, hands = np.zeros(self.n_workers), [list[RowIndices]() for _ in shares]
        for i in self.sampler.spec.make_rng(self.epoch, 1, self.segment_index).permutation(len(pieces)):
            least = int(np.argmin(load))
            hands[least].append(pieces[i])
            load[least] += len(pieces[i]) / shares[least]
        return hands

    def get_windows(self, rank: int) -> Sequence[RowIndices]:
        """Return a worker's rows in the order of training, a window of chunks after the other."""
        hand, size = self.chunks_by_worker[rank], self.sampler.window_chunks
        parts = [np.concatenate(hand[start : start + size]) for start in range(0, len(hand), size)]
        draw = self.sampler.spec.make_rng(self.epoch, 2, self.segment_index, rank)
        return [draw.permutation(part) for part in parts]
