"""Workers that train one model together: what they must add up, agree on or hand each other.

Gradients are averaged in one piece of fixed layout, not in `DistributedDataParallel`'s buckets: those are
laid out anew after the first step, so a run that goes on from a checkpoint would add in another order than
one that never stopped, and end with other weights. One piece of a few megabytes also needs no overlap.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import BatchNorm1d


@dataclass(frozen=True)
class ProcessGroup:
    """One worker's view of all; alone unless told otherwise.

    Parameters
    ----------
    rank, world_size : int
        With a size above 1 torch's process group must be there.
    device : torch.device
        Through which the workers speak: a GPU for NCCL.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum over all workers."""
        if self.world_size == 1:
            return tensor
        total = tensor.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(tensor.device)

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Return what worker 0 gave; the others' must have its shape and type."""
        if self.world_size == 1:
            return tensor
        told = tensor.to(self.device, copy=True)
        # Bytes travel on every backend; flags and half precision do not.
        dist.broadcast(told.view(torch.uint8) if told.dtype == torch.bool else told, src=0)
        return told.to(tensor.device)

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return every worker's tensor, of one shape and type; nobody goes on before all are here."""
        if self.world_size == 1:
            return [tensor]
        here = tensor.to(self.device)
        all_of_them = [torch.empty_like(here) for _ in range(self.world_size)]
        dist.all_gather(all_of_them, here)
        return [each.to(tensor.device) for each in all_of_them]

    def broadcast_module(self, module: nn.Module) -> None:
        """Give every worker the first one's weights and buffers."""
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                tensor.copy_(self.broadcast(tensor))

    def average_gradients(self, parameters: Iterable[nn.Parameter], batch_fraction: float) -> None:
        """Replace gradients by their weighted sum over the workers.

        Parameters
        ----------
        parameters : the model's
        batch_fraction : float
            This worker's share of the global batch; all workers' come to 1.
        """
        if self.world_size == 1:
            return
        mine = list(parameters)
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in mine]
        whole = torch.cat(parts).mul_(batch_fraction)
        dist.all_reduce(whole)
        for parameter, part in zip(mine, whole.split([p.numel() for p in mine]), strict=True):
            parameter.grad = part.view_as(parameter)

    def average_batch_norm(self, module: nn.Module, batch_fraction: float) -> None:
        """Replace batch norm's running statistics by their weighted mean over the workers.

        In training each worker normalises by its own batches, so only the running statistics, with which
        validation and embedding normalise, must become one: once an epoch is enough, and nothing needs to
        be sent at every step.
        """
        if self.world_size == 1:
            return
        statistics = [t for m in module.modules() if isinstance(m, BatchNorm1d) for t in _running_stats(m)]
        if not statistics:
            return
        whole = self.all_reduce(torch.cat([t.flatten() for t in statistics]) * batch_fraction)
        for tensor, part in zip(statistics, whole.split([t.numel() for t in statistics]), strict=True):
            tensor.copy_(part.view_as(tensor))


def _running_stats(layer: BatchNorm1d) -> list[Tensor]:
    both = (layer.running_mean, layer.running_var)
    return [tensor for tensor in both if tensor is not None]
