"""Fitting the VAE: epoch after epoch until it no longer improves, from wherever a checkpoint stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distspec.models.batch import Batch
from distspec.models.vae import SpectrumVAE
from distspec.training.checkpoint import CheckpointManager
from distspec.training.config import TrainingConfig, learning_rate
from distspec.training.data import BatchLoader, find_nonfinite
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import EpochPlan, RowIndices, Sampler, get_step_rows
from distspec.training.state import EarlyStopping, EpochMetrics, TrainingState, seed_torch
from distspec.training.steps import train_step, validate

GPU_FINITE_CHECK_STEPS = 50
"""Steps after which a GPU is asked whether all is finite: asking makes it wait."""


@dataclass(frozen=True)
class Trainer:
    """What one worker trains with.

    Parameters
    ----------
    config : TrainingConfig
    process_group : Team
    sampler : decides the order of each epoch
    train_loader : gives this worker's batches
    validation_batches : yields this worker's share of the held-out spectra
    initialize_model : gives the model what it starts from, before the first step
    read_rows : gives any rows; asked when a gradient is not finite
    read_object_ids : gives the object ids of rows; likewise
    checkpoint_manager : Keeper
    on_epoch_end : takes each epoch's row of the history
    """

    config: TrainingConfig
    process_group: ProcessGroup
    sampler: Sampler
    train_loader: BatchLoader
    validation_batches: Callable[[], Iterator[Batch]]
    initialize_model: Callable[[SpectrumVAE], Any]
    read_rows: Callable[[RowIndices], Batch]
    read_object_ids: Callable[[RowIndices], Sequence[str]]
    checkpoint_manager: CheckpointManager
    on_epoch_end: Callable[[EpochMetrics], Any] = lambda row: None


def fit(state: TrainingState, trainer: Trainer) -> EarlyStopping:
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
    if not trainer.checkpoint_manager.restore_latest(state):
        if trainer.process_group.rank == 0:
            trainer.initialize_model(state.vae)
        trainer.process_group.broadcast_module(state.vae)
        seed_torch(trainer.sampler.spec.seed, trainer.process_group, 0)
    stop = False
    while not stop and state.epoch < trainer.config.max_epochs:
        rate = learning_rate(trainer.config, state.step)
        epoch = trainer.sampler.plan_epoch(state.epoch, trainer.process_group.world_size, state.segments)
        if not epoch.n_steps and not state.segments:
            raise ValueError(
                f"{len(trainer.sampler.spec.rows)} spectra give {trainer.process_group.world_size} workers no batch of "
                f"{trainer.sampler.spec.batch_size}: lower training.workers or raise training.cache_mb"
            )
        losses = train_epoch(state, epoch, trainer)
        found = validate(state.vae, trainer.validation_batches(), trainer.process_group)
        row = {
            "epoch": float(state.epoch),
            **losses,
            **found,
            "lr": rate,
            "seconds": state.update_epoch_seconds(),
        }
        if not all(map(math.isfinite, row.values())):
            raise FloatingPointError(
                f"a loss is not finite in epoch {state.epoch}: {row}; lower training.learning_rate"
            )
        # Where the objective has never settled, the last epoch is the best.
        is_last = state.epoch + 1 == trainer.config.max_epochs
        if state.step >= state.vae.config.n_annealing_steps or is_last:
            stop = state.early_stopping.update(state.epoch, row["val_recon"], state.vae.state_dict())
        state.history.append(row)
        trainer.on_epoch_end(row)
        state.start_next_epoch()
    return state.early_stopping


def train_epoch(state: TrainingState, plan: EpochPlan, trainer: Trainer) -> EpochMetrics:
    """Train one epoch from where the state stands in it; return its mean losses over all workers."""
    vae, team = state.vae, trainer.process_group
    n_rows = plan.get_local_batch_size(team.rank)
    weight = n_rows / trainer.sampler.spec.batch_size
    looks_every = GPU_FINITE_CHECK_STEPS if team.device.type == "cuda" else 1
    norms: list[Tensor] = []
    vae.train()
    for batch in trainer.train_loader.iter_batches(plan, state.segment_step):
        losses, norm = train_step(state, batch, trainer.config, team, weight)
        state.add_losses(losses, n_rows)
        state.step, state.segment_step = state.step + 1, state.segment_step + 1
        norms.append(norm)
        keep = trainer.checkpoint_manager.should_save(state.step)
        if keep or len(norms) == looks_every or state.segment_step == plan.n_steps:
            _check_gradients_finite(norms, state, plan, trainer)
            norms.clear()
        if keep:
            trainer.checkpoint_manager.save(state, plan)
    team.average_batch_norm(vae, weight)
    *sums, n = team.all_reduce(state.loss_sums).tolist()
    return {f"train_{name}": total / n for name, total in zip(state.loss_names, sums, strict=True)}


def _check_gradients_finite(
    grad_norms: Sequence[Tensor], state: TrainingState, plan: EpochPlan, trainer: Trainer
) -> None:
    """Raise where one of the last steps' gradients was not finite."""
    finite = torch.stack(list(grad_norms)).isfinite().tolist()
    if all(finite):
        return
    back = len(grad_norms) - finite.index(False)
    parts = [
        get_step_rows(plan, rank, state.segment_step - back)
        for rank in range(trainer.process_group.world_size)
    ]
    rows = np.concatenate(parts)
    bad = find_nonfinite(trainer.read_rows(rows))
    culprits, others = (list(trainer.read_object_ids(rows[which])) for which in (bad, ~bad))
    raise FloatingPointError(
        f"the gradient of step {state.step - back} (epoch {state.epoch}) is not finite: "
        + (f"values are not finite in {format_names(culprits)}; " if culprits else "")
        + f"also in its batch: {format_names(others)}. Look at them with `distspec query`; "
        "if they are sound, lower training.learning_rate"
    )


def format_names(object_ids: Sequence[str]) -> str:
    """Name some spectra, not a thousand."""
    return ", ".join(object_ids[:64]) + (f" and {len(object_ids) - 64} more" if len(object_ids) > 64 else "")
