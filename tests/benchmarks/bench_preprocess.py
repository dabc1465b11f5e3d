"""`preprocess`: rest frame, resampling and normalization at 1500 Å of DJA-like spectra on one core.

Batches have 64 spectra. The rows give the rate of the whole function, and the time of each of its steps as a
fraction of it when they are called one by one.
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
from tests.benchmarks.timing import Row, rate_row, time_pair

N_SPECTRA, BATCH_SIZE = 4096, 64
GRID = GridConfig().resolve(np.array([5.0]))
NORM = NormConfig()


def run() -> list[Row]:
    batches = [
        [_make_spectrum(start + i) for i in range(BATCH_SIZE)] for start in range(0, N_SPECTRA, BATCH_SIZE)
    ]
    step_seconds: list[dict[str, float]] = []

    def run_whole() -> None:
        for batch in batches:
            preprocess(batch, GRID, NORM, NORM.fallback_slope)

    seconds, _ = time_pair(run_whole, lambda: step_seconds.append(_time_steps(batches)))
    timed_steps = step_seconds[1:]  # without the call before the timing
    fractions = [
        Row(
            f"… {step}",
            "%",
            tuple(100 * by_step[step] / total for by_step, total in zip(timed_steps, seconds, strict=True)),
        )
        for step in step_seconds[0]
    ]
    return [rate_row("preprocess", N_SPECTRA, "spectra", seconds), *fractions]


def _time_steps(batches: Sequence[Sequence[Spectrum]]) -> dict[str, float]:
    """Run the steps of `preprocess` for valid spectra one by one; return the duration of each [s]."""
    seconds: dict[str, float] = defaultdict(float)

    def time_step(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        start = perf_counter()
        result = function(*arguments)
        seconds[name] += perf_counter() - start
        return result

    for batch in batches:
        rest = time_step("rest frame", to_rest_frame_batch, batch)
        pixels = rest.wave, rest.flux, rest.ivar, rest.offsets
        flux, ivar = time_step("resampling", resample_batch, *pixels, GRID.edges)
        estimates = time_step("window means", estimate_norms, *pixels, NORM, NORM.fallback_slope)
        flux, ivar, _, _ = time_step("scaling", divide_by_norm, flux, ivar, estimates.norm)
        time_step("median S/N", median_snr, flux, ivar)
        time_step("checksums", compute_row_checksums, flux, ivar)
    return seconds


def _make_spectrum(seed: int) -> Spectrum:
    """Return a power law with noise, with a twentieth of its pixels masked."""
    rng = np.random.default_rng(seed)
    signal = 0.05 * WAVE ** rng.uniform(-1.0, 2.0)
    sigma = signal / rng.uniform(1.0, 20.0)
    ivar = np.where(rng.random(len(WAVE)) < 0.05, 0.0, sigma**-2.0)
    flux = signal + sigma * rng.normal(size=len(WAVE))
    return Spectrum(str(seed), WAVE, flux, ivar, "uJy", rng.uniform(4.0, 9.0))
