"""Small trainings of spectra in memory, without store and Ray, and small stores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distspec.core.spectrum import WavelengthGrid
from distspec.io.paths import store_url
from distspec.models.batch import Batch
from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.vae import SpectrumVAE
from distspec.store import store
from distspec.store.config import StoreConfig
from distspec.store.store import Store, create_store
from distspec.training.checkpoint import CheckpointManager
from distspec.training.config import TrainingConfig
from distspec.training.data import BatchLoader, CachedLoader, StreamingLoader, split_batch
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import GlobalSampler, Sampler, SampleSpec, ShardedSampler
from distspec.training.state import TrainingState
from distspec.training.steps import init_training_state
from distspec.training.trainer import Trainer
from tests.conftest import append, batch_of, identity_of

L = 32
SMALL = VAEConfig(hidden_sizes=(32, 16), dropout=(0.1, 0.1), n_latents=4)
CHUNK_ROWS = 16


def make_spectra(n: int, seed: int = 3) -> Batch:
    """Return spectra with two different slopes, with a tenth of their pixels masked."""
    rows = batch_of(n, L, np.random.default_rng(seed))
    return Batch.from_spectra(torch.from_numpy(rows.flux), torch.from_numpy(rows.ivar), torch.full((n,), 5.0))


def make_state(config: TrainingConfig, vae: VAEConfig = SMALL, seed: int = 0) -> TrainingState:
    """Return the state of a small model before its first step."""
    torch.manual_seed(seed)
    return init_training_state(SpectrumVAE({SPECTRUM_KEY: L}, vae, np.geomspace(1100.0, 8400.0, L)), config)


def make_trainer(
    train: Batch,
    held_out: Batch,
    config: TrainingConfig,
    process_group: ProcessGroup | None = None,
    checkpoints: str = "",
    streamed: bool = False,
    **replaced: Any,
) -> Trainer:
    """Return a trainer for spectra in memory, whose rows are 0 … n - 1; ``replaced`` are fields of it."""
    process_group = process_group or ProcessGroup()
    spec = SampleSpec(np.arange(len(train)), min(config.batch_size, len(train)), 7)
    read: Callable[..., Batch] = train.__getitem__
    sampler: Sampler = (
        ShardedSampler(spec, CHUNK_ROWS, config.shuffle_window_chunks) if streamed else GlobalSampler(spec)
    )
    loader: BatchLoader = (
        StreamingLoader(read, process_group.rank, 1)
        if streamed
        else CachedLoader(spec.rows, train, process_group.rank)
    )
    return Trainer(
        config=config,
        process_group=process_group,
        sampler=sampler,
        train_loader=loader,
        validation_batches=partial(
            split_batch, held_out[slice(process_group.rank, None, process_group.world_size)]
        ),
        initialize_model=lambda vae: vae.initialize_from_sample(train),
        read_rows=read,
        read_object_ids=lambda rows: [f"o{row}" for row in rows],
        checkpoint_manager=CheckpointManager(
            checkpoints,
            sampler,
            process_group,
            config.checkpoint_interval_minutes,
            config.checkpoint_interval_steps,
            replaced.get("is_preempted", lambda: False),
        ),
        on_epoch_end=replaced.get("on_epoch_end", lambda metrics: None),
    )


def make_store(root: Path | str, n: int) -> Store:
    """Create a store of `n` spectra in chunks of 16."""
    chunk_bytes, store.CHUNK_BYTES = store.CHUNK_BYTES, 4 * L * CHUNK_ROWS
    try:
        empty = create_store(
            store_url(str(root)), StoreConfig(WavelengthGrid("log", 1100.0, 8400.0, L), 1500.0, -2.0)
        )
    finally:
        store.CHUNK_BYTES = chunk_bytes
    return append(empty, batch_of(n, L, np.random.default_rng(0)), identity_of(n))


def state_dicts_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Return whether weights are equal, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
