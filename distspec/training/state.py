"""What training changes as it goes, and its two forms: in memory, and as tensors and JSON in a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distspec.models.vae import SpectrumVAE
from distspec.training.checkpoint_files import Checkpoint
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import EpochSegment

EpochMetrics = dict[str, float]


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
    best_loss: float = math.inf
    best_epoch: int = -1
    best_state_dict: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def update(self, epoch: int, loss: float, state_dict: Mapping[str, Tensor]) -> bool:
        """Take one epoch's validation loss; return whether to stop."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            self.best_state_dict = {name: tensor.detach().clone() for name, tensor in state_dict.items()}
        return epoch - self.best_epoch >= self.patience


@dataclass
class TrainingState:
    """Weights, optimiser and early stopping, and where in which epoch training is.

    `segments` are the steps of this epoch that another number of workers took, `segment_step` those that these
    workers took. `loss_sums` are this worker's losses of this epoch, each mean times its rows, and the rows.
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

    def update_epoch_seconds(self) -> float:
        """Return how long this epoch has taken so far [s], breaks not counted."""
        now = time.monotonic()
        self.epoch_seconds, self._timer_start = self.epoch_seconds + now - self._timer_start, now
        return self.epoch_seconds

    def add_losses(self, losses: Mapping[str, Tensor], n_rows: int) -> None:
        """Add a batch's mean losses to the epoch's sums; nothing is waited for."""
        self.loss_names = tuple(losses)
        values = torch.stack([loss.detach().double() for loss in losses.values()])
        values = torch.cat([values * n_rows, torch.full_like(values[:1], n_rows)])
        self.loss_sums = self.loss_sums.to(values.device) + values if len(self.loss_sums) else values

    def start_next_epoch(self) -> None:
        """Stand at the start of the next epoch."""
        self.epoch, self.segments, self.segment_step, self.epoch_seconds = self.epoch + 1, (), 0, 0.0
        self._timer_start = time.monotonic()
        self.loss_sums = torch.zeros(0, dtype=torch.float64)

    def get_shared_tensors(self) -> dict[str, Tensor]:
        """Return what all workers have in common: weights, Adam's moments and steps, the best weights."""
        weights = {f"weights/{name}": p.detach() for name, p in self.vae.named_parameters()}
        moments = {
            f"adam/{name}/{key}": torch.as_tensor(value)
            for name, p in self.vae.named_parameters()
            for key, value in self.optimizer.state[p].items()
        }
        best = {f"best/{name}": value for name, value in self.early_stopping.best_state_dict.items()}
        return weights | moments | best

    def get_worker_tensors(self, order_checksum: str) -> dict[str, Tensor]:
        """Return what this worker has of its own.

        Batch norm's statistics (they are averaged at an epoch's end alone), the losses so far, the random
        states, and the digest of its order in this epoch.
        """
        buffers = {f"buffers/{name}": value for name, value in self.vae.named_buffers()}
        random = {"random/cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            random["random/cuda"] = torch.cuda.get_rng_state(self._device)
        return buffers | random | {"sums": self.loss_sums, "order": _checksum_to_tensor(order_checksum)}

    def to_record(self) -> dict[str, Any]:
        """Return what is no tensor."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "legs": [[leg.n_workers, leg.n_steps] for leg in self.segments],
            "leg_step": self.segment_step,
            "terms": list(self.loss_names),
            "seconds": self.update_epoch_seconds(),
            "history": self.history,
            "best": None if math.isinf(self.early_stopping.best_loss) else self.early_stopping.best_loss,
            "best_epoch": self.early_stopping.best_epoch,
        }

    def restore(self, checkpoint: Checkpoint, process_group: ProcessGroup, seed: int) -> None:
        """Stand where a checkpoint was made.

        With as many workers all is as it was, bit for bit. With another number the epoch's first steps
        become a leg, batch norm's statistics the mean over the workers that were, and the random states new
        ones.

        Raises
        ------
        KeyError
            When it is a checkpoint of another model.
        """
        shared = checkpoint.read_shared_tensors()
        with torch.no_grad():
            for name, parameter in self.vae.named_parameters():
                parameter.copy_(shared[f"weights/{name}"])
                keys = [key for key in shared if key.startswith(f"adam/{name}/")]
                # Fused Adam counts its steps on the device.
                self.optimizer.state[parameter] = {
                    key.rpartition("/")[2]: shared[key].to(parameter.device) for key in keys
                }
        record = checkpoint.record
        best = {
            name.removeprefix("best/"): t.to(self._device)
            for name, t in shared.items()
            if name.startswith("best/")
        }
        score = math.inf if record["best"] is None else record["best"]
        self.early_stopping = EarlyStopping(self.early_stopping.patience, score, record["best_epoch"], best)
        self.step, self.epoch, self.segment_step = record["step"], record["epoch"], record["leg_step"]
        self.segments = tuple(EpochSegment(*leg) for leg in record["legs"])
        self.loss_names, self.epoch_seconds = tuple(record["terms"]), record["seconds"]
        self.history = [dict(row) for row in record["history"]]
        if checkpoint.n_workers == process_group.world_size:
            self._restore_worker(checkpoint.read_worker_tensors(process_group.rank))
        else:
            self._restore_resized(
                [checkpoint.read_worker_tensors(rank) for rank in range(checkpoint.n_workers)],
                process_group,
                seed,
            )

    def _restore_worker(self, worker_tensors: Mapping[str, Tensor]) -> None:
        for name, buffer in self.vae.named_buffers():
            buffer.copy_(worker_tensors[f"buffers/{name}"])
        self.loss_sums = worker_tensors["sums"].to(self._device)
        torch.set_rng_state(worker_tensors["random/cpu"])
        if self._device.type == "cuda" and "random/cuda" in worker_tensors:
            torch.cuda.set_rng_state(worker_tensors["random/cuda"], self._device)

    def _restore_resized(
        self, worker_tensors: list[dict[str, Tensor]], process_group: ProcessGroup, seed: int
    ) -> None:
        for name, buffer in self.vae.named_buffers():
            buffer.copy_(_mean([own[f"buffers/{name}"] for own in worker_tensors]))
        sums = torch.stack([own["sums"] for own in worker_tensors]).sum(dim=0).to(self._device)
        self.loss_sums = sums if process_group.rank == 0 else torch.zeros_like(sums)
        self.segments, self.segment_step = (
            (*self.segments, EpochSegment(len(worker_tensors), self.segment_step)),
            0,
        )
        seed_torch(seed, process_group, self.step)

    @property
    def _device(self) -> torch.device:
        return next(self.vae.parameters()).device


def seed_torch(seed: int, process_group: ProcessGroup, step: int) -> None:
    """Seed torch's own generators, from which dropout, sampling and augmentation draw: each worker's anew."""
    torch.manual_seed(
        int(
            np.random.SeedSequence([seed, process_group.world_size, process_group.rank, step]).generate_state(
                1
            )[0]
        )
    )


def read_order_checksum(worker_tensors: Mapping[str, Tensor]) -> str:
    """Return the digest of the order that a worker's tensors hold."""
    return bytes(worker_tensors["order"].tolist()).hex()


def _checksum_to_tensor(checksum: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(checksum)), dtype=torch.uint8)


def _mean(tensors: list[Tensor]) -> Tensor:
    """Return the mean; what all have alike, or cannot be averaged, stays as it is to the bit."""
    first = tensors[0]
    if not first.is_floating_point() or all(torch.equal(first, other) for other in tensors):
        return first
    return torch.stack(tensors).mean(dim=0)
