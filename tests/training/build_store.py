"""Small trainings whose every part is known: spectra in memory, a small model, no store and no Ray."""

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


def spectra(n: int, seed: int = 3) -> Batch:
    """Return spectra of two kinds, a tenth of their pixels masked."""
    rows = batch_of(n, L, np.random.default_rng(seed))
    return Batch.from_spectra(torch.from_numpy(rows.flux), torch.from_numpy(rows.ivar), torch.full((n,), 5.0))


def small_state(config: TrainingConfig, vae: VAEConfig = SMALL, seed: int = 0) -> TrainingState:
    torch.manual_seed(seed)
    return init_training_state(SpectrumVAE({SPECTRUM_KEY: L}, vae, np.geomspace(1100.0, 8400.0, L)), config)


def work_on(
    train: Batch,
    held_out: Batch,
    config: TrainingConfig,
    team: ProcessGroup | None = None,
    checkpoints: str = "",
    streamed: bool = False,
    **own: Any,
) -> Trainer:
    """Return a training of spectra in memory, whose rows are 0 … n − 1."""
    team = team or ProcessGroup()
    deck = SampleSpec(np.arange(len(train)), min(config.batch_size, len(train)), 7)
    read: Callable[..., Batch] = train.__getitem__
    shuffling: Sampler = (
        ShardedSampler(deck, CHUNK_ROWS, config.shuffle_window_chunks) if streamed else GlobalSampler(deck)
    )
    feed: BatchLoader = (
        StreamingLoader(read, team.rank, 1) if streamed else CachedLoader(deck.rows, train, team.rank)
    )
    return Trainer(
        config=config,
        process_group=team,
        sampler=shuffling,
        train_loader=own.get("feed", feed),
        validation_batches=partial(split_batch, held_out[slice(team.rank, None, team.world_size)]),
        initialize_model=lambda vae: vae.initialize_from_sample(train),
        read_rows=read,
        read_object_ids=lambda rows: [f"o{row}" for row in rows],
        checkpoint_manager=CheckpointManager(
            checkpoints,
            shuffling,
            team,
            config.checkpoint_interval_minutes,
            config.checkpoint_interval_steps,
            own.get("is_preempted", lambda: False),
        ),
        on_epoch_end=own.get("on_epoch", lambda row: None),
    )


def small_store(root: Path | str, n: int) -> Store:
    """Make a store of `n` spectra in chunks of sixteen."""
    before, store.CHUNK_BYTES = store.CHUNK_BYTES, 4 * L * CHUNK_ROWS
    try:
        empty = create_store(
            store_url(str(root)), StoreConfig(WavelengthGrid("log", 1100.0, 8400.0, L), 1500.0, -2.0)
        )
    finally:
        store.CHUNK_BYTES = before
    return append(empty, batch_of(n, L, np.random.default_rng(0)), identity_of(n))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Tell whether weights are the same to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
