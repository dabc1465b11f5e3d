"""When training saves a checkpoint, which tensors it holds, and how training resumes from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from distspec.training.checkpoint_files import Checkpoint, find_latest_checkpoint, save_checkpoint
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import EpochPlan, EpochSegment, Sampler, compute_order_checksum
from distspec.training.state import TrainingState, seed_torch

log = logging.getLogger(__name__)
CLOCK_CHECK_STEPS = 20
"""Steps between two looks at worker 0's clock, each of which takes one broadcast."""
PREEMPTION_POLL_SECONDS = 5.0
"""Time between two checks for the preemption of a node."""


@dataclass
class CheckpointManager:
    """Saves the checkpoints of one training and restores the latest.

    Parameters
    ----------
    url : str
        Folder of the checkpoints; empty to save none.
    sampler : Sampler
        The order of the training spectra.
    process_group : ProcessGroup
        The workers.
    interval_minutes : float
        Time between two checkpoints by worker 0's clock [min].
    interval_steps : int, optional
        Number of steps between two checkpoints, independent of the time; 0 to save by time alone.
    is_preempted : callable, optional
        Returns whether a node is about to be reclaimed; all workers call it at the same step.
    """

    url: str
    sampler: Sampler
    process_group: ProcessGroup
    interval_minutes: float
    interval_steps: int = 0
    is_preempted: Callable[[], bool] = lambda: False
    _last_save: float = field(default_factory=time.monotonic)
    _last_poll: float = field(default_factory=time.monotonic)
    _preemption_seen: bool = False

    def should_save(self, step: int) -> bool:
        """Return whether to save a checkpoint after a step; the answer is the same on every worker.

        Parameters
        ----------
        step : int
            Number of steps since the start of the training.

        Returns
        -------
        bool
        """
        if not self.url:
            return False
        if self.interval_steps and step % self.interval_steps == 0:
            return True
        if step % CLOCK_CHECK_STEPS:
            return False
        now = time.monotonic()
        decisions = torch.tensor(
            [
                now - self._last_save >= 60.0 * self.interval_minutes,
                now - self._last_poll >= PREEMPTION_POLL_SECONDS,
            ]
        )
        is_due, must_poll = self.process_group.broadcast(decisions).tolist()
        if must_poll:
            self._last_poll = now
            if not self._preemption_seen and self.is_preempted():
                log.warning("a node is about to be preempted: saving a checkpoint at step %d", step)
                self._preemption_seen = is_due = True
        return is_due

    def save(self, state: TrainingState, plan: EpochPlan) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        state : TrainingState
            The state to save.
        plan : EpochPlan
            The epoch that the state is in.
        """
        worker_tensors = get_worker_tensors(state, compute_order_checksum(plan, self.process_group.rank))
        save_checkpoint(
            self.url, state.get_progress(), get_shared_tensors(state), worker_tensors, self.process_group
        )
        self._last_save = time.monotonic()

    def restore_latest(self, state: TrainingState) -> bool:
        """Restore the newest complete checkpoint.

        A checkpoint is not used if the order of its rows cannot be reproduced, because NumPy or the rows of
        the store have changed: training then starts again, with a warning.

        Parameters
        ----------
        state : TrainingState
            Is set to the state of the checkpoint.

        Returns
        -------
        bool
            Whether a checkpoint was restored.
        """
        checkpoint = find_latest_checkpoint(self.url, self.process_group) if self.url else None
        if checkpoint is None:
            return False
        progress, n_workers = checkpoint.record.progress, checkpoint.n_workers
        plan = self.sampler.plan_epoch(progress.epoch, n_workers, progress.segments)
        same_size = n_workers == self.process_group.world_size
        has_changed = any(
            _read_order_checksum(checkpoint.read_worker_tensors(rank)) != compute_order_checksum(plan, rank)
            for rank in ([self.process_group.rank] if same_size else range(n_workers))
        )
        if self.process_group.all_reduce(torch.tensor([float(has_changed)])).item():
            log.warning(
                "checkpoint %s: the order of its rows cannot be reproduced; training starts again",
                checkpoint.url,
            )
            return False
        restore_state(state, checkpoint, self.process_group, self.sampler.spec.seed)
        if self.process_group.rank == 0:
            # A warning, because Ray Train's workers do not show lower levels.
            log.warning("training resumes at step %d, in epoch %d", state.step, state.epoch)
        return True


def get_shared_tensors(state: TrainingState) -> dict[str, Tensor]:
    """Return the tensors that all workers share: weights, Adam's moments and steps, and the best weights.

    Parameters
    ----------
    state : TrainingState
        State of any worker after a step.

    Returns
    -------
    dict of str to Tensor
        Tensors by name, which begins with ``weights/``, ``adam/`` or ``best/``.
    """
    weights = {f"weights/{name}": p.detach() for name, p in state.vae.named_parameters()}
    moments = {
        f"adam/{name}/{key}": torch.as_tensor(value)
        for name, p in state.vae.named_parameters()
        for key, value in state.optimizer.state[p].items()
    }
    best = {f"best/{name}": value for name, value in state.early_stopping.best_state_dict.items()}
    return weights | moments | best


def get_worker_tensors(state: TrainingState, order_checksum: str) -> dict[str, Tensor]:
    """Return the tensors that differ between workers.

    They are batch norm's running statistics (averaged only at the end of an epoch), the sums of losses, the
    states of the random generators, and the checksum of the worker's order of rows in this epoch.

    Parameters
    ----------
    state : TrainingState
        State of the worker.
    order_checksum : str
        `distspec.training.sampler.compute_order_checksum` of the worker in this epoch, hexadecimal.

    Returns
    -------
    dict of str to Tensor
        Tensors by name.
    """
    buffers = {f"buffers/{name}": value for name, value in state.vae.named_buffers()}
    random = {"random/cpu": torch.get_rng_state()}
    if state.device.type == "cuda":
        random["random/cuda"] = torch.cuda.get_rng_state(state.device)
    order = torch.tensor(list(bytes.fromhex(order_checksum)), dtype=torch.uint8)
    return buffers | random | {"loss_sums": state.loss_sums, "order": order}


def restore_state(
    state: TrainingState, checkpoint: Checkpoint, process_group: ProcessGroup, seed: int
) -> None:
    """Set a training state to that of a checkpoint.

    With the same number of workers the state is the same, bit for bit. With another number the steps of the
    epoch so far become a segment, batch norm's statistics are averaged over the previous workers, and the
    random generators are seeded anew.

    Parameters
    ----------
    state : TrainingState
        Is set to the state of the checkpoint.
    checkpoint : Checkpoint
        A checkpoint of the same model.
    process_group : ProcessGroup
        The present workers.
    seed : int
        Seed of the training.
    """
    shared = checkpoint.read_shared_tensors()
    with torch.no_grad():
        for name, parameter in state.vae.named_parameters():
            parameter.copy_(shared[f"weights/{name}"])
            keys = [key for key in shared if key.startswith(f"adam/{name}/")]
            # Fused Adam counts its steps on the device.
            state.optimizer.state[parameter] = {
                key.rpartition("/")[2]: shared[key].to(parameter.device) for key in keys
            }
    best = {
        name.removeprefix("best/"): tensor.to(state.device)
        for name, tensor in shared.items()
        if name.startswith("best/")
    }
    state.set_progress(checkpoint.record.progress, best)
    if checkpoint.n_workers == process_group.world_size:
        _restore_worker(state, checkpoint.read_worker_tensors(process_group.rank))
    else:
        all_workers = [checkpoint.read_worker_tensors(rank) for rank in range(checkpoint.n_workers)]
        _restore_resized(state, all_workers, process_group, seed)


def _restore_worker(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state that belongs to one worker."""
    for name, buffer in state.vae.named_buffers():
        buffer.copy_(tensors[f"buffers/{name}"])
    state.loss_sums = tensors["loss_sums"].to(state.device)
    torch.set_rng_state(tensors["random/cpu"])
    if state.device.type == "cuda" and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"], state.device)


def _restore_resized(
    state: TrainingState,
    all_workers: Sequence[Mapping[str, Tensor]],
    process_group: ProcessGroup,
    seed: int,
) -> None:
    """Combine the worker states of a run with another number of workers."""
    for name, buffer in state.vae.named_buffers():
        buffer.copy_(_average([tensors[f"buffers/{name}"] for tensors in all_workers]))
    sums = torch.stack([tensors["loss_sums"] for tensors in all_workers]).sum(dim=0).to(state.device)
    state.loss_sums = sums if process_group.rank == 0 else torch.zeros_like(sums)
    state.segments = (*state.segments, EpochSegment(len(all_workers), state.segment_step))
    state.segment_step = 0
    seed_torch(seed, process_group, state.step)


def _read_order_checksum(worker_tensors: Mapping[str, Tensor]) -> str:
    """Return the checksum of the order of rows in a worker's tensors."""
    return bytes(worker_tensors["order"].tolist()).hex()


def _average(tensors: Sequence[Tensor]) -> Tensor:
    """Return the mean; equal tensors and tensors of integers are returned unchanged."""
    first = tensors[0]
    if not first.is_floating_point() or all(torch.equal(first, other) for other in tensors):
        return first
    return torch.stack(list(tensors)).mean(dim=0)
