"""One optimizer step, and validation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from distspec.models.batch import Batch
from distspec.models.vae import SpectrumVAE
from distspec.training.config import TrainingConfig, learning_rate
from distspec.training.distributed import ProcessGroup
from distspec.training.state import EarlyStopping, TrainingState


def init_training_state(vae: SpectrumVAE, config: TrainingConfig) -> TrainingState:
    """Return the training state before the first step, with a fused Adam optimizer.

    Parameters
    ----------
    vae : SpectrumVAE
        The network, on its device.
    config : TrainingConfig
        Settings of the training.

    Returns
    -------
    TrainingState
    """
    optimizer = torch.optim.Adam(vae.parameters(), lr=config.learning_rate, fused=True)
    return TrainingState(vae, optimizer, EarlyStopping(config.patience))


def train_step(
    state: TrainingState,
    batch: Batch,
    config: TrainingConfig,
    process_group: ProcessGroup,
    batch_fraction: float,
) -> tuple[dict[str, Tensor], Tensor]:
    """Take one optimizer step.

    The gradient is averaged over the workers and then clipped, so that every worker clips the same gradient.

    Parameters
    ----------
    state : TrainingState
        Its weights and optimizer are updated.
    batch : Batch
        This worker's part of the global batch.
    config : TrainingConfig
        Settings of the training.
    process_group : ProcessGroup
        The workers.
    batch_fraction : float
        This worker's fraction of the global batch.

    Returns
    -------
    losses : dict of str to Tensor of shape ()
        Terms of the objective, averaged over this worker's batch.
    grad_norm : Tensor of shape ()
        Norm of the averaged gradient before clipping.
    """
    parameters = list(state.vae.parameters())
    bf16 = config.bf16 and process_group.device.type == "cuda"
    with torch.autocast(process_group.device.type, torch.bfloat16, enabled=bf16):
        losses = state.vae(batch)
    state.optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()
    process_group.average_gradients(parameters, batch_fraction)
    grad_norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    groups = [[parameter] for parameter in parameters] if config.clip_each_gradient else [parameters]
    for group in groups:
        nn.utils.clip_grad_norm_(group, config.max_grad_norm)
    state.optimizer.param_groups[0]["lr"] = learning_rate(config, state.step)
    state.optimizer.step()
    return losses, grad_norm


@torch.no_grad()
def validate(vae: SpectrumVAE, batches: Iterator[Batch], process_group: ProcessGroup) -> dict[str, float]:
    """Compute the losses of the held-out spectra of all workers.

    Parameters
    ----------
    vae : SpectrumVAE
        The network; is set to evaluation mode.
    batches : iterator of Batch
        This worker's part of the held-out spectra.
    process_group : ProcessGroup
        The workers.

    Returns
    -------
    dict of str to float
        The losses of `SpectrumVAE.compute_validation_loss`, averaged over the spectra.
    """
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
    return {name: total / n for name, total in zip(names, totals, strict=True)}
