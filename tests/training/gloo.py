"""Training by three worker processes that are connected by gloo."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from distspec.core.errors import TrainingDivergedError
from distspec.models.batch import Batch
from distspec.training.config import TrainingConfig
from distspec.training.distributed import ProcessGroup
from distspec.training.trainer import fit
from tests.training.build_store import make_spectra, make_state, make_trainer

SIZE = 3
CONFIG = TrainingConfig(learning_rate=1e-3, max_epochs=3, shuffle_window_chunks=2, workers=SIZE)
"""The batch of 64 is divided into 21, 21 and 22."""


NamedTensors = dict[str, Tensor]


def run_workers(
    size: int, function: Callable[[ProcessGroup, str], NamedTensors], folder: Path
) -> list[NamedTensors]:
    """Run a function in a process per worker and return the tensors that each returns.

    The processes are forks of one that has imported this module, and with it torch.
    """
    multiprocessing.set_forkserver_preload([__name__])
    arguments = (size, function, str(folder))
    start_processes(_start, arguments, size, start_method="forkserver")
    return [load_file(folder / f"{rank}.safetensors") for rank in range(size)]


def _start(rank: int, size: int, function: Callable[[ProcessGroup, str], NamedTensors], folder: str) -> None:
    torch.set_num_threads(1)
    timeout = timedelta(seconds=60)
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", timeout, rank=rank, world_size=size)
    save_file(function(ProcessGroup(rank, size), folder), f"{folder}/{rank}.safetensors")
    dist.destroy_process_group()


def run_scenarios(process_group: ProcessGroup, folder: str) -> NamedTensors:
    """Return the results of collective operations, and weights and losses by scenario."""
    batch = make_spectra(200)
    results = {
        "sum": process_group.all_reduce(torch.tensor([1.0, float(process_group.rank)])),
        "flags": process_group.broadcast(torch.tensor([process_group.rank == 0, False])),
        "all": torch.stack(process_group.all_gather(torch.tensor([process_group.rank]))),
    }

    def train(name: str, config: TrainingConfig, url: str = "", streamed: bool = False) -> None:
        state = make_state(config, seed=process_group.rank)  # worker 0's weights must be used
        fit(state, make_trainer(batch, batch, config, process_group, url, streamed))
        results.update({f"{name}/{key}": value for key, value in state.vae.state_dict().items()})
        results[f"{name}/losses"] = torch.tensor([epoch.train["total"] for epoch in state.history])
        results[f"{name}/val"] = torch.tensor([epoch.validation["recon"] for epoch in state.history])

    for kind in ("cached", "streamed"):
        url, is_streamed = f"{folder}/{kind}", kind == "streamed"
        train(kind, CONFIG, streamed=is_streamed)
        # The last checkpoint is that of step 4, in the middle of the second epoch.
        train(f"{kind} half", replace(CONFIG, max_epochs=2, checkpoint_interval_steps=4), url, is_streamed)
        train(f"{kind} again", CONFIG, url, is_streamed)
        train(f"{kind} grown", CONFIG, f"{folder}/{kind} of one", is_streamed)
    results["message"] = _train_on_bad_value(batch, process_group)
    return results


def _train_on_bad_value(batch: Batch, process_group: ProcessGroup) -> Tensor:
    """Return, as bytes, a worker's error message for a value that is not finite in one worker's rows."""
    value, ivar = (tensor.clone() for tensor in batch.spectrum)
    value[:, 0], ivar[:, 0] = torch.where(torch.arange(200) == 50, float("nan"), 1.0), 100.0
    damaged = Batch.from_spectra(value, ivar, batch.z)
    try:
        fit(make_state(CONFIG), make_trainer(damaged, batch, CONFIG, process_group))
    except TrainingDivergedError as error:
        return torch.tensor(list(str(error).encode().ljust(4000)), dtype=torch.uint8)
    return torch.zeros(4000, dtype=torch.uint8)
