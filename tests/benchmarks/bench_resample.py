"""Resampling flux and errors, 473 native pixels → 640 on the rest-frame grid, one core.

`resample` against both forms of `spectres` (Carnall 2017): its Python loop, which ``import spectres`` gives,
and its numba one. Everything is compiled before it is timed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from spectres import spectral_resampling, spectral_resampling_numba

from distspec.archives.mock.nirspec import WAVE
from distspec.preprocessing import GridConfig
from distspec.resampling import resample
from distspec.spectrum import Floats
from tests.benchmarks.timing import Row, paired, rate

N_SPECTRA = 8192
Sample = list[tuple[Floats, Floats, Floats]]


def run() -> list[Row]:
    sample = _sample()
    return [
        *_measure("spectres, Python", spectral_resampling.spectres, sample, 32),
        *_measure("spectres, numba", spectral_resampling_numba.spectres_numba, sample, 2048),
    ]


def _sample() -> Sample:
    """Spectra of one wavelength array each, at redshifts 4 to 7: wave, flux, ivar."""
    rng = np.random.default_rng(0)
    return [
        (WAVE * 1e4 / (1.0 + z), rng.normal(1.0, 0.1, len(WAVE)), rng.uniform(50.0, 150.0, len(WAVE)))
        for z in rng.uniform(4.0, 7.0, N_SPECTRA)
    ]


def _measure(name: str, spectres: Any, sample: Sample, n_theirs: int) -> list[Row]:
    """Time `resample` on the whole sample, the other on `n_theirs` of it: about as long."""
    grid = GridConfig().resolve(np.array([5.0]))
    wave_rest, edges = grid.wave_rest, grid.edges
    errors = [ivar**-0.5 for _, _, ivar in sample[:n_theirs]]

    def ours() -> None:
        for wave, flux, ivar in sample:
            resample(wave, flux, ivar, edges)

    def theirs() -> None:
        for (wave, flux, _), error in zip(sample, errors, strict=False):
            spectres(wave_rest, wave, flux, spec_errs=error, fill=0.0, verbose=False)

    our_seconds, their_seconds = paired(ours, theirs, repeats=9)
    other = rate(name, n_theirs, "spectra", their_seconds)
    return [rate("resample", N_SPECTRA, "spectra", our_seconds).against(other), other]
