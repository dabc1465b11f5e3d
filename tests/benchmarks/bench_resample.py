"""Resampling flux and errors, 473 native pixels → 640 on the rest-frame grid, one core.

`resample_batch`, batches of 64, against both forms of `spectres` (Carnall 2017): its Python loop, which
``import spectres`` gives, and its numba one; and against `specutils`, where the extra ``bench`` is installed.
Everything is compiled, and turned into what each asks for, before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from astropy import units
from astropy.nddata import InverseVariance
from spectres import spectral_resampling, spectral_resampling_numba

from distspec.archives.simulated.nirspec import WAVE
from distspec.core.spectrum import Floats
from distspec.preprocessing.resampling import GridConfig, resample_batch
from tests.benchmarks.timing import Row, Work, paired, rate

N_SPECTRA, BATCH = 8192, 64
GRID = GridConfig().resolve(np.array([5.0]))
Sample = tuple[Floats, Floats, Floats]


def run() -> list[Row]:
    sample = _sample()
    rows = [
        *_measure("spectres, Python", _spectres(spectral_resampling.spectres), sample, 32),
        *_measure("spectres, numba", _spectres(spectral_resampling_numba.spectres_numba), sample, 2048),
    ]
    if find_spec("specutils"):
        rows += _measure("specutils", _specutils, sample, 16)
    return rows


def _sample() -> Sample:
    """Spectra of one wavelength array each, at redshifts 4 to 7: wave, flux, ivar, (N, 473) each."""
    rng = np.random.default_rng(0)
    shape = N_SPECTRA, len(WAVE)
    wave = WAVE * 1e4 / (1.0 + rng.uniform(4.0, 7.0, (N_SPECTRA, 1)))
    return wave, rng.normal(1.0, 0.1, shape), rng.uniform(50.0, 150.0, shape)


def _measure(name: str, other: Callable[[Sample], Work], sample: Sample, n_theirs: int) -> list[Row]:
    """Time ours on the whole sample, the other on `n_theirs` of it: about as long."""
    theirs = other(tuple(values[:n_theirs] for values in sample))
    offsets = np.arange(BATCH + 1) * len(WAVE)

    def ours() -> None:
        for start in range(0, N_SPECTRA, BATCH):
            wave, flux, ivar = (values[start : start + BATCH].ravel() for values in sample)
            resample_batch(wave, flux, ivar, offsets, GRID.edges)

    our_seconds, their_seconds = paired(ours, theirs, repeats=9)
    slow = rate(name, n_theirs, "spectra", their_seconds)
    return [rate("resample_all", N_SPECTRA, "spectra", our_seconds).run_null_test(slow), slow]


def _spectres(spectres: Any) -> Callable[[Sample], Work]:
    def prepare(sample: Sample) -> Work:
        wave, flux, ivar = sample
        errors = ivar**-0.5

        def work() -> None:
            for each in zip(wave, flux, errors, strict=True):
                spectres(GRID.wave_rest, *each[:2], spec_errs=each[2], fill=0.0, verbose=False)

        return work

    return prepare


def _specutils(sample: Sample) -> Work:
    from specutils import Spectrum
    from specutils.manipulation import FluxConservingResampler

    spectra = [
        Spectrum(
            spectral_axis=wave * units.AA,
            flux=flux * units.Jy,
            uncertainty=InverseVariance(ivar / units.Jy**2),
        )
        for wave, flux, ivar in zip(*sample, strict=True)
    ]
    resampler, grid = FluxConservingResampler(extrapolation_treatment="nan_fill"), GRID.wave_rest * units.AA

    def work() -> None:
        for spectrum in spectra:
            resampler(spectrum, grid)

    return work
