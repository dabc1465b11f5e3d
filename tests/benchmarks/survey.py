"""Simulated galaxies of known classes, also with new noise and at another redshift, without any files.

The training sample and the held-out sample come from different seeds of `distspec.archives.simulated`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.archives.simulated.archive import (
    draw_survey_galaxies,
    simulate_galaxy_flux,
    simulate_survey_flux,
)
from distspec.archives.simulated.nirspec import WAVE, add_noise_and_defects
from distspec.archives.simulated.survey import SimulationConfig, plan_survey
from distspec.core.arrow import pc
from distspec.core.spectrum import Floats, Floats32, Spectrum, WavelengthGrid
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess, to_rest_frame_batch

FLUX_UNIT = "uJy"
DEFAULT_SLOPE = -2.0
HIGH_SNR = 1e4
"""Signal-to-noise ratio at the maximum of a spectrum that counts as noise-free."""
MIN_REDSHIFT_SHIFT = 0.5
"""Smallest difference between the redshifts of a galaxy and of its view at another redshift."""


@dataclass(frozen=True)
class View:
    """One observation of each galaxy, on a grid and on native pixels.

    Attributes
    ----------
    flux, ivar : ndarray of shape (n_galaxies, n_pixels)
        As in a store [f_λ / f_λ(reference)].
    z : ndarray of shape (n_galaxies,)
        Cataloged redshifts.
    snr : ndarray of shape (n_galaxies,)
        Median signal-to-noise ratio of the native pixels.
    native_wave : ndarray of shape (n_galaxies, n_native)
        Rest-frame wavelengths of the native pixels [Å].
    native_flux, native_ivar : ndarray of shape (n_galaxies, n_native)
        Observed flux [f_λ / f_λ(reference)] and its inverse variance, 0 where masked.
    true_flux : ndarray of shape (n_galaxies, n_native)
        Flux without noise.
    """

    flux: Floats32
    ivar: Floats32
    z: Floats
    snr: Floats
    native_wave: Floats
    native_flux: Floats
    native_ivar: Floats
    true_flux: Floats

    def __len__(self) -> int:
        return len(self.z)


@dataclass(frozen=True)
class HeldOutSample:
    """Galaxies that no model is trained on, observed three times.

    Attributes
    ----------
    first : View
        An observation of each galaxy.
    new_noise : View
        The same with other noise.
    other_z : View
        The same galaxies at other redshifts.
    truth_class : ndarray of str, shape (n_galaxies,)
        True classes.
    noise_free : ndarray of shape (n_galaxies, n_pixels)
        Result of `simulate_noise_free`.
    """

    first: View
    new_noise: View
    other_z: View
    truth_class: NDArray[np.str_]
    noise_free: Floats32


@dataclass(frozen=True)
class TrainingSample:
    """Spectra to train on.

    Attributes
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        As in a store.
    z : ndarray of shape (n_spectra,)
        Redshifts.
    source_ids : list of str
        Sources of the spectra.
    """

    flux: Floats32
    ivar: Floats32
    z: Floats
    source_ids: list[str]


def simulate_training_sample(n: int, seed: int, grid: WavelengthGrid, norm: NormConfig) -> TrainingSample:
    """Simulate an archive of `n` files, of which recipe `dja` selects the spectra of the sample."""
    config = SimulationConfig(n_spectra=n, seed=seed)
    table = select_files(plan_survey(config))
    rows: list[dict[str, Any]] = table.to_pylist()
    flux = simulate_survey_flux(config, rows)
    spectra = observe_files(flux, table, get_defects(rows), seed)
    batch, rejected = preprocess(spectra, grid, norm, DEFAULT_SLOPE)
    lost = {index for index, _ in rejected}
    source_ids = [str(row["source"]) for i, row in enumerate(rows) if i not in lost]
    return TrainingSample(batch.flux, batch.ivar, batch.z, source_ids)


def simulate_held_out_sample(n: int, seed: int, grid: WavelengthGrid, norm: NormConfig) -> HeldOutSample:
    """Simulate about `n` ordinary galaxies."""
    config = SimulationConfig(
        n_spectra=n, seed=seed, repeat_fraction=0.0, defect_fraction=0.0, anomaly_fraction=0.0
    )
    table = select_files(plan_survey(config))
    rows: list[dict[str, Any]] = table.to_pylist()
    galaxies = draw_survey_galaxies(config, rows)
    z, exptime = table["z_true"].to_numpy(), table["exptime"].to_numpy()
    rng = np.random.default_rng([seed, 99])
    return build_held_out_sample(
        lambda z: simulate_galaxy_flux(galaxies, z),
        lambda flux, z: observe(flux, z, exptime, [""] * len(z), [rng] * len(z)),
        z,
        np.array(table["truth_class"].to_pylist()),
        grid,
        norm,
        rng,
    )


def build_held_out_sample(
    simulate: Callable[[Floats], Floats],
    observe: Callable[[Floats, Floats], list[Spectrum]],
    z: Floats,
    truth_class: NDArray[np.str_],
    grid: WavelengthGrid,
    norm: NormConfig,
    rng: np.random.Generator,
) -> HeldOutSample:
    """Observe galaxies three times.

    Parameters
    ----------
    simulate : callable
        Returns flux without noise, (n_galaxies, 473), at given redshifts.
    observe : callable
        Returns observed spectra of such flux with given cataloged redshifts.
    z : ndarray of shape (n_galaxies,)
        True redshifts.
    truth_class : ndarray of str, shape (n_galaxies,)
        True classes.
    grid, norm
        Grid and normalization of the spectra.
    rng : numpy.random.Generator
        Draws other redshifts and the errors of cataloged ones.

    Returns
    -------
    HeldOutSample
        A galaxy that is rejected in one view is left out of all.
    """
    observed: list[tuple[list[Spectrum], Floats]] = []
    for z_view in (z, z, _draw_other_redshifts(z, rng)):
        true_flux = simulate(z_view)
        cataloged = z_view + 0.001 * (1.0 + z_view) * rng.standard_normal(len(z_view))
        observed.append((observe(true_flux, cataloged), true_flux))
    batches = [preprocess(spectra, grid, norm, DEFAULT_SLOPE) for spectra, _ in observed]
    lost = {index for _, rejected in batches for index, _ in rejected}
    kept = np.array([i for i in range(len(z)) if i not in lost])
    first, new_noise, other = (
        _make_view([spectra[i] for i in kept], flux[kept], grid, norm) for spectra, flux in observed
    )
    noise_free = simulate_noise_free(simulate, len(z), grid, norm)
    return HeldOutSample(first, new_noise, other, truth_class[kept], noise_free[kept])


def simulate_noise_free(
    simulate: Callable[[Floats], Floats], n: int, grid: WavelengthGrid, norm: NormConfig
) -> Floats32:
    """Return `n` galaxies without noise at the reference redshift of the measurements, (n, n_pixels).

    `simulate` is that of `build_held_out_sample`.
    """
    z = np.full(n, NIRSPEC_PRISM_MEASUREMENTS.reference_redshift)
    flux = simulate(z)
    ivar = np.broadcast_to((HIGH_SNR / flux.max(axis=1, keepdims=True)) ** 2, flux.shape)
    spectra = [Spectrum("", WAVE, flux[i], ivar[i], FLUX_UNIT, float(z[i])) for i in range(n)]
    batch, rejected = preprocess(spectra, grid, norm, DEFAULT_SLOPE)
    assert not rejected, "every spectrum without noise can be normalized"
    return batch.flux


def select_files(table: pa.Table, include_brown_dwarfs: bool = False) -> pa.Table:
    """Return the files that recipe `dja` selects; by default without brown dwarfs, which have z = 0."""
    condition = (pc.field("grade") == 3) & (pc.field("z") > 4.0)
    return table.filter(condition if include_brown_dwarfs else condition & (pc.field("z_true") > 0.0))


def get_defects(rows: list[dict[str, Any]]) -> list[str]:
    """Return the instrumental defect of each file, "" for none."""
    kinds = [row["anomaly_type"] for row in rows]
    return [kind if kind.startswith("artefact") else "" for kind in kinds]


def observe_files(flux: Floats, table: pa.Table, defects: list[str], seed: int) -> list[Spectrum]:
    """Return observed spectra of a survey's files; the noise depends on the seed and the file alone."""
    rngs = [np.random.default_rng([seed, 4, index]) for index in table["index"].to_pylist()]
    return observe(flux, table["z"].to_numpy(), table["exptime"].to_numpy(), defects, rngs)


def observe(
    flux: Floats, z: Floats, exptime: Floats, defects: list[str], rngs: list[np.random.Generator]
) -> list[Spectrum]:
    """Return observed spectra with noise and defects, from flux without noise."""
    spectra: list[Spectrum] = []
    for i in range(len(flux)):
        observed = add_noise_and_defects(flux[i], float(exptime[i]), defects[i], rngs[i])
        ivar = np.where(np.isfinite(observed.err), observed.err, np.inf) ** -2.0
        spectra.append(Spectrum(str(i), WAVE, np.nan_to_num(observed.flux), ivar, FLUX_UNIT, float(z[i])))
    return spectra


def _draw_other_redshifts(z: Floats, rng: np.random.Generator) -> Floats:
    """Return redshifts of other galaxies, each at least `MIN_REDSHIFT_SHIFT` from the galaxy's own."""
    other = rng.permutation(z)
    while (near := np.abs(other - z) < MIN_REDSHIFT_SHIFT).any():
        other[near] = rng.choice(z, near.sum())
    return other


def _make_view(spectra: list[Spectrum], true_flux: Floats, grid: WavelengthGrid, norm: NormConfig) -> View:
    batch, _ = preprocess(spectra, grid, norm, DEFAULT_SLOPE)
    ones = np.ones(len(WAVE))
    noise_free = [
        Spectrum("", WAVE, flux, ones, FLUX_UNIT, spectrum.z)
        for flux, spectrum in zip(true_flux, spectra, strict=True)
    ]
    shape = (len(spectra), len(WAVE))
    rest = to_rest_frame_batch(spectra)
    wave, flux, ivar = (values.reshape(shape) for values in (rest.wave, rest.flux, rest.ivar))
    norms = batch.norm[:, None]
    native_snr = np.where(ivar > 0, flux * np.sqrt(ivar), np.nan)
    return View(
        batch.flux,
        batch.ivar,
        batch.z,
        np.nanmedian(native_snr, axis=1),
        wave,
        flux / norms,
        ivar * norms**2,
        to_rest_frame_batch(noise_free).flux.reshape(shape) / norms,
    )
