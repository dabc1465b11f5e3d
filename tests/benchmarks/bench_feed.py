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
from distspec.store.config import StoreConfig
from distspec.store.store import Store, create_store
from distspec.training.checkpoint import CheckpointManager
from distspec.training.config import TrainingConfig
from distspec.training.data import CachedLoader, StoreReader, StreamingLoader
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import GlobalSampler, SampleSpec, ShardedSampler
from distspec.training.trainer import Trainer, train_epoch
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
    store = create_store(store_url(root), StoreConfig(GRID, 1500.0, -2.0))
    rng = np.random.default_rng(0)
    spectra = batch_of(N_SPECTRA, GRID.n_pixels, rng)
    return append(store, spectra, identity_of(N_SPECTRA))


def _measure(store: Store, batch: int) -> list[Row]:
    deck, reader = SampleSpec(np.arange(N_SPECTRA), batch, 0), StoreReader(store, torch.device("cpu"))
    held, dealt = GlobalSampler(deck), ShardedSampler(deck, store.chunk_rows, WINDOW)
    whole, config = reader.read(deck.rows), TrainingConfig(batch_size=batch)
    cached, streamed = CachedLoader(deck.rows, whole, 0), StreamingLoader(reader.read, 0, 1)
    state = new(batch, whole[:2048])
    keeper = CheckpointManager("", held, ProcessGroup(), 5.0)
    work = Trainer(
        config, ProcessGroup(), held, cached, lambda: iter(()), lambda: whole, reader.read, str, keeper
    )

    def feed() -> None:
        for _ in streamed.iter_batches(dealt.plan_epoch(state.epoch, 1), 0):
            pass

    def train(work: Trainer) -> None:
        train_epoch(state, work.sampler.plan_epoch(state.epoch, 1), work)
        state.start_next_epoch()

    on_held: Callable[[], None] = partial(train, work)
    on_streamed = partial(train, replace(work, sampler=dealt, train_loader=streamed))
    fed, eaten = paired(feed, on_held, REPEATS)
    together, alone = paired(on_streamed, on_held, REPEATS)
    memory = rate(f"training, held, batch {batch}", N_SPECTRA, "spectra", alone)
    return [
        rate(f"feeding, batch {batch}", N_SPECTRA, "spectra", fed).run_null_test(
            rate(f"training, held, batch {batch}", N_SPECTRA, "spectra", eaten)
        ),
        rate(f"training, streamed, batch {batch}", N_SPECTRA, "spectra", together).run_null_test(memory),
        memory,
    ]
