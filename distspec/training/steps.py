"""Training the VAE: its settings, the learning rate, one step, and validation. torch, no Ray."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from distspec.models.vae import Batch, SpectrumVAE
from distspec.training.config import TrainingConfig, learning_rate
from distspec.training.distributed import Team
from distspec.training.state import EarlyStopping, Row, State


def new_state(vae: SpectrumVAE, config: TrainingConfig) -> State:
    """Return the state before the first step: Adam in one pass over all weights."""
    optimizer = torch.optim.Adam(vae.parameters(), lr=config.learning_rate, fused=True)
    return State(vae, optimizer, EarlyStopping(config.patience))


def take_step(
    state: State, batch: Batch, config: TrainingConfig, team: Team, weight: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Take one step; return this worker's losses and the norm of the averaged gradient, before clipping.

    The gradient is averaged over the workers and then clipped, once: each worker clips the same one.
    """
    parameters = list(state.vae.parameters())
    bf16 = config.bf16 and team.device.type == "cuda"
    with torch.autocast(team.device.type, torch.bfloat16, enabled=bf16):
        losses = state.vae(batch, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()
    team.average_gradients(parameters, weight)
    norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    state.optimizer.param_groups[0]["lr"] = learning_rate(config, state.step)
    state.optimizer.step()
    return losses, norm


@torch.no_grad()
def validate(vae: SpectrumVAE, batches: Iterator[Batch], team: Team) -> Row:
    """Return the mean losses over the held-out spectra of all workers, val_<term>."""
    vae.eval()
    names: tuple[str, ...] = ()
    sums = torch.zeros(0, dtype=torch.float64)
    for batch in batches:
        terms = vae.validation(batch)
        names = tuple(terms)
        values = torch.stack([term.double() for term in terms.values()])
        values = torch.cat([values, torch.full_like(values[:1], len(batch))])
        sums = sums + values if len(sums) else values
    *totals, n = team.add_up(sums).tolist()
    return {f"val_{name}": total / n for name, total in zip(names, totals, strict=True)}
