"""Fitting the VAE: epoch after epoch until it no longer improves, from wherever a checkpoint stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distspec.models.vae import Batch, SpectrumVAE
from distspec.training.checkpoint import Keeper
from distspec.training.config import TrainingConfig, learning_rate
from distspec.training.data import Feed, not_finite
from distspec.training.distributed import Team
from distspec.training.sampler import Epoch, Rows, Shuffling, step_rows
from distspec.training.state import EarlyStopping, Row, State, seed_noise
from distspec.training.steps import take_step, validate

GPU_LOOKS_EVERY = 50
"""Steps after which a GPU is asked whether all is finite: asking makes it wait."""


@dataclass(frozen=True)
class Work:
    """What one worker trains with.

    Parameters
    ----------
    config : TrainingConfig
    team : Team
    shuffling : decides the order of each epoch
    feed : gives this worker's batches
    validation : yields this worker's share of the held-out spectra
    begin : gives the model what it starts from, before the first step
    read : gives any rows; asked when a gradient is not finite
    names : gives the object ids of rows; likewise
    keeper : Keeper
    on_epoch : takes each epoch's row of the history
    """

    config: TrainingConfig
    team: Team
    shuffling: Shuffling
    feed: Feed
    validation: Callable[[], Iterator[Batch]]
    begin: Callable[[SpectrumVAE], Any]
    read: Callable[[Rows], Batch]
    names: Callable[[Rows], Sequence[str]]
    keeper: Keeper
    on_epoch: Callable[[Row], Any] = lambda row: None


def fit(state: State, work: Work) -> EarlyStopping:
    """Train until the validation reconstruction stops improving, from where the newest checkpoint stands.

    Returns
    -------
    EarlyStopping
        Holds the best weights and their epoch.

    Raises
    ------
    FloatingPointError
        When a gradient or a loss is no longer finite; the same on all workers.
    ValueError
        When an epoch has no step.
    """
    if not work.keeper.resume(state):
        if work.team.rank == 0:
            work.begin(state.vae)
        work.team.share_state(state.vae)
        seed_noise(work.shuffling.deck.seed, work.team, 0)
    stop = False
    while not stop and state.epoch < work.config.max_epochs:
        rate = learning_rate(work.config, state.step)
        epoch = work.shuffling.epoch(state.epoch, work.team.size, state.legs)
        if not epoch.n_steps and not state.legs:
            raise ValueError(
                f"{len(work.shuffling.deck.rows)} spectra give {work.team.size} workers no batch of "
                f"{work.shuffling.deck.batch_size}: lower training.workers or raise training.cache_mb"
            )
        losses = train_epoch(state, epoch, work)
        found = validate(state.vae, work.validation(), work.team)
        row = {"epoch": float(state.epoch), **losses, **found, "lr": rate, "seconds": state.lap()}
        if not all(map(math.isfinite, row.values())):
            raise FloatingPointError(
                f"a loss is not finite in epoch {state.epoch}: {row}; lower training.learning_rate"
            )
        # Where the objective has never settled, the last epoch is the best.
        is_last = state.epoch + 1 == work.config.max_epochs
        if state.step >= state.vae.config.settled_after or is_last:
            stop = state.stopping.update(state.epoch, row["val_recon"], state.vae.state_dict())
        state.history.append(row)
        work.on_epoch(row)
        state.next_epoch()
    return state.stopping


def train_epoch(state: State, epoch: Epoch, work: Work) -> Row:
    """Train one epoch from where the state stands in it; return its mean losses over all workers."""
    vae, team = state.vae, work.team
    n_rows = epoch.share(team.rank)
    weight = n_rows / work.shuffling.deck.batch_size
    looks_every = GPU_LOOKS_EVERY if team.device.type == "cuda" else 1
    norms: list[Tensor] = []
    vae.train()
    for batch in work.feed.batches(epoch, state.leg_step):
        losses, norm = take_step(state, batch, work.config, team, weight)
        state.add_losses(losses, n_rows)
        state.step, state.leg_step = state.step + 1, state.leg_step + 1
        norms.append(norm)
        keep = work.keeper.due(state.step)
        if keep or len(norms) == looks_every or state.leg_step == epoch.n_steps:
            _look(norms, state, epoch, work)
            norms.clear()
        if keep:
            work.keeper.keep(state, epoch)
    team.average_batch_norm(vae, weight)
    *sums, n = team.add_up(state.sums).tolist()
    return {f"train_{name}": total / n for name, total in zip(state.terms, sums, strict=True)}


def _look(norms: Sequence[Tensor], state: State, epoch: Epoch, work: Work) -> None:
    """Raise where one of the last steps' gradients was not finite."""
    finite = torch.stack(list(norms)).isfinite().tolist()
    if all(finite):
        return
    back = len(norms) - finite.index(False)
    parts = [step_rows(epoch, rank, state.leg_step - back) for rank in range(work.team.size)]
    rows = np.concatenate(parts)
    bad = not_finite(work.read(rows))
    culprits, others = (list(work.names(rows[which])) for which in (bad, ~bad))
    raise FloatingPointError(
        f"the gradient of step {state.step - back} (epoch {state.epoch}) is not finite: "
        + (f"values are not finite in {listed(culprits)}; " if culprits else "")
        + f"also in its batch: {listed(others)}. Look at them with `distspec query`; "
        "if they are sound, lower training.learning_rate"
    )


def listed(names: Sequence[str]) -> str:
    """Name some spectra, not a thousand."""
    return ", ".join(names[:64]) + (f" and {len(names) - 64} more" if len(names) > 64 else "")
