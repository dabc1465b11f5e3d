"""Training: 2,048 spectra of 640 pixels held in memory, the default VAE, batches of 64 and of 1,024.

In a Ray Train worker of one thread, epochs of our loop against as many steps of a bare torch loop (index,
forward, backward, clip, fused Adam) on the same tensors. The bare loop's dense layers against what bare
single-precision products reach at the same batch: forward, and backward but for the first layer's input,
which needs no gradient. Then two workers of one thread, over gloo, against one worker of two threads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from ray.train import LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from torch import nn

from distspec.core.spectrum import WavelengthGrid
from distspec.models.batch import Batch
from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.vae import SpectrumVAE
from distspec.training.checkpoint import CheckpointManager
from distspec.training.config import TrainingConfig
from distspec.training.data import CachedLoader
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import GlobalSampler, SampleSpec
from distspec.training.state import TrainingState
from distspec.training.steps import init_training_state
from distspec.training.trainer import Trainer, train_epoch
from tests.benchmarks.archive import local_ray
from tests.benchmarks.sgemm import N_PIXELS, forward_gflop, make_sample, sgemm
from tests.benchmarks.timing import Row, Times, paired, rate, seconds

N_SPECTRA, REPEATS = 2048, 7
GRID = WavelengthGrid("log", 1100.0, 8400.0, N_PIXELS)


def run() -> list[Row]:
    torch.set_num_threads(1)
    rows: list[Row] = []
    for batch in (64, 1024):
        rows += _loops(batch)
    for batch in (64, 1024):
        rows += _two(batch)
    return rows


def spectra(n: int = N_SPECTRA) -> Batch:
    return Batch.from_spectra(*make_sample(n), torch.full((n,), 5.0))


def new(batch: int, whole: Batch) -> TrainingState:
    """Return a model as training begins with it."""
    torch.manual_seed(0)
    vae = SpectrumVAE({SPECTRUM_KEY: N_PIXELS}, VAEConfig(), GRID.wave_rest)
    vae.initialize_from_sample(whole)
    return init_training_state(vae, TrainingConfig(batch_size=batch))


def our_epoch(batch: int, team: ProcessGroup, n: int = N_SPECTRA, bf16: bool = True) -> Callable[[], Any]:
    """Return one epoch of the loop that the stage runs."""
    whole = spectra(n)
    state, config = new(batch, whole), TrainingConfig(batch_size=batch, bf16=bf16)
    state.vae.to(team.device)
    whole = whole.to(team.device)
    shuffling = GlobalSampler(SampleSpec(np.arange(n), batch, 0))
    feed = CachedLoader(shuffling.spec.rows, whole, team.rank)
    # Its checkpoints are due in a year: what is timed is asking.
    keeper = CheckpointManager("nowhere", shuffling, team, 525_600.0)
    work = Trainer(
        config, team, shuffling, feed, lambda: iter(()), lambda: whole, whole.__getitem__, str, keeper
    )

    def epoch() -> None:
        train_epoch(state, shuffling.plan_epoch(state.epoch, team.world_size), work)
        state.start_next_epoch()

    return epoch


def bare_epoch(batch: int, n: int = N_SPECTRA, device: str = "cpu") -> tuple[Callable[[], None], SpectrumVAE]:
    """Return as many steps as any script would take them, and the model; on a GPU in bfloat16."""
    whole = spectra(n)
    vae, generator = new(batch, whole).vae.to(device), torch.Generator(device).manual_seed(0)
    whole = whole.to(device)
    adam = torch.optim.Adam(vae.parameters(), lr=1e-4, fused=True)
    vae.train()

    def epoch() -> None:
        for step, rows in enumerate(torch.randperm(n, generator=generator, device=device).split(batch)):
            adam.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                losses = vae(whole[rows], step)
            losses["total"].backward()
            nn.utils.clip_grad_norm_(vae.parameters(), 2.0)
            adam.step()

    return epoch, vae


def _loops(batch: int) -> list[Row]:
    ours, theirs = _in_ray_train(batch)
    bare = rate(f"a bare loop there, batch {batch}", N_SPECTRA, "spectra", theirs)
    epoch, vae = bare_epoch(batch)
    first = 2e-9 * N_SPECTRA * vae.config.hidden_sizes[0] * N_PIXELS
    gflop = 3.0 * forward_gflop(vae, N_SPECTRA) - first
    products, products_gflop = sgemm(batch, gflop)
    dense, most = paired(epoch, products, REPEATS)
    peak = rate(f"sgemm, batch {batch}", products_gflop, "GFLOP", most)
    return [
        rate(f"a Ray Train worker, batch {batch}", N_SPECTRA, "spectra", ours).run_null_test(bare),
        bare,
        rate(f"a bare loop's dense layers, batch {batch}", gflop, "GFLOP", dense).run_null_test(peak),
        peak,
    ]


def _in_ray_train(batch: int) -> tuple[Times, Times]:
    """Run both loops in turns in a worker of Ray Train."""
    with local_ray(), tempfile.TemporaryDirectory(prefix="ds-") as folder:
        trainer = TorchTrainer(
            _worker,
            train_loop_config={"batch": batch},
            scaling_config=ScalingConfig(num_workers=1),
            run_config=RunConfig(storage_path=folder, logging_config=LoggingConfig(log_level="ERROR")),
        )
        return trainer.fit().return_value


def _worker(given: dict[str, int]) -> tuple[Times, Times]:
    torch.set_num_threads(1)
    return paired(our_epoch(given["batch"], ProcessGroup()), bare_epoch(given["batch"])[0], REPEATS)


def _two(batch: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        torch.multiprocessing.spawn(_one_of_two, (batch, folder), nprocs=2)
        ours, theirs = np.loadtxt(f"{folder}/seconds").tolist()
    one = rate(f"one worker of two threads, batch {batch}", N_SPECTRA, "spectra", tuple(theirs))
    return [
        rate(f"two workers of one, batch {batch}", N_SPECTRA, "spectra", tuple(ours)).run_null_test(one),
        one,
    ]


def _one_of_two(rank: int, batch: int, folder: str) -> None:
    """Train an epoch together, then the first alone with two threads while the other waits; and so on."""
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    together, alone = our_epoch(batch, ProcessGroup(rank, 2)), our_epoch(batch, ProcessGroup())
    times: list[tuple[float, float]] = []
    for _ in range(REPEATS + 1):
        torch.set_num_threads(1)
        dist.barrier()
        both = seconds(together)
        torch.set_num_threads(2)
        times.append((both, seconds(alone) if rank == 0 else 0.0))
        dist.barrier()
    if rank == 0:
        np.savetxt(f"{folder}/seconds", np.transpose(times[1:]))  # the first warms up
    dist.destroy_process_group()
