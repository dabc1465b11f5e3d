"""`preprocess`: to the rest frame, onto the grid, to 1 at 1500 Å; DJA-like spectra, batches of 64, one core.

The whole, and the share of it that each step takes when the steps run one by one, as it runs them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from distspec.archives.simulated.nirspec import WAVE
from distspec.core.spectrum import Spectrum, compute_row_checksums
from distspec.preprocessing.normalization import NormConfig, estimate_norms
from distspec.preprocessing.resampling import GridConfig, divide_by_norm, median_snr, resample_batch
from distspec.preprocessing.rest_frame import preprocess, to_rest_frame_batch
from tests.benchmarks.timing import Row, paired, rate

N_SPECTRA, BATCH = 4096, 64
GRID = GridConfig().resolve(np.array([5.0]))
NORM = NormConfig()


def run() -> list[Row]:
    batches = [[_spectrum(start + i) for i in range(BATCH)] for start in range(0, N_SPECTRA, BATCH)]
    spent: list[dict[str, float]] = []

    def whole() -> None:
        for batch in batches:
            preprocess(batch, GRID, NORM, NORM.fallback_slope)

    times, _ = paired(whole, lambda: spent.append(_by_step(batches)))
    # The first of each ran to warm up.
    shares = [
        Row(
            f"… {step}",
            "%",
            tuple(100 * each[step] / all_ for each, all_ in zip(spent[1:], times, strict=True)),
        )
        for step in spent[0]
    ]
    return [rate("preprocess", N_SPECTRA, "spectra", times), *shares]


def _by_step(batches: Sequence[Sequence[Spectrum]]) -> dict[str, float]:
    """Do what `preprocess` does with good spectra: seconds a step."""
    spent: dict[str, float] = defaultdict(float)

    def timed(step: str, work: Callable[..., Any], *arguments: Any) -> Any:
        start = perf_counter()
        result = work(*arguments)
        spent[step] += perf_counter() - start
        return result

    for batch in batches:
        rest = timed("rest frame", to_rest_frame_batch, batch)
        pixels = rest.wave, rest.flux, rest.ivar, rest.offsets
        flux, ivar = timed("resampling", resample_batch, *pixels, GRID.edges)
        estimates = timed("window means", estimate_norms, *pixels, NORM, NORM.fallback_slope)
        flux, ivar, _, _ = timed("scaling", divide_by_norm, flux, ivar, estimates.norm)
        timed("median S/N", median_snr, flux, ivar)
        timed("checksums", compute_row_checksums, flux, ivar)
    return spent


def _spectrum(seed: int) -> Spectrum:
    """A power law with noise, a twentieth of its pixels masked."""
    rng = np.random.default_rng(seed)
    signal = 0.05 * WAVE ** rng.uniform(-1.0, 2.0)
    sigma = signal / rng.uniform(1.0, 20.0)
    ivar = np.where(rng.random(len(WAVE)) < 0.05, 0.0, sigma**-2.0)
    flux = signal + sigma * rng.normal(size=len(WAVE))
    return Spectrum(str(seed), WAVE, flux, ivar, "uJy", rng.uniform(4.0, 9.0))
