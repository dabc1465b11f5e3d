"""Training, embedding and Gaussian mixtures on a GPU; one row says so if there is none.

Spectra of 640 pixels are held in the GPU's memory. Epochs of the training loop are compared with a bare loop
of the same steps, both with products in bfloat16, and the training loop in float32 with the one in bfloat16;
encoding, decoding and comparing, and the published sweep's 1,100 mixtures, with one CPU core.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from distspec.clustering.gaussian_mixture import MixtureInit, fit_mixtures
from distspec.models.batch import Batch
from distspec.models.vae import SpectrumVAE, embed
from distspec.training.distributed import ProcessGroup
from tests.benchmarks.bench_cluster import KS, SEEDS, make_umap
from tests.benchmarks.bench_train import bare_epoch, make_spectra, make_state, trainer_epoch
from tests.benchmarks.timing import Row, Workload, rate_row, time_pair

N_SPECTRA_BY_BATCH_SIZE = {64: 16_384, 1024: 131_072, 8192: 131_072}
"""Number of spectra in an epoch, by batch size."""
REPEATS = 5


def run() -> list[Row]:
    if not torch.cuda.is_available():
        return [Row("no CUDA device", "", (float("nan"),))]
    torch.set_num_threads(1)
    return [*_time_training(), *_time_embedding(), *_time_mixtures()]


def _synchronized(workload: Workload) -> Callable[[], None]:
    """Return a function that also waits until the GPU has finished."""

    def run_to_end() -> None:
        workload()
        torch.cuda.synchronize()

    return run_to_end


def _time_training() -> list[Row]:
    rows: list[Row] = []
    process_group = ProcessGroup(device=torch.device("cuda"))
    for batch_size, n in N_SPECTRA_BY_BATCH_SIZE.items():
        epoch = _synchronized(trainer_epoch(batch_size, process_group, n))
        seconds, bare = time_pair(epoch, _synchronized(bare_epoch(batch_size, n, "cuda")[0]), REPEATS)
        name = f"training loop, batch {batch_size}"
        reference = rate_row(f"bare loop, batch {batch_size}", n, "spectra", bare)
        rows += [rate_row(name, n, "spectra", seconds).relative_to(reference), reference]
        float32_epoch = _synchronized(trainer_epoch(batch_size, process_group, n, bf16=False))
        float32_seconds, seconds = time_pair(float32_epoch, epoch, REPEATS)
        row = rate_row(f"training loop in float32, batch {batch_size}", n, "spectra", float32_seconds)
        rows.append(row.relative_to(rate_row(name, n, "spectra", seconds)))
    return rows


def _time_embedding(batch_size: int = 8192, n_cpu: int = 8192, n_gpu: int = 131_072) -> list[Row]:
    def make_workload(vae: SpectrumVAE, spectra: Batch) -> Workload:
        def workload() -> None:
            for start in range(0, len(spectra), batch_size):
                embed(vae, spectra[start : start + batch_size])

        return workload

    vae, spectra = make_state(64, make_spectra(n_cpu)).vae.eval(), make_spectra(n_gpu)
    on_cpu = make_workload(vae, spectra[:n_cpu])
    on_gpu = make_workload(make_state(64, make_spectra(n_cpu)).vae.eval().to("cuda"), spectra.to("cuda"))
    gpu_seconds, cpu_seconds = time_pair(_synchronized(on_gpu), on_cpu, REPEATS)
    reference = rate_row("encode, decode and compare on a CPU core", n_cpu, "spectra", cpu_seconds)
    return [rate_row("… on the GPU", n_gpu, "spectra", gpu_seconds).relative_to(reference), reference]


def _time_mixtures() -> list[Row]:
    points = make_umap()
    inits = [MixtureInit(k, "full", seed) for k in KS for seed in SEEDS]
    gpu_seconds, cpu_seconds = time_pair(
        lambda: fit_mixtures(points, inits, device="cuda"), lambda: fit_mixtures(points, inits), 3
    )
    reference = Row("1,100 mixtures of 2,743 points on a CPU core", "s", cpu_seconds)
    return [Row("… on the GPU", "s", gpu_seconds).relative_to(reference), reference]
