"""What three workers do together, each a process of its own: `together` starts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from safetensors.torch import load_file, save_file
from torch import Tensor

from distspec.models.batch import Batch
from distspec.training.config import TrainingConfig
from distspec.training.distributed import ProcessGroup
from distspec.training.trainer import fit
from tests.training.build_store import small_state, spectra, work_on

SIZE = 3
CONFIG = TrainingConfig(learning_rate=1e-3, max_epochs=3, shuffle_window_chunks=2, workers=SIZE)
"""Batches of 64 for three: 21, 21 and 22."""


Shown = dict[str, Tensor]


def together(size: int, function: Callable[[ProcessGroup, str], Shown], folder: Path) -> list[Shown]:
    """Run a function in processes of their own, which know each other; return what each has to show."""
    torch.multiprocessing.spawn(_start, (size, function, str(folder)), nprocs=size)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(size)]


def _start(rank: int, size: int, function: Callable[[ProcessGroup, str], Shown], folder: str) -> None:
    torch.set_num_threads(1)
    patience = timedelta(seconds=60)
    dist.init_process_group("gloo", f"file://{folder}/meeting", patience, rank=rank, world_size=size)
    save_file(function(ProcessGroup(rank, size), folder), f"{folder}/{rank}.safetensors")
    dist.destroy_process_group()


def scenarios(team: ProcessGroup, folder: str) -> Shown:
    """Return weights by scenario, and what the workers told each other."""
    batch = spectra(200)
    shown = {
        "sum": team.all_reduce(torch.tensor([1.0, float(team.rank)])),
        "flags": team.broadcast(torch.tensor([team.rank == 0, False])),
        "all": torch.stack(team.all_gather(torch.tensor([team.rank]))),
    }

    def train(name: str, config: TrainingConfig, url: str = "", streamed: bool = False) -> None:
        state = small_state(config, seed=team.rank)  # the first one's weights must count
        fit(state, work_on(batch, batch, config, team, url, streamed))
        shown.update({f"{name}/{key}": value for key, value in state.vae.state_dict().items()})
        shown[f"{name}/losses"] = torch.tensor([epoch.train["total"] for epoch in state.history])
        shown[f"{name}/val"] = torch.tensor([epoch.validation["recon"] for epoch in state.history])

    for kind in ("cached", "streamed"):
        url, is_streamed = f"{folder}/{kind}", kind == "streamed"
        train(kind, CONFIG, streamed=is_streamed)
        # The last checkpoint is of step 4, in the middle of the second epoch.
        train(f"{kind} kept", replace(CONFIG, max_epochs=2, checkpoint_interval_steps=4), url, is_streamed)
        train(f"{kind} again", CONFIG, url, is_streamed)
        train(f"{kind} grown", CONFIG, f"{folder}/{kind} of one", is_streamed)
    shown["said"] = _bad(batch, team)
    return shown


def _bad(batch: Batch, team: ProcessGroup) -> Tensor:
    """Return, as bytes, what a worker says of a value that is not finite in one worker's rows."""
    value, ivar = (tensor.clone() for tensor in batch.spectrum)
    value[:, 0], ivar[:, 0] = torch.where(torch.arange(200) == 50, float("nan"), 1.0), 100.0
    spoilt = Batch.from_spectra(value, ivar, batch.z)
    try:
        fit(small_state(CONFIG), work_on(spoilt, batch, CONFIG, team))
    except FloatingPointError as error:
        return torch.tensor(list(str(error).encode().ljust(4000)), dtype=torch.uint8)
    return torch.zeros(4000, dtype=torch.uint8)
