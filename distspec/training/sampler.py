"""The order of an epoch: which rows each worker takes at which step. Pure, numpy alone.

It follows from seed, epoch and number of workers, so a run that was cut short knows from three numbers what
it has seen. Where an epoch goes on with another number of workers, those who took its first steps are its
`Leg`s: what they took is worked out again, and what they left is shared out anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Leg:
    """Steps of an epoch that so many workers took together."""

    n_workers: int
    steps: int


@dataclass(frozen=True)
class Deck:
    """Rows to train on, and how they are shuffled.

    Parameters
    ----------
    rows : (n,) int64, ascending
    batch_size : int
        Rows in a global batch.
    seed : int
    """

    rows: Rows
    batch_size: int
    seed: int

    def draw(self, epoch: int, purpose: int, *of: int) -> np.random.Generator:
        """Return the random numbers of one purpose, the same for all who ask."""
        return np.random.default_rng([self.seed, epoch, purpose, *of])


class Epoch(Protocol):
    """Steps of one epoch, or what earlier legs have left of them."""

    @property
    def n_steps(self) -> int:
        """Steps, the same number for every worker."""
        ...

    def windows(self, rank: int) -> Sequence[Rows]:
        """Return a worker's rows in the order of training, in parts that are read together."""
        ...

    def share(self, rank: int) -> int:
        """Return how many rows of each global batch a worker takes."""
        ...


class Shuffling(Protocol):
    """How every epoch is shuffled."""

    @property
    def deck(self) -> Deck:
        """What is shuffled."""
        ...

    def epoch(self, number: int, n_workers: int, legs: Sequence[Leg] = ()) -> Epoch:
        """Return an epoch, or what its legs left of it."""
        ...


def share(batch_size: int, n_workers: int, rank: int) -> int:
    """Return how many rows of a global batch a worker takes: as equal as can be.

    Examples
    --------
    >>> [share(64, 3, rank) for rank in range(3)]
    [21, 21, 22]
    """
    return batch_size * (rank + 1) // n_workers - batch_size * rank // n_workers


def sample(deck: Deck, chunk_rows: int, n: int) -> Rows:
    """Return about `n` rows of whole random chunks, the same for any number of workers, ascending."""
    pieces = _by_chunk(deck.rows, chunk_rows)
    order = deck.draw(0, 3).permutation(len(pieces))
    return np.sort(np.concatenate([pieces[i] for i in order])[:n])


def _by_chunk(rows: Rows, chunk_rows: int) -> list[Rows]:
    return np.split(rows, np.flatnonzero(np.diff(rows // chunk_rows)) + 1) if len(rows) else []


def step_rows(epoch: Epoch, rank: int, step: int) -> Rows:
    """Return the rows that a worker takes at a step of an epoch."""
    size = epoch.share(rank)
    return np.concatenate([*epoch.windows(rank), np.empty(0, np.int64)])[step * size : (step + 1) * size]


def digest(epoch: Epoch, rank: int) -> str:
    """Return a SHA-256 of a worker's order: who goes on with an epoch must come to the same one."""
    sink = hashlib.sha256(f"{epoch.n_steps} {epoch.share(rank)}".encode())
    for window in epoch.windows(rank):
        sink.update(window.astype("<i8").tobytes())
    return sink.hexdigest()


@dataclass(frozen=True)
class Whole:
    """All rows shuffled at once, for data that every worker holds: global batches know of no workers."""

    deck: Deck

    def epoch(self, number: int, n_workers: int, legs: Sequence[Leg] = ()) -> Epoch:
        """Return an epoch, or what its legs left of it."""
        order = self.deck.draw(number, 0).permutation(self.deck.rows)
        return WholeEpoch(
            order[sum(leg.steps for leg in legs) * self.deck.batch_size :], self.deck.batch_size, n_workers
        )


@dataclass(frozen=True)
class WholeEpoch:
    """Global batches one after the other in `order`; each worker takes its slice of each."""

    order: Rows
    batch_size: int
    n_workers: int

    @property
    def n_steps(self) -> int:
        """Steps; rows that do not fill a last batch are left out, other ones each epoch."""
        return len(self.order) // self.batch_size

    def share(self, rank: int) -> int:
        """Return how many rows of each global batch a worker takes."""
        return share(self.batch_size, self.n_workers, rank)

    def windows(self, rank: int) -> Sequence[Rows]:
        """Return a worker's rows in the order of training, in one part."""
        start = self.batch_size * rank // self.n_workers
        batches = self.order[: self.n_steps * self.batch_size].reshape(-1, self.batch_size)
        return [batches[:, start : start + self.share(rank)].ravel()]


@dataclass(frozen=True)
class Dealt:
    """Whole chunks shuffled and dealt to the workers, then rows shuffled within a window of chunks.

    Parameters
    ----------
    deck : Deck
    chunk_rows : int
        Rows of a chunk of the store.
    window : int
        Chunks that a worker shuffles together.
    """

    deck: Deck
    chunk_rows: int
    window: int

    def epoch(self, number: int, n_workers: int, legs: Sequence[Leg] = ()) -> DealtEpoch:
        """Return an epoch, or what its legs left of it."""
        if not legs:
            return DealtEpoch(self, self.deck.rows, number, 0, n_workers)
        before = self.epoch(number, legs[-1].n_workers, legs[:-1])
        taken = [
            np.concatenate([*before.windows(rank), np.empty(0, np.int64)])[
                : legs[-1].steps * before.share(rank)
            ]
            for rank in range(legs[-1].n_workers)
        ]
        left = np.setdiff1d(before.rows, np.concatenate(taken), assume_unique=True)
        return DealtEpoch(self, left, number, len(legs), n_workers)


@dataclass(frozen=True)
class DealtEpoch:
    """Some rows, a leg of an epoch, dealt to so many workers."""

    shuffling: Dealt
    rows: Rows
    number: int
    leg: int
    n_workers: int

    @property
    def n_steps(self) -> int:
        """Steps: as many as the worker with the fewest rows can take; what is over differs each epoch."""
        return min(
            sum(map(len, hand)) // self.share(rank) if self.share(rank) else 0
            for rank, hand in enumerate(self.hands)
        )

    def share(self, rank: int) -> int:
        """Return how many rows of each global batch a worker takes."""
        return share(self.shuffling.deck.batch_size, self.n_workers, rank)

    @cached_property
    def hands(self) -> list[list[Rows]]:
        """Each worker's chunks: in random order, each to who has least for its share so far."""
        pieces = _by_chunk(self.rows, self.shuffling.chunk_rows)
        shares = np.array([self.share(rank) for rank in range(self.n_workers)])
        load, hands = np.zeros(self.n_workers), [list[Rows]() for _ in shares]
        for i in self.shuffling.deck.draw(self.number, 1, self.leg).permutation(len(pieces)):
            least = int(np.argmin(load))
            hands[least].append(pieces[i])
            load[least] += len(pieces[i]) / shares[least]
        return hands

    def windows(self, rank: int) -> Sequence[Rows]:
        """Return a worker's rows in the order of training, a window of chunks after the other."""
        hand, size = self.hands[rank], self.shuffling.window
        parts = [np.concatenate(hand[start : start + size]) for start in range(0, len(hand), size)]
        draw = self.shuffling.deck.draw(self.number, 2, self.leg, rank)
        return [draw.permutation(part) for part in parts]
