"""The training loop: epochs until the validation loss stops improving."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distspec.core.errors import TrainingDivergedError, TrainingError
from distspec.models.batch import Batch
from distspec.models.vae import SpectrumVAE
from distspec.training.checkpoint import CheckpointManager
from distspec.training.config import TrainingConfig, learning_rate
from distspec.training.data import BatchLoader, find_nonfinite
from distspec.training.distributed import ProcessGroup
from distspec.training.record import EpochMetrics
from distspec.training.sampler import EpochPlan, RowIndices, Sampler, get_step_rows
from distspec.training.state import EarlyStopping, TrainingState, seed_torch
from distspec.training.steps import train_step, validate

GPU_FINITE_CHECK_STEPS = 50
"""Steps between two checks for finite gradients on a GPU, each of which waits for the GPU."""
MAX_NAMES_IN_MESSAGE = 64
"""Number of spectra that an error message names."""


@dataclass(frozen=True)
class Trainer:
    """What one worker trains with.

    Parameters
    ----------
    config : TrainingConfig
        Settings of the training.
    process_group : ProcessGroup
        The workers.
    sampler : Sampler
        Order of the training spectra.
    train_loader : BatchLoader
        This worker's training batches.
    validation_batches : callable
        Returns an iterator over this worker's part of the held-out spectra.
    initialize_model : callable
        Sets the network's initial state, before the first step and on worker 0 only.
    read_rows : callable
        Reads rows of the store as a batch; used to name spectra whose gradient is not finite.
    read_object_ids : callable
        Returns the object ids of rows; likewise.
    checkpoint_manager : CheckpointManager
        Saves and restores checkpoints.
    on_epoch_end : callable, optional
        Is called with the `EpochMetrics` of each completed epoch.
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
    on_epoch_end: Callable[[EpochMetrics], Any] = lambda _: None


def fit(state: TrainingState, trainer: Trainer) -> EarlyStopping:
    """Train until the validation reconstruction loss stops improving, from the latest checkpoint if any.

    Parameters
    ----------
    state : TrainingState
        Network and optimizer, before the first step.
    trainer : Trainer
        What to train with.

    Returns
    -------
    EarlyStopping
        Holds the best weights and their epoch.

    Raises
    ------
    TrainingDivergedError
        If a gradient or a loss is not finite; raised on all workers alike.
    TrainingError
        If an epoch has no step.
    """
    if not trainer.checkpoint_manager.restore_latest(state):
        if trainer.process_group.rank == 0:
            trainer.initialize_model(state.vae)
        trainer.process_group.broadcast_module(state.vae)
        seed_torch(trainer.sampler.spec.seed, trainer.process_group, 0)
    stop = False
    while not stop and state.epoch < trainer.config.max_epochs:
        rate = learning_rate(trainer.config, state.step)
        plan = trainer.sampler.plan_epoch(state.epoch, trainer.process_group.world_size, state.segments)
        if not plan.n_steps and not state.segments:
            raise TrainingError(
                f"{len(trainer.sampler.spec.rows)} spectra give {trainer.process_group.world_size} workers "
                f"no batch of {trainer.sampler.spec.batch_size}: lower training.workers or raise "
                "training.cache_mb"
            )
        losses = train_epoch(state, plan, trainer)
        validation = validate(state.vae, trainer.validation_batches(), trainer.process_group)
        metrics = EpochMetrics(state.epoch, losses, validation, rate, state.update_epoch_seconds())
        if not all(map(math.isfinite, metrics.to_row().values())):
            raise TrainingDivergedError(
                f"a loss is not finite in epoch {state.epoch}: {metrics.to_row()}; "
                "lower training.learning_rate"
            )
        stop = state.early_stopping.update(state.epoch, validation["recon"], state.vae.state_dict())
        state.history.append(metrics)
        trainer.on_epoch_end(metrics)
        state.start_next_epoch()
    return state.early_stopping


def train_epoch(state: TrainingState, plan: EpochPlan, trainer: Trainer) -> dict[str, float]:
    """Train the rest of an epoch.

    Parameters
    ----------
    state : TrainingState
        Its position within the epoch is where training continues.
    plan : EpochPlan
        Order of the rows of the epoch.
    trainer : Trainer
        What to train with.

    Returns
    -------
    dict of str to float
        Terms of the objective, averaged over the training spectra of all workers.
    """
    vae, process_group = state.vae, trainer.process_group
    n_rows = plan.get_local_batch_size(process_group.rank)
    batch_fraction = n_rows / trainer.sampler.spec.batch_size
    check_steps = GPU_FINITE_CHECK_STEPS if process_group.device.type == "cuda" else 1
    grad_norms: list[Tensor] = []
    vae.train()
    for batch in trainer.train_loader.iter_batches(plan, state.segment_step):
        losses, grad_norm = train_step(state, batch, trainer.config, process_group, batch_fraction)
        state.add_losses(losses, n_rows)
        state.step, state.segment_step = state.step + 1, state.segment_step + 1
        grad_norms.append(grad_norm)
        must_save = trainer.checkpoint_manager.should_save(state.step)
        if must_save or len(grad_norms) == check_steps or state.segment_step == plan.n_steps:
            _check_gradients_finite(grad_norms, state, plan, trainer)
            grad_norms.clear()
        if must_save:
            trainer.checkpoint_manager.save(state, plan)
    process_group.average_batch_norm(vae, batch_fraction)
    *sums, n = process_group.all_reduce(state.loss_sums).tolist()
    return {name: total / n for name, total in zip(state.loss_names, sums, strict=True)}


def _check_gradients_finite(
    grad_norms: Sequence[Tensor], state: TrainingState, plan: EpochPlan, trainer: Trainer
) -> None:
    """Raise an error that names the spectra of the first step whose gradient was not finite."""
    finite = torch.stack(list(grad_norms)).isfinite().tolist()
    if all(finite):
        return
    steps_ago = len(grad_norms) - finite.index(False)
    rows = np.concatenate(
        [
            get_step_rows(plan, rank, state.segment_step - steps_ago)
            for rank in range(trainer.process_group.world_size)
        ]
    )
    bad = find_nonfinite(trainer.read_rows(rows))
    culprits, others = (list(trainer.read_object_ids(rows[selected])) for selected in (bad, ~bad))
    raise TrainingDivergedError(
        f"the gradient of step {state.step - steps_ago} (epoch {state.epoch}) is not finite: "
        + (f"values are not finite in {format_names(culprits)}; " if culprits else "")
        + f"also in its batch: {format_names(others)}. Inspect these spectra with `distspec query`; "
        "if they are valid, lower training.learning_rate"
    )


def format_names(object_ids: Sequence[str]) -> str:
    """Return a list of spectra for a message, shortened to `MAX_NAMES_IN_MESSAGE`.

    Parameters
    ----------
    object_ids : sequence of str
        Identifiers of spectra.

    Returns
    -------
    str
    """
    n_more = len(object_ids) - MAX_NAMES_IN_MESSAGE
    return ", ".join(object_ids[:MAX_NAMES_IN_MESSAGE]) + (f" and {n_more} more" if n_more > 0 else "")
