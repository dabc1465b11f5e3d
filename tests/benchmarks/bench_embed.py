"""`embed`: 8,192 spectra of 640 pixels in memory, 2,048 a call as the stage does, one torch thread.

Its dense layers' FLOP/s as a share of what bare single-precision products reach at the same batch.
"""

from __future__ import annotations

from distspec.vae import embed
from tests.benchmarks.sgemm import forward_gflop, make_sample, make_vae, sgemm
from tests.benchmarks.timing import Row, paired, rate

N_SPECTRA, BATCH = 8192, 2048


def run() -> list[Row]:
    vae, (flux, ivar) = make_vae(), make_sample(N_SPECTRA)

    def whole() -> None:
        for part in zip(flux.split(BATCH), ivar.split(BATCH), strict=True):
            embed(vae, *part)

    gflop = forward_gflop(vae, N_SPECTRA)
    products, products_gflop = sgemm(BATCH, gflop)
    ours, theirs = paired(whole, products, repeats=9)
    peak = rate(f"sgemm, batch {BATCH}", products_gflop, "GFLOP", theirs)
    return [
        rate("embed", N_SPECTRA, "spectra", ours),
        rate("its dense layers", gflop, "GFLOP", ours).against(peak),
        peak,
    ]
