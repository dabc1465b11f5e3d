"""When training keeps a checkpoint, what it writes, and how it goes on from one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from distspec.training.checkpoint_files import newest, save
from distspec.training.distributed import Team
from distspec.training.sampler import Epoch, Leg, Shuffling, digest
from distspec.training.state import State, order_of

log = logging.getLogger(__name__)
BEAT = 20
"""Steps between two looks at worker 0's clock, by which all go: each look is a word to all."""
LOOK_SECONDS = 5.0
"""Between two looks whether a machine is about to be taken away."""


@dataclass
class Keeper:
    """Keeps checkpoints of one training, and finds them again.

    Parameters
    ----------
    url : str
        Their folder; empty: none are kept.
    shuffling : Shuffling
    team : Team
    minutes : float
        Between two, by worker 0's clock [min].
    steps : int
        Between two, whatever the clock says; 0: no such rule.
    called_away : tells whether a machine is about to go; all workers ask at the same time
    """

    url: str
    shuffling: Shuffling
    team: Team
    minutes: float
    steps: int = 0
    called_away: Callable[[], bool] = lambda: False
    _kept: float = field(default_factory=time.monotonic)
    _looked: float = field(default_factory=time.monotonic)
    _is_leaving: bool = False

    def due(self, step: int) -> bool:
        """Tell, every worker the same, whether to keep a checkpoint after this step."""
        if not self.url:
            return False
        if self.steps and step % self.steps == 0:
            return True
        if step % BEAT:
            return False
        now = time.monotonic()
        mine = torch.tensor([now - self._kept >= 60.0 * self.minutes, now - self._looked >= LOOK_SECONDS])
        is_due, look = self.team.from_first(mine).tolist()
        if look:
            self._looked = now
            if not self._is_leaving and self.called_away():
                log.warning("a machine is about to be taken away: a checkpoint is kept at step %d", step)
                self._is_leaving = is_due = True
        return is_due

    def keep(self, state: State, epoch: Epoch) -> None:
        """Write a checkpoint of the state, which stands in `epoch`."""
        own = state.own(digest(epoch, self.team.rank))
        save(self.url, state.step, state.shared(), own, state.record(), self.team)
        self._kept = time.monotonic()

    def resume(self, state: State) -> bool:
        """Put the state where the newest whole checkpoint was made, and return whether there is one.

        A checkpoint whose order of rows does not come out again (another numpy, other rows in the store) is
        of no use: training starts again, and says so.
        """
        kept = newest(self.url, self.team) if self.url else None
        if kept is None:
            return False
        record, n_then = kept.record, kept.n_workers
        legs = [Leg(*leg) for leg in record["legs"]]
        epoch = self.shuffling.epoch(record["epoch"], n_then, legs)
        ranks = [self.team.rank] if n_then == self.team.size else range(n_then)
        is_other = any(order_of(kept.own(rank)) != digest(epoch, rank) for rank in ranks)
        if self.team.add_up(torch.tensor([float(is_other)])).item():
            log.warning("checkpoint %s: its order of rows does not come out again; starting anew", kept.url)
            return False
        state.restore(kept, self.team, self.shuffling.deck.seed)
        if self.team.rank == 0:
            # A warning, since Ray's workers show no less.
            log.warning("training goes on at step %d, in epoch %d", state.step, state.epoch)
        return True
