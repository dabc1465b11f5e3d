"""What training changes as it runs: weights, optimizer, early stopping, and the position within the epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from distspec.core.records import JsonRecord
from distspec.models.vae import SpectrumVAE
from distspec.training.distributed import ProcessGroup
from distspec.training.record import EpochMetrics
from distspec.training.sampler import EpochSegment


@dataclass
class EarlyStopping:
    """Keep the best weights, and stop after ``patience`` epochs without an improvement.

    Attributes
    ----------
    patience : int
        Number of epochs without an improvement after which to stop.
    best_loss : float
        Lowest validation loss so far.
    best_epoch : int
        Its epoch; -1 before the first.
    best_state_dict : dict of str to Tensor
        Weights and buffers of that epoch.

    Examples
    --------
    >>> stopping = EarlyStopping(patience=2)
    >>> [stopping.update(epoch, loss, {}) for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.0])]
    [False, False, False, True]
    >>> stopping.best_epoch
    1
    """

    patience: int
    best_loss: float = math.inf
    best_epoch: int = -1
    best_state_dict: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def update(self, epoch: int, loss: float, state_dict: Mapping[str, Tensor]) -> bool:
        """Record the validation loss of an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch.
        loss : float
            Its validation loss.
        state_dict : mapping of str to Tensor
            Weights and buffers after the epoch; copied if they are the best so far.

        Returns
        -------
        bool
            Whether training should stop.
        """
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            self.best_state_dict = {name: tensor.detach().clone() for name, tensor in state_dict.items()}
        return epoch - self.best_epoch >= self.patience


@dataclass(frozen=True)
class TrainingProgress(JsonRecord):
    """The part of the training state that is not tensors, as a checkpoint holds it.

    Attributes
    ----------
    step : int
        Number of optimizer steps taken.
    epoch : int
        Number of the current epoch.
    segments : tuple of EpochSegment
        Earlier parts of this epoch, trained with other numbers of workers.
    segment_step : int
        Number of steps of this epoch taken since the last of them.
    loss_names : tuple of str
        Terms of the objective, in the order of the sums of losses.
    epoch_seconds : float
        Time spent in this epoch so far [s].
    history : tuple of EpochMetrics
        The completed epochs.
    best_loss : float or None
        Lowest validation loss so far; None before the first.
    best_epoch : int
        Its epoch; -1 before the first.
    """

    record_name: ClassVar[str] = "checkpoint"
    step: int
    epoch: int
    segments: tuple[EpochSegment, ...] = ()
    segment_step: int = 0
    loss_names: tuple[str, ...] = ()
    epoch_seconds: float = 0.0
    history: tuple[EpochMetrics, ...] = ()
    best_loss: float | None = None
    best_epoch: int = -1


@dataclass
class TrainingState:
    """Weights, optimizer and early stopping of one worker, and its position in the training.

    Attributes
    ----------
    vae : SpectrumVAE
        The network.
    optimizer : torch.optim.Adam
        Its optimizer.
    early_stopping : EarlyStopping
        The best weights so far.
    step, epoch, segments, segment_step, loss_names, epoch_seconds, history
        As in `TrainingProgress`.
    loss_sums : Tensor of shape (n_terms + 1,)
        Sums of this worker's losses of this epoch over its spectra, followed by the number of spectra.
    """

    vae: SpectrumVAE
    optimizer: torch.optim.Adam
    early_stopping: EarlyStopping
    step: int = 0
    epoch: int = 0
    segments: tuple[EpochSegment, ...] = ()
    segment_step: int = 0
    loss_names: tuple[str, ...] = ()
    loss_sums: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    epoch_seconds: float = 0.0
    history: list[EpochMetrics] = field(default_factory=list[EpochMetrics])
    _timer_start: float = field(default_factory=time.monotonic)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.vae.parameters()).device

    def update_epoch_seconds(self) -> float:
        """Return the time spent in this epoch so far, without interruptions [s].

        Returns
        -------
        float
            Time spent in this epoch [s].
        """
        now = time.monotonic()
        self.epoch_seconds, self._timer_start = self.epoch_seconds + now - self._timer_start, now
        return self.epoch_seconds

    def add_losses(self, losses: Mapping[str, Tensor], n_rows: int) -> None:
        """Add a batch's mean losses to the sums of the epoch, without waiting for a GPU.

        Parameters
        ----------
        losses : mapping of str to Tensor of shape ()
            Terms of the objective, averaged over the batch.
        n_rows : int
            Number of spectra in the batch.
        """
        self.loss_names = tuple(losses)
        values = torch.stack([loss.detach().double() for loss in losses.values()])
        values = torch.cat([values * n_rows, torch.full_like(values[:1], n_rows)])
        self.loss_sums = self.loss_sums.to(values.device) + values if len(self.loss_sums) else values

    def start_next_epoch(self) -> None:
        """Move to the start of the next epoch."""
        self.epoch, self.segments, self.segment_step, self.epoch_seconds = self.epoch + 1, (), 0, 0.0
        self._timer_start = time.monotonic()
        self.loss_sums = torch.zeros(0, dtype=torch.float64)

    def get_progress(self) -> TrainingProgress:
        """Return the part of the state that does not consist of tensors.

        Returns
        -------
        TrainingProgress
        """
        best_loss = self.early_stopping.best_loss
        return TrainingProgress(
            step=self.step,
            epoch=self.epoch,
            segments=self.segments,
            segment_step=self.segment_step,
            loss_names=self.loss_names,
            epoch_seconds=self.update_epoch_seconds(),
            history=tuple(self.history),
            best_loss=None if math.isinf(best_loss) else best_loss,
            best_epoch=self.early_stopping.best_epoch,
        )

    def set_progress(self, progress: TrainingProgress, best_state_dict: dict[str, Tensor]) -> None:
        """Take over the position and the early stopping of a checkpoint.

        Parameters
        ----------
        progress : TrainingProgress
            The checkpoint's progress.
        best_state_dict : dict of str to Tensor
            Weights and buffers of its best epoch.
        """
        best_loss = math.inf if progress.best_loss is None else progress.best_loss
        self.early_stopping = EarlyStopping(
            self.early_stopping.patience, best_loss, progress.best_epoch, best_state_dict
        )
        self.step, self.epoch, self.segment_step = progress.step, progress.epoch, progress.segment_step
        self.segments, self.loss_names = progress.segments, progress.loss_names
        self.epoch_seconds, self.history = progress.epoch_seconds, list(progress.history)


def seed_torch(seed: int, process_group: ProcessGroup, step: int) -> None:
    """Seed torch's global generators, from which dropout, sampling and augmentation draw.

    Parameters
    ----------
    seed : int
        Seed of the training.
    process_group : ProcessGroup
        Its size and rank give each worker its own stream.
    step : int
        Number of optimizer steps taken so far.
    """
    entropy = [seed, process_group.world_size, process_group.rank, step]
    torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
