"""When training keeps a checkpoint, what it writes, and how it goes on from one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from distspec.training.checkpoint_files import find_latest_checkpoint, save_checkpoint
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import EpochPlan, EpochSegment, Sampler, compute_order_checksum
from distspec.training.state import TrainingState, read_order_checksum

log = logging.getLogger(__name__)
CLOCK_CHECK_STEPS = 20
"""Steps between two looks at worker 0's clock, by which all go: each look is a word to all."""
PREEMPTION_POLL_SECONDS = 5.0
"""Between two looks whether a machine is about to be taken away."""


@dataclass
class CheckpointManager:
    """Keeps checkpoints of one training, and finds them again.

    Parameters
    ----------
    url : str
        Their folder; empty: none are kept.
    sampler : Shuffling
    process_group : Team
    interval_minutes : float
        Between two, by worker 0's clock [min].
    interval_steps : int
        Between two, whatever the clock says; 0: no such rule.
    is_preempted : tells whether a machine is about to go; all workers ask at the same time
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
        """Tell, every worker the same, whether to keep a checkpoint after this step."""
        if not self.url:
            return False
        if self.interval_steps and step % self.interval_steps == 0:
            return True
        if step % CLOCK_CHECK_STEPS:
            return False
        now = time.monotonic()
        mine = torch.tensor(
            [
                now - self._last_save >= 60.0 * self.interval_minutes,
                now - self._last_poll >= PREEMPTION_POLL_SECONDS,
            ]
        )
        is_due, look = self.process_group.broadcast(mine).tolist()
        if look:
            self._last_poll = now
            if not self._preemption_seen and self.is_preempted():
                log.warning("a machine is about to be taken away: a checkpoint is kept at step %d", step)
                self._preemption_seen = is_due = True
        return is_due

    def save(self, state: TrainingState, plan: EpochPlan) -> None:
        """Write a checkpoint of the state, which stands in `plan`."""
        own = state.get_worker_tensors(compute_order_checksum(plan, self.process_group.rank))
        save_checkpoint(
            self.url, state.step, state.get_shared_tensors(), own, state.to_record(), self.process_group
        )
        self._last_save = time.monotonic()

    def restore_latest(self, state: TrainingState) -> bool:
        """Put the state where the newest whole checkpoint was made, and return whether there is one.

        A checkpoint whose order of rows does not come out again (another numpy, other rows in the store) is
        of no use: training starts again, and says so.
        """
        kept = find_latest_checkpoint(self.url, self.process_group) if self.url else None
        if kept is None:
            return False
        record, n_then = kept.record, kept.n_workers
        legs = [EpochSegment(*leg) for leg in record["legs"]]
        epoch = self.sampler.plan_epoch(record["epoch"], n_then, legs)
        ranks = [self.process_group.rank] if n_then == self.process_group.world_size else range(n_then)
        is_other = any(
            read_order_checksum(kept.read_worker_tensors(rank)) != compute_order_checksum(epoch, rank)
            for rank in ranks
        )
        if self.process_group.all_reduce(torch.tensor([float(is_other)])).item():
            log.warning("checkpoint %s: its order of rows does not come out again; starting anew", kept.url)
            return False
        state.restore(kept, self.process_group, self.sampler.spec.seed)
        if self.process_group.rank == 0:
            # A warning, since Ray's workers show no less.
            log.warning("training goes on at step %d, in epoch %d", state.step, state.epoch)
        return True
