"""Training the VAE: one epoch, the learning-rate schedule, early stopping. No Ray in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from distspec.vae import SpectrumVAE, elbo, kl_divergence, observe, reconstruction_loss

Row = dict[str, float]


@dataclass(frozen=True)
class TrainingConfig:
    """How the VAE is trained."""

    batch_size: int = 64
    """Spectra in a global batch: shared out over the workers."""
    learning_rate: float = 1e-4
    """Adam's first learning rate."""
    decay: float = 0.95
    """The learning rate is multiplied by this …"""
    decay_steps: int = 500
    """… every so many steps."""
    clip_norm: float = 2.0
    """Gradients are clipped to this norm."""
    patience: int = 50
    """Stop when the validation reconstruction has not improved for so many epochs."""
    max_epochs: int = 1000
    """Stop here at the latest."""
    validation_share: float = 0.15
    """Share of sources held out."""
    workers: int = 1
    """Ray Train workers."""
    threads: int = 1
    """Torch threads a worker: more than cores / workers stalls training tenfold."""
    gpu: bool | None = None
    """One GPU a worker: yes, no, or (unset) when the cluster has as many."""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.batch_size < 2 or self.batch_size % self.workers:
            raise ValueError(
                f"training.batch_size {self.batch_size} must be a multiple of training.workers "
                f"{self.workers}, and at least 2"
            )
        if self.batch_size // self.workers < 2:
            raise ValueError("batch norm needs 2 spectra a worker: raise training.batch_size")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"training.validation_share {self.validation_share} must lie in (0, 1)")
        if not (self.learning_rate > 0 and 0 < self.decay <= 1 and self.clip_norm > 0):
            raise ValueError(
                f"training.learning_rate {self.learning_rate} and training.clip_norm {self.clip_norm} "
                f"must be positive, training.decay {self.decay} in (0, 1]"
            )
        if min(self.patience, self.max_epochs, self.decay_steps, self.threads) < 1:
            raise ValueError("training.patience, max_epochs, decay_steps and threads must be positive")


@dataclass(frozen=True)
class Sample:
    """Spectra in memory on one device: flux, ivar (n, L) float32."""

    flux: Tensor
    ivar: Tensor

    def __len__(self) -> int:
        return len(self.flux)


@dataclass
class EarlyStopping:
    """Keep the best weights; say when `patience` epochs have passed without a better one.

    Examples
    --------
    >>> stopping = EarlyStopping(patience=2)
    >>> [stopping.update(epoch, value, {}) for epoch, value in enumerate([3.0, 2.0, 2.5, 2.0])]
    [False, False, False, True]
    >>> stopping.best_epoch
    1
    """

    patience: int
    best: float = float("inf")
    best_epoch: int = -1
    best_state: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def update(self, epoch: int, value: float, state: dict[str, Tensor]) -> bool:
        """Take one epoch's validation loss; return whether to stop."""
        if value < self.best:
            self.best, self.best_epoch = value, epoch
            self.best_state = {name: tensor.detach().clone() for name, tensor in state.items()}
        return epoch - self.best_epoch >= self.patience


def make_optimizer(
    model: nn.Module, config: TrainingConfig
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.StepLR]:
    """Return Adam and its staircase schedule: × `decay` every `decay_steps` steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, config.decay_steps, config.decay)
    return optimizer, schedule


def batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the rows of each batch of one epoch, shuffled; a last batch of one is left out."""
    order = torch.randperm(n, generator=generator)
    for rows in order.split(size):
        if len(rows) > 1:  # batch norm has no variance of one
            yield rows


def train_epoch(
    model: nn.Module,
    vae: SpectrumVAE,
    sample: Sample,
    config: TrainingConfig,
    optimizer: torch.optim.Adam,
    schedule: torch.optim.lr_scheduler.StepLR,
    generator: torch.Generator,
) -> Row:
    """Train one epoch; return its mean losses.

    Parameters
    ----------
    model : the VAE itself, or the wrapper that shares its gradients between workers
    vae : the VAE inside `model`
    sample : this worker's spectra
    """
    model.train()
    sums, n_seen = torch.zeros(4), 0
    for rows in batches(len(sample), config.batch_size // config.workers, generator):
        inputs = observe(sample.flux[rows], sample.ivar[rows])
        losses = elbo(vae, model(inputs), inputs)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        schedule.step()
        sums += torch.stack(losses).detach().cpu() * len(rows)
        n_seen += len(rows)
    names = ("train_loss", "train_recon", "train_kl", "train_l2")
    return dict(zip(names, (sums / n_seen).tolist(), strict=True))


@torch.inference_mode()
def validate(vae: SpectrumVAE, sample: Sample, batch_size: int = 1024) -> Tensor:
    """Return Σ reconstruction loss, Σ KL and the number of spectra, (3,), decoded from z_mean."""
    vae.eval()
    sums = torch.zeros(3, dtype=torch.float64)
    for start in range(0, len(sample), batch_size):
        part = slice(start, start + batch_size)
        inputs = observe(sample.flux[part], sample.ivar[part])
        output = vae(inputs)
        n = len(output.z_mean)
        recon = float(reconstruction_loss(output.recon, inputs))
        kl = float(kl_divergence(output.z_mean, output.z_log_var))
        sums += torch.tensor([recon * n, kl * n, n], dtype=torch.float64)
    return sums


def fit(
    model: nn.Module,
    vae: SpectrumVAE,
    train: Sample,
    validation: Sample,
    config: TrainingConfig,
    seed: int,
    on_epoch: Callable[[Row], Any],
    add_up: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> EarlyStopping:
    """Train until the validation reconstruction stops improving.

    Parameters
    ----------
    model, vae : see `train_epoch`
    train, validation : this worker's share of each
    config : TrainingConfig
    seed : int
        Of this worker's shuffles.
    on_epoch : called with each epoch's row of the history
    add_up : sums a tensor over all workers, so that every worker stops at the same epoch

    Returns
    -------
    EarlyStopping
        Holds the best weights and their epoch.

    Raises
    ------
    FloatingPointError
        When a loss is no longer finite.
    """
    optimizer, schedule = make_optimizer(model, config)
    generator = torch.Generator().manual_seed(seed)
    stopping = EarlyStopping(config.patience)
    for epoch in range(config.max_epochs):
        start, rate = time.monotonic(), float(schedule.get_last_lr()[0])
        row: Row = train_epoch(model, vae, train, config, optimizer, schedule, generator)
        sums: list[float] = add_up(validate(vae, validation)).tolist()
        val_recon, val_kl, n = sums
        row |= {"val_recon": val_recon / n, "val_kl": val_kl / n, "lr": rate}
        if not all(map(torch.isfinite, map(torch.tensor, row.values()))):
            raise FloatingPointError(
                f"a loss is not finite in epoch {epoch}: {row}; lower training.learning_rate"
            )
        stop = stopping.update(epoch, row["val_recon"], vae.state_dict())
        on_epoch({"epoch": float(epoch), **row, "seconds": time.monotonic() - start})
        if stop:
            break
    return stopping
