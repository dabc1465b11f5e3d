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
from distspec.training.distributed import Team
from distspec.training.sampler import Leg

Row = dict[str, float]


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
    best: float = math.inf
    best_epoch: int = -1
    best_state: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def update(self, epoch: int, value: float, state: Mapping[str, Tensor]) -> bool:
        """Take one epoch's validation loss; return whether to stop."""
        if value < self.best:
            self.best, self.best_epoch = value, epoch
            self.best_state = {name: tensor.detach().clone() for name, tensor in state.items()}
        return epoch - self.best_epoch >= self.patience


@dataclass
class State:
    """Weights, optimiser and early stopping, and where in which epoch training is.

    `legs` are the steps of this epoch that another number of workers took, `leg_step` those that these
    workers took. `sums` are this worker's losses of this epoch, each mean times its rows, and the rows.
    """

    vae: SpectrumVAE
    optimizer: torch.optim.Adam
    stopping: EarlyStopping
    step: int = 0
    epoch: int = 0
    legs: tuple[Leg, ...] = ()
    leg_step: int = 0
    terms: tuple[str, ...] = ()
    sums: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    seconds: float = 0.0
    history: list[Row] = field(default_factory=list[Row])
    _since: float = field(default_factory=time.monotonic)

    def lap(self) -> float:
        """Return how long this epoch has taken so far [s], breaks not counted."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        return self.seconds

    def add_losses(self, losses: Mapping[str, Tensor], n_rows: int) -> None:
        """Add a batch's mean losses to the epoch's sums; nothing is waited for."""
        self.terms = tuple(losses)
        values = torch.stack([loss.detach().double() for loss in losses.values()])
        values = torch.cat([values * n_rows, torch.full_like(values[:1], n_rows)])
        self.sums = self.sums.to(values.device) + values if len(self.sums) else values

    def next_epoch(self) -> None:
        """Stand at the start of the next epoch."""
        self.epoch, self.legs, self.leg_step, self.seconds = self.epoch + 1, (), 0, 0.0
        self._since = time.monotonic()
        self.sums = torch.zeros(0, dtype=torch.float64)

    def shared(self) -> dict[str, Tensor]:
        """Return what all workers have in common: weights, Adam's moments and steps, the best weights."""
        weights = {f"weights/{name}": p.detach() for name, p in self.vae.named_parameters()}
        moments = {
            f"adam/{name}/{key}": torch.as_tensor(value)
            for name, p in self.vae.named_parameters()
            for key, value in self.optimizer.state[p].items()
        }
        best = {f"best/{name}": value for name, value in self.stopping.best_state.items()}
        return weights | moments | best

    def own(self, order: str) -> dict[str, Tensor]:
        """Return what this worker has of its own.

        Batch norm's statistics (they are averaged at an epoch's end alone), the losses so far, the random
        states, and the digest of its order in this epoch.
        """
        buffers = {f"buffers/{name}": value for name, value in self.vae.named_buffers()}
        random = {"random/cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            random["random/cuda"] = torch.cuda.get_rng_state(self._device)
        return buffers | random | {"sums": self.sums, "order": _as_tensor(order)}

    def record(self) -> dict[str, Any]:
        """Return what is no tensor."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "legs": [[leg.n_workers, leg.steps] for leg in self.legs],
            "leg_step": self.leg_step,
            "terms": list(self.terms),
            "seconds": self.lap(),
            "history": self.history,
            "best": None if math.isinf(self.stopping.best) else self.stopping.best,
            "best_epoch": self.stopping.best_epoch,
        }

    def restore(self, kept: Checkpoint, team: Team, seed: int) -> None:
        """Stand where a checkpoint was made.

        With as many workers all is as it was, bit for bit. With another number the epoch's first steps
        become a leg, batch norm's statistics the mean over the workers that were, and the random states new
        ones.

        Raises
        ------
        KeyError
            When it is a checkpoint of another model.
        """
        shared = kept.shared()
        with torch.no_grad():
            for name, parameter in self.vae.named_parameters():
                parameter.copy_(shared[f"weights/{name}"])
                keys = [key for key in shared if key.startswith(f"adam/{name}/")]
                # Fused Adam counts its steps on the device.
                self.optimizer.state[parameter] = {
                    key.rpartition("/")[2]: shared[key].to(parameter.device) for key in keys
                }
        record = kept.record
        best = {
            name.removeprefix("best/"): t.to(self._device)
            for name, t in shared.items()
            if name.startswith("best/")
        }
        score = math.inf if record["best"] is None else record["best"]
        self.stopping = EarlyStopping(self.stopping.patience, score, record["best_epoch"], best)
        self.step, self.epoch, self.leg_step = record["step"], record["epoch"], record["leg_step"]
        self.legs = tuple(Leg(*leg) for leg in record["legs"])
        self.terms, self.seconds = tuple(record["terms"]), record["seconds"]
        self.history = [dict(row) for row in record["history"]]
        if kept.n_workers == team.size:
            self._restore_own(kept.own(team.rank))
        else:
            self._restore_from([kept.own(rank) for rank in range(kept.n_workers)], team, seed)

    def _restore_own(self, own: Mapping[str, Tensor]) -> None:
        for name, buffer in self.vae.named_buffers():
            buffer.copy_(own[f"buffers/{name}"])
        self.sums = own["sums"].to(self._device)
        torch.set_rng_state(own["random/cpu"])
        if self._device.type == "cuda" and "random/cuda" in own:
            torch.cuda.set_rng_state(own["random/cuda"], self._device)

    def _restore_from(self, owns: list[dict[str, Tensor]], team: Team, seed: int) -> None:
        for name, buffer in self.vae.named_buffers():
            buffer.copy_(_mean([own[f"buffers/{name}"] for own in owns]))
        sums = torch.stack([own["sums"] for own in owns]).sum(dim=0).to(self._device)
        self.sums = sums if team.rank == 0 else torch.zeros_like(sums)
        self.legs, self.leg_step = (*self.legs, Leg(len(owns), self.leg_step)), 0
        seed_noise(seed, team, self.step)

    @property
    def _device(self) -> torch.device:
        return next(self.vae.parameters()).device


def seed_noise(seed: int, team: Team, step: int) -> None:
    """Seed torch's own generators, from which dropout, sampling and augmentation draw: each worker's anew."""
    torch.manual_seed(int(np.random.SeedSequence([seed, team.size, team.rank, step]).generate_state(1)[0]))


def order_of(own: Mapping[str, Tensor]) -> str:
    """Return the digest of the order that a worker's tensors hold."""
    return bytes(own["order"].tolist()).hex()


def _as_tensor(digest: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8)


def _mean(tensors: list[Tensor]) -> Tensor:
    """Return the mean; what all have alike, or cannot be averaged, stays as it is to the bit."""
    first = tensors[0]
    if not first.is_floating_point() or all(torch.equal(first, other) for other in tensors):
        return first
    return torch.stack(tensors).mean(dim=0)
