"""The same work on a GPU: training, embedding, mixtures. It says so where there is none.

Spectra of 640 pixels lie in the GPU's memory. Epochs of our loop against a bare loop of the same steps, both
with products in bfloat16, then ours in float32; encoding and decoding against one CPU core; and the paper's
1,100 mixtures against one CPU core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from distspec.clustering.gaussian_mixture import MixtureInit, fit_mixtures
from distspec.models.batch import Batch
from distspec.models.vae import SpectrumVAE, embed
from distspec.training.distributed import ProcessGroup
from tests.benchmarks.bench_cluster import KS, SEEDS, paper_map
from tests.benchmarks.bench_train import bare_epoch, new, our_epoch, spectra
from tests.benchmarks.timing import Row, paired, rate

SIZES = {64: 16_384, 1024: 131_072, 8192: 131_072}
"""Batch: how many spectra an epoch has."""
REPEATS = 5


def run() -> list[Row]:
    if not torch.cuda.is_available():
        return [Row("no CUDA device", "", (float("nan"),))]
    torch.set_num_threads(1)
    return [*_training(), *_embedding(), *_mixtures()]


def _to_the_end(work: Callable[[], Any]) -> Callable[[], None]:
    """Return a work that is over when the GPU has done it."""

    def whole() -> None:
        work()
        torch.cuda.synchronize()

    return whole


def _training() -> list[Row]:
    rows: list[Row] = []
    team = ProcessGroup(device=torch.device("cuda"))
    for batch, n in SIZES.items():
        ours = _to_the_end(our_epoch(batch, team, n))
        mine, theirs = paired(ours, _to_the_end(bare_epoch(batch, n, "cuda")[0]), REPEATS)
        bare = rate(f"a bare loop, batch {batch}", n, "spectra", theirs)
        rows += [rate(f"our loop, batch {batch}", n, "spectra", mine).run_null_test(bare), bare]
        single, mine = paired(_to_the_end(our_epoch(batch, team, n, bf16=False)), ours, REPEATS)
        half = rate(f"our loop, batch {batch}", n, "spectra", mine)
        rows.append(rate(f"our loop in float32, batch {batch}", n, "spectra", single).run_null_test(half))
    return rows


def _embedding(batch: int = 8192, few: int = 8192, many: int = 131_072) -> list[Row]:
    def passes(vae: SpectrumVAE, whole: Batch) -> Callable[[], None]:
        def work() -> None:
            for start in range(0, len(whole), batch):
                embed(vae, whole[start : start + batch])

        return work

    vae, whole = new(64, spectra(few)).vae.eval(), spectra(many)
    core = passes(vae, whole[:few])
    there = passes(new(64, spectra(few)).vae.eval().to("cuda"), whole.to("cuda"))
    ours, theirs = paired(_to_the_end(there), core, REPEATS)
    one = rate("encode, decode and compare on a core", few, "spectra", theirs)
    return [rate("… on the GPU", many, "spectra", ours).run_null_test(one), one]


def _mixtures() -> list[Row]:
    points = paper_map()
    starts = [MixtureInit(k, "full", seed) for k in KS for seed in SEEDS]
    ours, theirs = paired(
        lambda: fit_mixtures(points, starts, device="cuda"), lambda: fit_mixtures(points, starts), 3
    )
    core = Row("1,100 mixtures of 2,743 points on a core", "s", theirs)
    return [Row("… on the GPU", "s", ours).run_null_test(core), core]
