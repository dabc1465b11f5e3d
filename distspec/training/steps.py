"""Training the VAE: its settings, the learning rate, one step, and validation. torch, no Ray."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from distspec.models.batch import Batch
from distspec.models.vae import SpectrumVAE
from distspec.training.config import TrainingConfig, learning_rate
from distspec.training.distributed import ProcessGroup
from distspec.training.state import EarlyStopping, EpochMetrics, TrainingState


def init_training_state(vae: SpectrumVAE, config: TrainingConfig) -> TrainingState:
    """Return the state before the first step: Adam in one pass over all weights."""
    optimizer = torch.optim.Adam(vae.parameters(), lr=config.learning_rate, fused=True)
    return TrainingState(vae, optimizer, EarlyStopping(config.patience))


def train_step(
    state: TrainingState,
    batch: Batch,
    config: TrainingConfig,
    process_group: ProcessGroup,
    batch_fraction: float,
) -> tuple[dict[str, Tensor], Tensor]:
    """Take one step; return this worker's losses and the norm of the averaged gradient, before clipping.

    The gradient is averaged over the workers and then clipped, once: each worker clips the same one.
    """
    parameters = list(state.vae.parameters())
    bf16 = config.bf16 and process_group.device.type == "cuda"
    with torch.autocast(process_group.device.type, torch.bfloat16, enabled=bf16):
        losses = state.vae(batch, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()
    process_group.average_gradients(parameters, batch_fraction)
    norm = nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    state.optimizer.param_groups[0]["lr"] = learning_rate(config, state.step)
    state.optimizer.step()
    return losses, norm


@torch.no_grad()
def validate(vae: SpectrumVAE, batches: Iterator[Batch], process_group: ProcessGroup) -> EpochMetrics:
    """Return the mean losses over the held-out spectra of all workers, val_<term>."""
    vae.eval()
    names: tuple[str, ...] = ()
    sums = torch.zeros(0, dtype=torch.float64)
    for batch in batches:
        terms = vae.compute_validation_loss(batch)
        names = tuple(terms)
        values = torch.stack([term.double() for term in terms.values()])
        values = torch.cat([values, torch.full_like(values[:1], len(batch))])
        sums = sums + values if len(sums) else values
    *totals, n = process_group.all_reduce(sums).tolist()
    return {f"val_{name}": total / n for name, total in zip(names, totals, strict=True)}
