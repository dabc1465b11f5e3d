"""Plateaus that are put into real spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from distspec.archives.dja import DJA
from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.spectrum import Spectrum, WavelengthGrid
from distspec.measurements.bad_pixels import BadPixelStatistics, find_bad_pixels
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess
from tests.helpers.reading import read_listing

GRID = WavelengthGrid("log", 1100.0, 8400.0, 640)
"""Grid of recipe `dja`."""


def read_spectra(folder: Path) -> list[Spectrum]:
    """Return the spectra of a folder with DJA's files that can be preprocessed."""
    results = read_listing(DJA(str(folder / "catalog.csv"), str(folder))).values()
    spectra = [item for item in results if isinstance(item, Spectrum)]
    rejected = {k for k, _ in preprocess(spectra, GRID, NormConfig(), -2.0)[1]}
    return [spectrum for k, spectrum in enumerate(spectra) if k not in rejected]


def insert_plateaus(
    spectra: Sequence[Spectrum], n: int, height: float, rng: np.random.Generator
) -> list[Spectrum]:
    """Return spectra with a plateau of 5 to 13 valid pixels at a random place; its height is in sigma."""
    made: list[Spectrum] = []
    while len(made) < n:
        spectrum = spectra[rng.integers(len(spectra))]
        first = rng.integers(5, len(spectrum.wave) - 20)
        pixels = slice(first, first + rng.integers(5, 14))
        rest = spectrum.wave[pixels] * 1e4 / (1.0 + spectrum.z)
        if (spectrum.ivar[pixels] <= 0).any() or rest[0] < 1150.0 or rest[-1] > 8300.0:
            continue
        flux = spectrum.flux.copy()
        flux[pixels] += height / np.sqrt(np.median(spectrum.ivar[pixels]))
        made.append(replace(spectrum, flux=flux))
    return made


def find_in_spectra(spectra: Sequence[Spectrum]) -> BadPixelStatistics:
    """Return the bad pixels of observed spectra."""
    batch, _ = preprocess(spectra, GRID, NormConfig(), -2.0)
    return find_bad_pixels(batch.flux, batch.ivar, batch.z, GRID, NIRSPEC_PRISM)
