"""Small trainings whose every part is known: spectra in memory, a small model, no store and no Ray."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distspec.core.spectrum import WaveGrid
from distspec.io.paths import store_url
from distspec.models.config import VAEConfig
from distspec.models.vae import SPECTRUM, Batch, SpectrumVAE
from distspec.store import store
from distspec.store.store import Frozen, Store, create_store
from distspec.training.checkpoint import Keeper
from distspec.training.config import TrainingConfig
from distspec.training.data import Cached, Feed, Streamed, slices
from distspec.training.distributed import Team
from distspec.training.sampler import Dealt, Deck, Shuffling, Whole
from distspec.training.state import State
from distspec.training.steps import new_state
from distspec.training.trainer import Work
from tests.conftest import append, batch_of, identity_of

L = 32
SMALL = VAEConfig(hidden=(32, 16), dropout=(0.1, 0.1), n_latents=4)
CHUNK_ROWS = 16


def spectra(n: int, seed: int = 3) -> Batch:
    """Return spectra of two kinds, a tenth of their pixels masked."""
    rows = batch_of(n, L, np.random.default_rng(seed))
    return Batch.of_spectra(torch.from_numpy(rows.flux), torch.from_numpy(rows.ivar), torch.full((n,), 5.0))


def small_state(config: TrainingConfig, vae: VAEConfig = SMALL, seed: int = 0) -> State:
    torch.manual_seed(seed)
    return new_state(SpectrumVAE({SPECTRUM: L}, vae, np.geomspace(1100.0, 8400.0, L)), config)


def work_on(
    train: Batch,
    held_out: Batch,
    config: TrainingConfig,
    team: Team | None = None,
    checkpoints: str = "",
    streamed: bool = False,
    **own: Any,
) -> Work:
    """Return a training of spectra in memory, whose rows are 0 … n − 1."""
    team = team or Team()
    deck = Deck(np.arange(len(train)), min(config.batch_size, len(train)), 7)
    read: Callable[..., Batch] = train.__getitem__
    shuffling: Shuffling = Dealt(deck, CHUNK_ROWS, config.window) if streamed else Whole(deck)
    feed: Feed = Streamed(read, team.rank, 1) if streamed else Cached(deck.rows, train, team.rank)
    return Work(
        config=config,
        team=team,
        shuffling=shuffling,
        feed=own.get("feed", feed),
        validation=partial(slices, held_out[slice(team.rank, None, team.size)]),
        begin=lambda vae: vae.prepare(train),
        read=read,
        names=lambda rows: [f"o{row}" for row in rows],
        keeper=Keeper(
            checkpoints,
            shuffling,
            team,
            config.checkpoint_minutes,
            config.checkpoint_steps,
            own.get("called_away", lambda: False),
        ),
        on_epoch=own.get("on_epoch", lambda row: None),
    )


def small_store(root: Path | str, n: int) -> Store:
    """Make a store of `n` spectra in chunks of sixteen."""
    before, store.CHUNK_BYTES = store.CHUNK_BYTES, 4 * L * CHUNK_ROWS
    try:
        empty = create_store(store_url(str(root)), Frozen(WaveGrid("log", 1100.0, 8400.0, L), 1500.0, -2.0))
    finally:
        store.CHUNK_BYTES = before
    return append(empty, batch_of(n, L, np.random.default_rng(0)), identity_of(n))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Tell whether weights are the same to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
