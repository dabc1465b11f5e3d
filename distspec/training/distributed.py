"""Communication between the workers that train one model.

Gradients are averaged as one tensor of fixed layout instead of in `DistributedDataParallel`'s buckets, which
are rebuilt after the first step: training that resumes from a checkpoint would add in another order than
training that was never interrupted, and end with other weights. A few megabytes also gain nothing from
overlapping communication.
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
    """The workers of a training as one of them sees them; a single worker by default.

    Parameters
    ----------
    rank : int
        Number of this worker.
    world_size : int
        Number of workers; above 1, torch's process group must be initialized.
    device : torch.device
        Device of tensors in collective operations: a GPU for NCCL.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all workers.

        Parameters
        ----------
        tensor : Tensor
            This worker's tensor.

        Returns
        -------
        Tensor
            The sum, on the device of `tensor`.
        """
        if self.world_size == 1:
            return tensor
        total = tensor.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(tensor.device)

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Return worker 0's tensor; the other workers' must have the same shape and type.

        Parameters
        ----------
        tensor : Tensor
            This worker's tensor.

        Returns
        -------
        Tensor
            The tensor of worker 0.
        """
        if self.world_size == 1:
            return tensor
        received = tensor.to(self.device, copy=True)
        # Not every backend broadcasts booleans; all of them broadcast bytes.
        dist.broadcast(received.view(torch.uint8) if received.dtype == torch.bool else received, src=0)
        return received.to(tensor.device)

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all workers, which must have one shape and type; acts as a barrier.

        Parameters
        ----------
        tensor : Tensor
            This worker's tensor.

        Returns
        -------
        list of Tensor
            The tensors in the order of the workers.
        """
        if self.world_size == 1:
            return [tensor]
        own = tensor.to(self.device)
        gathered = [torch.empty_like(own) for _ in range(self.world_size)]
        dist.all_gather(gathered, own)
        return [received.to(tensor.device) for received in gathered]

    def broadcast_module(self, module: nn.Module) -> None:
        """Copy worker 0's weights and buffers to every worker.

        Parameters
        ----------
        module : torch.nn.Module
            This worker's module, which is changed in place.
        """
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                tensor.copy_(self.broadcast(tensor))

    def average_gradients(self, parameters: Iterable[nn.Parameter], batch_fraction: float) -> None:
        """Replace gradients by their weighted mean over the workers.

        Parameters
        ----------
        parameters : iterable of Parameter
            Parameters of the network.
        batch_fraction : float
            This worker's fraction of the global batch; the fractions of all workers sum to 1.
        """
        if self.world_size == 1:
            return
        ordered = list(parameters)
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in ordered]
        joined = torch.cat(parts).mul_(batch_fraction)
        dist.all_reduce(joined)
        for parameter, part in zip(ordered, joined.split([p.numel() for p in ordered]), strict=True):
            parameter.grad = part.view_as(parameter)

    def average_batch_norm(self, module: nn.Module, batch_fraction: float) -> None:
        """Replace batch norm's running statistics by their weighted mean over the workers.

        In training each worker normalizes by its own batches. Only the running statistics, by which
        validation and embedding normalize, must agree, for which once per epoch is enough.

        Parameters
        ----------
        module : nn.Module
            The network.
        batch_fraction : float
            This worker's fraction of the global batch.
        """
        if self.world_size == 1:
            return
        statistics = [t for m in module.modules() if isinstance(m, BatchNorm1d) for t in _running_stats(m)]
        if not statistics:
            return
        joined = self.all_reduce(torch.cat([t.flatten() for t in statistics]) * batch_fraction)
        for tensor, part in zip(statistics, joined.split([t.numel() for t in statistics]), strict=True):
            tensor.copy_(part.view_as(tensor))


def _running_stats(layer: BatchNorm1d) -> list[Tensor]:
    """Return the running mean and variance of a layer that keeps them."""
    return [tensor for tensor in (layer.running_mean, layer.running_var) if tensor is not None]
