"""Training of the default VAE on 2,048 spectra of 640 pixels in memory, in batches of 64 and of 1,024.

In a Ray Train worker with one thread, epochs of the training loop are compared with as many steps of a bare
torch loop (index, forward, backward, clip, fused Adam) on the same tensors. The dense layers of the bare loop
are compared with single-precision matrix products of the same batch size; their operations are those of the
forward pass and of the backward pass without the gradient of the first layer's input. Two workers with one
thread each, over gloo, are compared with one worker with two threads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as torch_multiprocessing
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
from tests.benchmarks.timing import Row, Values, Workload, rate_row, time_call, time_pair

N_SPECTRA, REPEATS = 2048, 7
GRID = WavelengthGrid("log", 1100.0, 8400.0, N_PIXELS)
NO_CHECKPOINT_MINUTES = 525_600.0


def run() -> list[Row]:
    torch.set_num_threads(1)
    batch_sizes = (64, 1024)
    rows = [row for batch_size in batch_sizes for row in _compare_loops(batch_size)]
    return rows + [row for batch_size in batch_sizes for row in _compare_workers(batch_size)]


def make_spectra(n: int = N_SPECTRA) -> Batch:
    """Return random spectra."""
    return Batch.from_spectra(*make_sample(n), torch.full((n,), 5.0))


def make_state(batch_size: int, sample: Batch) -> TrainingState:
    """Return the initial state of a training."""
    torch.manual_seed(0)
    vae = SpectrumVAE({SPECTRUM_KEY: N_PIXELS}, VAEConfig(), GRID.wave_rest)
    vae.initialize_from_sample(sample)
    return init_training_state(vae, TrainingConfig(batch_size=batch_size))


def trainer_epoch(
    batch_size: int, process_group: ProcessGroup, n: int = N_SPECTRA, bf16: bool = True
) -> Workload:
    """Return a function that runs one epoch of distspec's training loop."""
    spectra = make_spectra(n)
    state, config = make_state(batch_size, spectra), TrainingConfig(batch_size=batch_size, bf16=bf16)
    state.vae.to(process_group.device)
    spectra = spectra.to(process_group.device)
    sampler = GlobalSampler(SampleSpec(np.arange(n), batch_size, 0))
    trainer = Trainer(
        config=config,
        process_group=process_group,
        sampler=sampler,
        train_loader=CachedLoader(sampler.spec.rows, spectra, process_group.rank),
        validation_batches=lambda: iter(()),
        initialize_model=lambda vae: None,
        read_rows=spectra.__getitem__,
        read_object_ids=lambda rows: [str(row) for row in rows],
        # No checkpoint is due, but the loop asks for one after each step.
        checkpoint_manager=CheckpointManager("nowhere", sampler, process_group, NO_CHECKPOINT_MINUTES),
    )

    def epoch() -> None:
        train_epoch(state, sampler.plan_epoch(state.epoch, process_group.world_size), trainer)
        state.start_next_epoch()

    return epoch


def bare_epoch(
    batch_size: int, n: int = N_SPECTRA, device: str = "cpu"
) -> tuple[Callable[[], None], SpectrumVAE]:
    """Return a function that runs one epoch of a bare loop, in bfloat16 on a GPU, and its network."""
    spectra = make_spectra(n)
    vae, generator = make_state(batch_size, spectra).vae.to(device), torch.Generator(device).manual_seed(0)
    spectra = spectra.to(device)
    adam = torch.optim.Adam(vae.parameters(), lr=1e-4, fused=True)
    vae.train()

    def epoch() -> None:
        order = torch.randperm(n, generator=generator, device=device)
        for step, rows in enumerate(order.split(batch_size)):
            adam.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                losses = vae(spectra[rows], step)
            losses["total"].backward()
            nn.utils.clip_grad_norm_(vae.parameters(), 2.0)
            adam.step()

    return epoch, vae


def _compare_loops(batch_size: int) -> list[Row]:
    seconds, bare_seconds = _time_in_ray_train(batch_size)
    bare = rate_row(f"bare loop there, batch {batch_size}", N_SPECTRA, "spectra", bare_seconds)
    epoch, vae = bare_epoch(batch_size)
    first_layer_gflop = 2e-9 * N_SPECTRA * vae.config.hidden_sizes[0] * N_PIXELS
    gflop = 3.0 * forward_gflop(vae, N_SPECTRA) - first_layer_gflop
    products, products_gflop = sgemm(batch_size, gflop)
    dense_seconds, product_seconds = time_pair(epoch, products, REPEATS)
    peak = rate_row(f"sgemm, batch {batch_size}", products_gflop, "GFLOP", product_seconds)
    return [
        rate_row(f"Ray Train worker, batch {batch_size}", N_SPECTRA, "spectra", seconds).relative_to(bare),
        bare,
        rate_row(f"bare loop's dense layers, batch {batch_size}", gflop, "GFLOP", dense_seconds).relative_to(
            peak
        ),
        peak,
    ]


def _time_in_ray_train(batch_size: int) -> tuple[Values, Values]:
    """Time both loops alternately in a Ray Train worker."""
    with local_ray(), tempfile.TemporaryDirectory(prefix="ds-") as folder:
        trainer = TorchTrainer(
            _train_worker,
            train_loop_config={"batch_size": batch_size},
            scaling_config=ScalingConfig(num_workers=1),
            run_config=RunConfig(storage_path=folder, logging_config=LoggingConfig(log_level="ERROR")),
        )
        result: Any = trainer.fit()
        return result.return_value


def _train_worker(config: dict[str, int]) -> tuple[Values, Values]:
    torch.set_num_threads(1)
    batch_size = config["batch_size"]
    return time_pair(trainer_epoch(batch_size, ProcessGroup()), bare_epoch(batch_size)[0], REPEATS)


def _compare_workers(batch_size: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        spawn: Any = torch_multiprocessing
        spawn.spawn(_time_as_one_of_two, (batch_size, folder), nprocs=2)
        two, one = np.loadtxt(f"{folder}/seconds").tolist()
    name = f"one worker with two threads, batch {batch_size}"
    reference = rate_row(name, N_SPECTRA, "spectra", tuple(one))
    name = f"two workers with one thread, batch {batch_size}"
    return [rate_row(name, N_SPECTRA, "spectra", tuple(two)).relative_to(reference), reference]


def _time_as_one_of_two(rank: int, batch_size: int, folder: str) -> None:
    """Train epochs alternately with both workers, and with worker 0 alone while the other waits."""
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    both = trainer_epoch(batch_size, ProcessGroup(rank, 2))
    alone = trainer_epoch(batch_size, ProcessGroup())
    seconds: list[tuple[float, float]] = []
    for _ in range(REPEATS + 1):
        torch.set_num_threads(1)
        dist.barrier()
        both_seconds = time_call(both)
        torch.set_num_threads(2)
        seconds.append((both_seconds, time_call(alone) if rank == 0 else 0.0))
        dist.barrier()
    if rank == 0:
        np.savetxt(f"{folder}/seconds", np.transpose(seconds[1:]))  # without the first epoch
    dist.destroy_process_group()
