"""The order of training spectra: which rows each worker takes at which step of an epoch.

The order follows from the seed, the epoch and the number of workers, so that a training that was interrupted
can compute which rows it has used. If an epoch continues with another number of workers, its first steps are
its `EpochSegment` objects: the rows that those steps used are computed again, and the remaining rows are
distributed anew. Only NumPy is needed.
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
"""Row numbers in the store, shape (n_rows,)."""


@dataclass(frozen=True)
class EpochSegment:
    """Consecutive steps of an epoch with one number of workers.

    Attributes
    ----------
    n_workers : int
        Number of workers.
    n_steps : int
        Number of steps.
    """

    n_workers: int
    n_steps: int


@dataclass(frozen=True)
class SampleSpec:
    """Training rows, batch size and seed.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,), int64
        Rows to train on, ascending.
    batch_size : int
        Number of rows in a global batch.
    seed : int
        Seed of the shuffling.
    """

    rows: RowIndices
    batch_size: int
    seed: int

    def make_rng(self, epoch: int, stream: int, *keys: int) -> np.random.Generator:
        """Return a random generator for one purpose in an epoch; the same on every worker.

        Parameters
        ----------
        epoch : int
            Number of the epoch.
        stream : int
            Number of the purpose.
        *keys : int
            Further numbers that select an independent stream, such as a rank.
        """
        return np.random.default_rng([self.seed, epoch, stream, *keys])


class EpochPlan(Protocol):
    """Order of the rows of one epoch, or of the rows that earlier segments left."""

    @property
    def n_steps(self) -> int:
        """Number of steps, the same for every worker."""
        ...

    def get_windows(self, rank: int) -> Sequence[RowIndices]:
        """Return a worker's rows in training order, in windows that are read together.

        Parameters
        ----------
        rank : int
            Number of the worker.

        Returns
        -------
        sequence of RowIndices
        """
        ...

    def get_local_batch_size(self, rank: int) -> int:
        """Return the number of rows of each global batch that a worker takes.

        Parameters
        ----------
        rank : int
            Number of the worker.

        Returns
        -------
        int
        """
        ...


class Sampler(Protocol):
    """A way of shuffling: gives the plan of each epoch."""

    @property
    def spec(self) -> SampleSpec:
        """Training rows, batch size and seed."""
        ...

    def plan_epoch(self, epoch: int, n_workers: int, segments: Sequence[EpochSegment] = ()) -> EpochPlan:
        """Return the plan of an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch.
        n_workers : int
            Number of workers.
        segments : sequence of EpochSegment, optional
            Steps of the epoch that are already done; the plan covers the remaining rows.
        """
        ...


def compute_local_batch_size(batch_size: int, n_workers: int, rank: int) -> int:
    """Return the number of rows of a global batch that a worker takes; workers differ by at most 1.

    Parameters
    ----------
    batch_size : int
        Number of spectra per optimizer step of all workers.
    n_workers : int
        Number of workers.
    rank : int
        Number of the worker.

    Returns
    -------
    int

    Examples
    --------
    >>> [compute_local_batch_size(64, 3, rank) for rank in range(3)]
    [21, 21, 22]
    """
    return batch_size * (rank + 1) // n_workers - batch_size * rank // n_workers


def sample_rows(spec: SampleSpec, chunk_rows: int, n: int) -> RowIndices:
    """Return a random sample of rows that lie in few chunks, the same for any number of workers.

    Parameters
    ----------
    spec : SampleSpec
        The training rows.
    chunk_rows : int
        Rows per chunk of the store.
    n : int
        Size of the sample; all rows if there are fewer.

    Returns
    -------
    ndarray of shape (n,), int64
        Ascending.
    """
    chunks = _split_by_chunk(spec.rows, chunk_rows)
    order = spec.make_rng(0, 3).permutation(len(chunks))
    return np.sort(np.concatenate([chunks[i] for i in order])[:n])


def _split_by_chunk(rows: RowIndices, chunk_rows: int) -> list[RowIndices]:
    """Return ascending rows, divided by the chunk that they lie in."""
    return np.split(rows, np.flatnonzero(np.diff(rows // chunk_rows)) + 1) if len(rows) else []


def get_step_rows(plan: EpochPlan, rank: int, step: int) -> RowIndices:
    """Return the rows that a worker takes at a step of an epoch.

    Parameters
    ----------
    plan : EpochPlan
        Plan of the epoch.
    rank : int
        Number of the worker.
    step : int
        Optimizer step of the epoch.

    Returns
    -------
    ndarray of int64, shape (local_batch_size,)
        Rows of the store.
    """
    size = plan.get_local_batch_size(rank)
    return _concatenate_windows(plan, rank)[step * size : (step + 1) * size]


def _concatenate_windows(plan: EpochPlan, rank: int) -> RowIndices:
    """Return all rows of a worker in training order."""
    return np.concatenate([*plan.get_windows(rank), np.empty(0, np.int64)])


def compute_order_checksum(plan: EpochPlan, rank: int) -> str:
    """Return the SHA-256 of a worker's order of rows, by which a resumed training verifies it.

    Parameters
    ----------
    plan : EpochPlan
        Plan of the epoch.
    rank : int
        Number of the worker.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"{plan.n_steps} {plan.get_local_batch_size(rank)}".encode())
    for window in plan.get_windows(rank):
        digest.update(window.astype("<i8").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class GlobalSampler:
    """Shuffles all rows at once; global batches do not depend on the number of workers.

    Parameters
    ----------
    spec : SampleSpec
        Training rows, batch size and seed.
    """

    spec: SampleSpec

    def plan_epoch(self, epoch: int, n_workers: int, segments: Sequence[EpochSegment] = ()) -> EpochPlan:
        """Return the plan of an epoch, or of the rows that its segments left.

        Parameters
        ----------
        epoch : int
            Number of the epoch.
        n_workers : int
            Number of workers.
        segments : sequence of EpochSegment, optional
            Steps of the epoch that are already done.
        """
        order = self.spec.make_rng(epoch, 0).permutation(self.spec.rows)
        n_done = sum(segment.n_steps for segment in segments) * self.spec.batch_size
        return GlobalEpochPlan(order[n_done:], self.spec.batch_size, n_workers)


@dataclass(frozen=True)
class GlobalEpochPlan:
    """Consecutive global batches of ``row_order``, each divided among the workers.

    Parameters
    ----------
    row_order : ndarray of shape (n_rows,), int64
        Rows in training order.
    batch_size : int
        Number of rows in a global batch.
    n_workers : int
        Number of workers.
    """

    row_order: RowIndices
    batch_size: int
    n_workers: int

    @property
    def n_steps(self) -> int:
        """Number of steps; rows that do not fill a batch are left out, different ones in each epoch."""
        return len(self.row_order) // self.batch_size

    def get_local_batch_size(self, rank: int) -> int:
        """Return the number of rows of each global batch that a worker takes.

        Parameters
        ----------
        rank : int
            Number of the worker.
        """
        return compute_local_batch_size(self.batch_size, self.n_workers, rank)

    def get_windows(self, rank: int) -> Sequence[RowIndices]:
        """Return a worker's rows in training order, as one window.

        Parameters
        ----------
        rank : int
            Number of the worker.
        """
        start = self.batch_size * rank // self.n_workers
        batches = self.row_order[: self.n_steps * self.batch_size].reshape(-1, self.batch_size)
        return [batches[:, start : start + self.get_local_batch_size(rank)].ravel()]


@dataclass(frozen=True)
class ShardedSampler:
    """Distributes whole chunks among the workers at random, then shuffles rows within windows of chunks.

    Parameters
    ----------
    spec : SampleSpec
        Training rows, batch size and seed.
    chunk_rows : int
        Rows per chunk of the store.
    window_chunks : int
        Number of chunks that a worker shuffles together.
    """

    spec: SampleSpec
    chunk_rows: int
    window_chunks: int

    def plan_epoch(
        self, epoch: int, n_workers: int, segments: Sequence[EpochSegment] = ()
    ) -> ShardedEpochPlan:
        """Return the plan of an epoch, or of the rows that its segments left.

        Parameters
        ----------
        epoch : int
            Number of the epoch.
        n_workers : int
            Number of workers.
        segments : sequence of EpochSegment, optional
            Steps of the epoch that are already done.
        """
        if not segments:
            return ShardedEpochPlan(self, self.spec.rows, epoch, 0, n_workers)
        last = segments[-1]
        previous = self.plan_epoch(epoch, last.n_workers, segments[:-1])
        used = [
            _concatenate_windows(previous, rank)[: last.n_steps * previous.get_local_batch_size(rank)]
            for rank in range(last.n_workers)
        ]
        remaining = np.setdiff1d(previous.rows, np.concatenate(used), assume_unique=True)
        return ShardedEpochPlan(self, remaining, epoch, len(segments), n_workers)


@dataclass(frozen=True)
class ShardedEpochPlan:
    """Rows of a segment of an epoch, distributed among the workers by whole chunks.

    Parameters
    ----------
    sampler : ShardedSampler
        The sampler.
    rows : ndarray of shape (n_rows,), int64
        Rows to distribute, ascending.
    epoch : int
        Number of the epoch.
    segment_index : int
        Number of the segment within the epoch.
    n_workers : int
        Number of workers.
    """

    sampler: ShardedSampler
    rows: RowIndices
    epoch: int
    segment_index: int
    n_workers: int

    @property
    def n_steps(self) -> int:
        """Number of steps that the worker with the fewest rows can take."""
        sizes = [self.get_local_batch_size(rank) for rank in range(self.n_workers)]
        return min(
            sum(map(len, chunks)) // size if size else 0
            for chunks, size in zip(self.chunks_by_worker, sizes, strict=True)
        )

    def get_local_batch_size(self, rank: int) -> int:
        """Return the number of rows of each global batch that a worker takes.

        Parameters
        ----------
        rank : int
            Number of the worker.
        """
        return compute_local_batch_size(self.sampler.spec.batch_size, self.n_workers, rank)

    @cached_property
    def chunks_by_worker(self) -> list[list[RowIndices]]:
        """Chunks of each worker; in random order, each goes to the worker with the lowest load so far."""
        chunks = _split_by_chunk(self.rows, self.sampler.chunk_rows)
        sizes = np.array([self.get_local_batch_size(rank) for rank in range(self.n_workers)])
        load, assigned = np.zeros(self.n_workers), [list[RowIndices]() for _ in sizes]
        for i in self.sampler.spec.make_rng(self.epoch, 1, self.segment_index).permutation(len(chunks)):
            least = int(np.argmin(load))
            assigned[least].append(chunks[i])
            load[least] += len(chunks[i]) / sizes[least]
        return assigned

    def get_windows(self, rank: int) -> Sequence[RowIndices]:
        """Return a worker's rows in training order, one array per window of chunks.

        Parameters
        ----------
        rank : int
            Number of the worker.
        """
        chunks, size = self.chunks_by_worker[rank], self.sampler.window_chunks
        windows = [np.concatenate(chunks[start : start + size]) for start in range(0, len(chunks), size)]
        rng = self.sampler.spec.make_rng(self.epoch, 2, self.segment_index, rank)
        return [rng.permutation(window) for window in windows]
