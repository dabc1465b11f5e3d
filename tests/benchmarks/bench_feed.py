"""Streaming of 16,384 spectra of 640 pixels from a store on local disk, compared with training on them.

Windows of eight whole chunks are read in shuffled order, one ahead, shuffled and divided into batches, by one
process with one thread that does nothing with them (page cache). Training is the training loop on spectra
that are held in memory. Training on streamed spectra is then compared with training on spectra in memory.
"""

from __future__ import annotations

import tempfile
from functools import partial

import numpy as np
import torch

from distspec.io.paths import store_url
from distspec.store.config import StoreConfig
from distspec.store.store import Store, create_store
from distspec.training.checkpoint import CheckpointManager
from distspec.training.config import TrainingConfig
from distspec.training.data import BatchLoader, CachedLoader, StoreReader, StreamingLoader
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import GlobalSampler, Sampler, SampleSpec, ShardedSampler
from distspec.training.trainer import Trainer, train_epoch
from tests.benchmarks.bench_train import GRID, make_state
from tests.benchmarks.timing import Row, rate_row, time_pair
from tests.conftest import append, batch_of, identity_of

N_SPECTRA, WINDOW_CHUNKS, REPEATS = 16_384, 8, 5


def run() -> list[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        store = make_store(folder)
        return [row for batch_size in (64, 1024) for row in _measure(store, batch_size)]


def make_store(root: str) -> Store:
    """Write a store of spectra that compress as little as noise."""
    store = create_store(store_url(root), StoreConfig(GRID, 1500.0, -2.0))
    rng = np.random.default_rng(0)
    spectra = batch_of(N_SPECTRA, GRID.n_pixels, rng)
    return append(store, spectra, identity_of(N_SPECTRA))


def _measure(store: Store, batch_size: int) -> list[Row]:
    spec, reader = SampleSpec(np.arange(N_SPECTRA), batch_size, 0), StoreReader(store, torch.device("cpu"))
    cached_sampler = GlobalSampler(spec)
    streaming_sampler = ShardedSampler(spec, store.chunk_rows, WINDOW_CHUNKS)
    spectra, config = reader.read(spec.rows), TrainingConfig(batch_size=batch_size)
    cached_loader, streaming_loader = CachedLoader(spec.rows, spectra, 0), StreamingLoader(reader.read, 0, 1)
    state = make_state(batch_size, spectra[:2048])
    checkpoint_manager = CheckpointManager("", cached_sampler, ProcessGroup(), 5.0)

    def stream() -> None:
        for _ in streaming_loader.iter_batches(streaming_sampler.plan_epoch(state.epoch, 1), 0):
            pass

    def train(sampler: Sampler, loader: BatchLoader) -> None:
        trainer = Trainer(
            config=config,
            process_group=ProcessGroup(),
            sampler=sampler,
            train_loader=loader,
            validation_batches=lambda: iter(()),
            initialize_model=lambda vae: None,
            read_rows=reader.read,
            read_object_ids=lambda rows: [str(row) for row in rows],
            checkpoint_manager=checkpoint_manager,
        )
        train_epoch(state, sampler.plan_epoch(state.epoch, 1), trainer)
        state.start_next_epoch()

    train_cached = partial(train, cached_sampler, cached_loader)
    train_streamed = partial(train, streaming_sampler, streaming_loader)
    streaming, beside_streaming = time_pair(stream, train_cached, REPEATS)
    streamed, cached = time_pair(train_streamed, train_cached, REPEATS)
    name = f"training from memory, batch {batch_size}"
    reference = rate_row(name, N_SPECTRA, "spectra", cached)
    return [
        rate_row(f"streaming alone, batch {batch_size}", N_SPECTRA, "spectra", streaming).relative_to(
            rate_row(name, N_SPECTRA, "spectra", beside_streaming)
        ),
        rate_row(f"training, streamed, batch {batch_size}", N_SPECTRA, "spectra", streamed).relative_to(
            reference
        ),
        reference,
    ]
