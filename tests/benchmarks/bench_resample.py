"""Resampling of flux and errors from 473 native pixels to 640 of the rest-frame grid on one core.

`resample_batch` in batches of 64 is compared with both forms of `spectres` (Carnall 2017, arXiv:1705.05165),
its Python loop, which ``import spectres`` gives, and its numba form, and with `specutils` if the extra
``bench`` is installed. Compilation and the conversion of the input to the form that each needs are not timed.
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
from tests.benchmarks.timing import Row, Workload, rate_row, time_pair

N_SPECTRA, BATCH_SIZE = 8192, 64
GRID = GridConfig().resolve(np.array([5.0]))
Sample = tuple[Floats, Floats, Floats]
"""Wavelength, flux and ivar, (n_spectra, 473) each."""


def run() -> list[Row]:
    sample = _make_sample()
    rows = [
        *_compare("spectres, Python", _spectres(spectral_resampling.spectres), sample, 32),
        *_compare("spectres, numba", _spectres(spectral_resampling_numba.spectres_numba), sample, 2048),
    ]
    if find_spec("specutils"):
        rows += _compare("specutils", _specutils, sample, 16)
    return rows


def _make_sample() -> Sample:
    """Return spectra with the same observed wavelengths, at redshifts 4 to 7."""
    rng = np.random.default_rng(0)
    shape = N_SPECTRA, len(WAVE)
    wave = WAVE * 1e4 / (1.0 + rng.uniform(4.0, 7.0, (N_SPECTRA, 1)))
    return wave, rng.normal(1.0, 0.1, shape), rng.uniform(50.0, 150.0, shape)


def _compare(name: str, prepare: Callable[[Sample], Workload], sample: Sample, n_other: int) -> list[Row]:
    """Compare distspec on the sample with another package on `n_other` spectra, which takes as long."""
    wave, flux, ivar = sample
    other = prepare((wave[:n_other], flux[:n_other], ivar[:n_other]))
    offsets = np.arange(BATCH_SIZE + 1) * len(WAVE)

    def resample_sample() -> None:
        for start in range(0, N_SPECTRA, BATCH_SIZE):
            wave, flux, ivar = (values[start : start + BATCH_SIZE].ravel() for values in sample)
            resample_batch(wave, flux, ivar, offsets, GRID.edges)

    seconds, other_seconds = time_pair(resample_sample, other, repeats=9)
    reference = rate_row(name, n_other, "spectra", other_seconds)
    return [rate_row("resample_batch", N_SPECTRA, "spectra", seconds).relative_to(reference), reference]


def _spectres(spectres: Any) -> Callable[[Sample], Workload]:
    def prepare(sample: Sample) -> Workload:
        wave, flux, ivar = sample
        errors = ivar**-0.5

        def workload() -> None:
            for old_wave, old_flux, old_errors in zip(wave, flux, errors, strict=True):
                spectres(GRID.wave_rest, old_wave, old_flux, spec_errs=old_errors, fill=0.0, verbose=False)

        return workload

    return prepare


def _specutils(sample: Sample) -> Workload:
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

    def workload() -> None:
        for spectrum in spectra:
            resampler(spectrum, grid)

    return workload
