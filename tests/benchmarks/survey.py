"""Made-up galaxies of known truth, seen again with new noise and at another redshift; nothing is written.

The training archive and the held-out sources come from different seeds of `distspec.archives.simulated.archive`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from distspec.archives.simulated.archive import (
    draw_survey_galaxies,
    simulate_galaxy_flux,
    simulate_survey_flux,
)
from distspec.archives.simulated.nirspec import WAVE, add_noise_and_defects
from distspec.archives.simulated.populations import GalaxyParameters
from distspec.archives.simulated.survey import SyntheticConfig, plan_survey
from distspec.core.spectrum import Floats, Floats32, Spectrum, WavelengthGrid
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess, to_rest_frame_batch

UNIT = "uJy"
SAMPLE_SLOPE = -2.0


@dataclass(frozen=True)
class View:
    """One observation of each of N objects, on a grid and on the detector.

    Attributes
    ----------
    flux, ivar : (N, L) [f_λ / f_λ(reference)]
        As a store holds them.
    z : (N,)
        As catalogued.
    snr : (N,)
        Median S/N of the native pixels.
    wave : (N, 473) [Å, rest]
        Native pixels.
    native, native_ivar, truth : (N, 473) [f_λ / f_λ(reference)]
        Observed; its inverse variance, 0 = masked; and what there is without noise.
    """

    flux: Floats32
    ivar: Floats32
    z: Floats
    snr: Floats
    wave: Floats
    native: Floats
    native_ivar: Floats
    truth: Floats

    def __len__(self) -> int:
        return len(self.z)


@dataclass(frozen=True)
class Held:
    """Held-out sources: the same galaxies seen three times, and what they are.

    Attributes
    ----------
    first, again, elsewhere : View
        Once, with new noise, and at another redshift.
    truth_class : (N,) str
    galaxies : Galaxies
    """

    first: View
    again: View
    elsewhere: View
    truth_class: NDArray[np.str_]
    galaxies: GalaxyParameters


def archive(
    n: int, seed: int, grid: WavelengthGrid, norm: NormConfig
) -> tuple[Floats32, Floats32, Floats, list[str]]:
    """Return flux, ivar (N, L), z (N,) and sources of an archive as recipe `dja` selects it."""
    config = SyntheticConfig(n_spectra=n, seed=seed)
    table = _selected(plan_survey(config))
    rows: list[dict[str, Any]] = table.to_pylist()
    flux = simulate_survey_flux(config, rows)
    kinds = [row["anomaly_type"] if row["anomaly_type"].startswith("artefact") else "" for row in rows]
    rngs = [np.random.default_rng([seed, 4, row["index"]]) for row in rows]
    spectra = _observe(flux, table["z"].to_numpy(), table["exptime"].to_numpy(), kinds, rngs)
    batch, rejected = preprocess(spectra, grid, norm, SAMPLE_SLOPE)
    lost = {index for index, _ in rejected}
    sources = [str(row["source"]) for i, row in enumerate(rows) if i not in lost]
    return batch.flux, batch.ivar, batch.z, sources


def held_out(n: int, seed: int, grid: WavelengthGrid, norm: NormConfig) -> Held:
    """Return about `n` ordinary sources of an archive that no model is trained on."""
    config = SyntheticConfig(
        n_spectra=n, seed=seed, repeat_fraction=0.0, defect_fraction=0.0, anomaly_fraction=0.0
    )
    table = _selected(plan_survey(config))
    rows: list[dict[str, Any]] = table.to_pylist()
    galaxies = draw_survey_galaxies(config, rows)
    z, exptime = table["z_true"].to_numpy(), table["exptime"].to_numpy()
    rng = np.random.default_rng([seed, 99])
    other = _elsewhere(z, rng)
    views: list[tuple[list[Spectrum], Floats]] = []
    for at in (z, z, other):
        truth = simulate_galaxy_flux(galaxies, at)
        catalogued = at + 0.001 * (1.0 + at) * rng.standard_normal(len(at))
        views.append((_observe(truth, catalogued, exptime, [""] * len(at), [rng] * len(at)), truth))
    batches = [preprocess(spectra, grid, norm, SAMPLE_SLOPE) for spectra, _ in views]
    # Whoever is rejected in one view is left out of all.
    lost = {index for _, rejected in batches for index, _ in rejected}
    kept = np.array([i for i in range(len(rows)) if i not in lost])
    made = [_view([spectra[i] for i in kept], truth[kept], grid, norm) for spectra, truth in views]
    columns = {name: values[kept] for name, values in vars(galaxies).items()}
    classes = np.array(table["truth_class"].to_pylist())[kept]
    first, again, elsewhere = made
    return Held(first, again, elsewhere, classes, GalaxyParameters(**columns))


def _selected(table: pa.Table) -> pa.Table:
    field: Any = pc.field
    return table.filter((field("grade") == 3) & (field("z") > 4.0) & (field("z_true") > 0.0))


def _elsewhere(z: Floats, rng: np.random.Generator) -> Floats:
    """Return other galaxies' redshifts, each at least 0.5 from one's own."""
    other = rng.permutation(z)
    while (near := np.abs(other - z) < 0.5).any():
        other[near] = rng.choice(z, near.sum())
    return other


def _observe(
    flux: Floats, z: Floats, exptime: Floats, artefacts: list[str], rngs: list[np.random.Generator]
) -> list[Spectrum]:
    spectra: list[Spectrum] = []
    for i in range(len(flux)):
        seen = add_noise_and_defects(flux[i], float(exptime[i]), artefacts[i], rngs[i])
        ivar = np.where(np.isfinite(seen.err), seen.err, np.inf) ** -2.0
        spectra.append(Spectrum(str(i), WAVE, np.nan_to_num(seen.flux), ivar, UNIT, float(z[i])))
    return spectra


def _view(spectra: list[Spectrum], truth: Floats, grid: WavelengthGrid, norm: NormConfig) -> View:
    batch, _ = preprocess(spectra, grid, norm, SAMPLE_SLOPE)
    ones = np.ones(len(WAVE))
    clean = [Spectrum("", WAVE, t, ones, UNIT, s.z) for t, s in zip(truth, spectra, strict=True)]
    shape = (len(spectra), len(WAVE))
    rest = to_rest_frame_batch(spectra)
    wave, native, ivar = (a.reshape(shape) for a in (rest.wave, rest.flux, rest.ivar))
    scale = batch.norm[:, None]
    native_snr = np.where(ivar > 0, native * np.sqrt(ivar), np.nan)
    return View(
        batch.flux,
        batch.ivar,
        batch.z,
        np.nanmedian(native_snr, axis=1),
        wave,
        native / scale,
        ivar * scale**2,
        to_rest_frame_batch(clean).flux.reshape(shape) / scale,
    )
