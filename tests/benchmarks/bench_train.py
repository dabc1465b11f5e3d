"""One epoch of `train_epoch`: 2,048 spectra of 640 pixels in memory, the default VAE, one torch thread.

Its dense layers' FLOP/s as a share of what bare single-precision products reach at the same batch; the
other layers, the losses, clipping and Adam are what is missing to 1. Forward and backward count as three
forward passes, though the first layer's input needs no gradient (a ninth of the count).
"""

from __future__ import annotations

import torch

from distspec.training import Sample, TrainingConfig, make_optimizer, train_epoch
from tests.benchmarks.sgemm import forward_gflop, make_sample, make_vae, sgemm
from tests.benchmarks.timing import Row, paired, rate

N_SPECTRA = 2048


def run() -> list[Row]:
    return [row for batch in (64, 1024) for row in _measure(batch)]


def _measure(batch: int) -> list[Row]:
    vae, config = make_vae(), TrainingConfig(batch_size=batch)
    sample, generator = Sample(*make_sample(N_SPECTRA)), torch.Generator().manual_seed(0)
    optimizer, schedule = make_optimizer(vae, config)

    def epoch() -> None:
        train_epoch(vae, vae, sample, config, optimizer, schedule, generator)

    gflop = 3.0 * forward_gflop(vae, N_SPECTRA)
    products, products_gflop = sgemm(batch, gflop)
    ours, theirs = paired(epoch, products, repeats=9)
    peak = rate(f"sgemm, batch {batch}", products_gflop, "GFLOP", theirs)
    return [
        rate(f"epoch, batch {batch}", N_SPECTRA, "spectra", ours),
        rate(f"its dense layers, batch {batch}", gflop, "GFLOP", ours).against(peak),
        peak,
    ]
