"""Feeding: 16,384 spectra of 640 pixels streamed from a store on local disk, against training on them.

Whole chunks in shuffled order, windows of 8 of them shuffled, one read ahead, cut into batches: by one
process of one thread that does nothing with them (the page cache is warm). Training is our loop on spectra
in memory. Then what Ray Train's worker does with both: training on what is streamed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from distspec.io.paths import store_url
from distspec.store.store import Frozen, Store, create_store
from distspec.training.checkpoint import Keeper
from distspec.training.config import TrainingConfig
from distspec.training.data import Cached, Reader, Streamed
from distspec.training.distributed import Team
from distspec.training.sampler import Dealt, Deck, Whole
from distspec.training.trainer import Work, train_epoch
from tests.benchmarks.bench_train import GRID, new
from tests.benchmarks.timing import Row, paired, rate
from tests.conftest import append, batch_of, identity_of

N_SPECTRA, WINDOW, REPEATS = 16_384, 8, 5


def run() -> list[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        store = make_store(folder)
        return [row for batch in (64, 1024) for row in _measure(store, batch)]


def make_store(root: str) -> Store:
    """Write a store of spectra that compress as little as noise does."""
    store = create_store(store_url(root), Frozen(GRID, 1500.0, -2.0))
    rng = np.random.default_rng(0)
    spectra = batch_of(N_SPECTRA, GRID.n_pixels, rng)
    return append(store, spectra, identity_of(N_SPECTRA))


def _measure(store: Store, batch: int) -> list[Row]:
    deck, reader = Deck(np.arange(N_SPECTRA), batch, 0), Reader(store, torch.device("cpu"))
    held, dealt = Whole(deck), Dealt(deck, store.chunk_rows, WINDOW)
    whole, config = reader.read(deck.rows), TrainingConfig(batch_size=batch)
    cached, streamed = Cached(deck.rows, whole, 0), Streamed(reader.read, 0, 1)
    state = new(batch, whole[:2048])
    keeper = Keeper("", held, Team(), 5.0)
    work = Work(config, Team(), held, cached, lambda: iter(()), lambda: whole, reader.read, str, keeper)

    def feed() -> None:
        for _ in streamed.batches(dealt.epoch(state.epoch, 1), 0):
            pass

    def train(work: Work) -> None:
        train_epoch(state, work.shuffling.epoch(state.epoch, 1), work)
        state.next_epoch()

    on_held: Callable[[], None] = partial(train, work)
    on_streamed = partial(train, replace(work, shuffling=dealt, feed=streamed))
    fed, eaten = paired(feed, on_held, REPEATS)
    together, alone = paired(on_streamed, on_held, REPEATS)
    memory = rate(f"training, held, batch {batch}", N_SPECTRA, "spectra", alone)
    return [
        rate(f"feeding, batch {batch}", N_SPECTRA, "spectra", fed).against(
            rate(f"training, held, batch {batch}", N_SPECTRA, "spectra", eaten)
        ),
        rate(f"training, streamed, batch {batch}", N_SPECTRA, "spectra", together).against(memory),
        memory,
    ]
