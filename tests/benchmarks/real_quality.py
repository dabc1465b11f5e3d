"""Quality on real spectra: types of SpeX stars from latents, and hidden pixels of DJA galaxies.

    python -m tests.benchmarks.real_quality [--seeds N] [spex | dja]

Needs the real files (`DISTSPEC_TEST_DATA`). SpeX: recipe `spex` is trained on 85 % of the sources; the others
are classified by their ten nearest neighbors among these, in latents and in 16 principal components. DJA:
models of recipes `paper`, `learnspec` and `dja` are trained on the simulated archive; a fifth of the pixels
of each real spectrum is hidden from the input in runs of native pixels, and the error there beyond its noise
is measured; and χ² of the bright spectra, with and without the systematic error that the recipe adds.
"""

from __future__ import annotations

import argparse
import re
import statistics
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from distspec.models.batch import Batch
from distspec.models.vae import decode_flux, embed
from tests.benchmarks.archive import ingest_without_ray
from tests.benchmarks.models import get_config, load_training_data, train_recipe, train_vae
from tests.benchmarks.quality import BRIGHT_SNR
from tests.benchmarks.real_files import StarSample, read_current_spectra, real_config

HIDDEN_FRACTION = 0.2
HIDDEN_RUN_LENGTH = 0.03
"""Length of a hidden run of pixels in ln λ."""
HIDDEN_MIN_WAVE = 1300.0
"""Pixels below this rest wavelength are not hidden [Å]."""
N_NEIGHBORS, N_COMPONENTS = 10, 16
BOUNDARY_TYPES = (9, 10, 19, 20)
"""Types M9, L0, L9 and T0, where one class becomes the next."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archives", nargs="*", default=["spex", "dja"], metavar="spex | dja")
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    evaluations = {"spex": evaluate_stars, "dja": evaluate_galaxies}
    if unknown := set(args.archives) - set(evaluations):
        parser.error(f"no archive {', '.join(sorted(unknown))}: choose from {', '.join(evaluations)}")
    for name in args.archives:
        evaluations[name](args.seeds)


@dataclass(frozen=True)
class TypeScores:
    """Scores of types that are predicted from nearest neighbors.

    Attributes
    ----------
    accuracy : float
        Fraction of the spectra whose class is predicted correctly.
    subtype_error : float
        Mean absolute error of the subtype.
    boundary_fraction : float
        Fraction of the misclassified spectra that are of `BOUNDARY_TYPES`.
    """

    accuracy: float
    subtype_error: float
    boundary_fraction: float


def evaluate_stars(n_seeds: int) -> None:
    """Predict types of real stars from latents and from principal components."""
    with TemporaryDirectory(prefix="ds-") as root:
        sample = StarSample.ingest(root)
        subtypes = np.array([_parse_subtype(text) for text in sample.spectral_types])
        components = _principal_components(sample)
        print(
            f"SpeX, held out: {int(sample.is_held_out.sum())} of {len(sample.is_held_out)}; "
            f"{N_COMPONENTS} principal components: {_score_types(components, sample, subtypes)}"
        )
        scores: list[TypeScores] = []
        for seed in range(n_seeds):
            model = train_vae(sample.config.vae, sample.config.training, sample.training_data(), seed)
            latents = embed(model, sample.spectra)["z_mean"].numpy()
            scores.append(_score_types(latents, sample, subtypes))
            print("spex", seed, scores[-1], flush=True)
        _print_mean("spex, 10-NN accuracy", [each.accuracy for each in scores])
        _print_mean("spex, error in subtypes", [each.subtype_error for each in scores])
        title = "spex, fraction of the misclassified that are M9, L0, L9 or T0"
        _print_mean(title, [each.boundary_fraction for each in scores])


def _principal_components(sample: StarSample) -> Any:
    """Return principal components of the spectra, fitted without the held-out ones."""
    flux, ivar = sample.arrays()
    shown = np.arcsinh(np.where(ivar > 0, flux, np.nan))
    filled = np.where(np.isnan(shown), np.nanmean(shown, axis=0, keepdims=True), shown)
    pca = PCA(N_COMPONENTS, random_state=0).fit(filled[~sample.is_held_out])
    return pca.transform(filled)


def _parse_subtype(text: str) -> float:
    """Return a spectral type as a number: M0 is 0, L0 is 10, T0 is 20."""
    match = re.match(r"([MLT])(\d+\.?\d*)", text)
    return "MLT".index(match[1]) * 10.0 + float(match[2]) if match else np.nan


def _score_types(points: Any, sample: StarSample, subtypes: Any) -> TypeScores:
    """Predict classes and subtypes of the held-out stars from their nearest neighbors among the others."""
    held_out = sample.is_held_out
    search = NearestNeighbors(n_neighbors=N_NEIGHBORS).fit(points[~held_out])
    index = search.kneighbors(points[held_out], return_distance=False)
    neighbor_classes = sample.classes[~held_out][index]
    votes = [max(sorted(set(row)), key=list(row).count) for row in neighbor_classes]
    errors = np.abs(np.nanmedian(subtypes[~held_out][index], axis=1) - subtypes[held_out])
    is_correct = np.array(votes) == sample.classes[held_out]
    is_boundary = np.isin(np.floor(subtypes[held_out]), BOUNDARY_TYPES)
    return TypeScores(
        float(is_correct.mean()), float(np.nanmean(errors)), float(is_boundary[~is_correct].mean())
    )


def evaluate_galaxies(n_seeds: int) -> None:
    """Measure the error of the recipes' models on hidden pixels of real galaxies, and χ² of recipe `dja`."""
    for recipe in ("paper", "learnspec", "dja"):
        wave, spectra = load_training_data(recipe).grid.wave_rest, _read_galaxies(recipe)
        models = [train_recipe(recipe, seed) for seed in range(n_seeds)]
        excess = [_hidden_excess(model, spectra, wave) for model in models]
        _print_mean(f"DJA, excess error on hidden pixels, {recipe}", excess)
    for sys_err in (0.0, 0.02):
        spectra = _read_galaxies("dja", sys_err=sys_err)
        is_bright = _median_snr(spectra) > BRIGHT_SNR
        title = (
            f"DJA, χ² of {is_bright.sum()} spectra with S/N > {BRIGHT_SNR}, dja, systematic error {sys_err}"
        )
        chi2 = [embed(model, spectra)["recon_chi2_red"].numpy() for model in models]
        _print_mean(title, [float(np.median(values[is_bright])) for values in chi2])


def _read_galaxies(recipe: str, **archive_settings: Any) -> Batch:
    """Return the real galaxies on the grid that models of a recipe were trained on."""
    grid, norm = load_training_data(recipe).grid, get_config(recipe).norm
    with TemporaryDirectory(prefix="ds-") as root:
        config = real_config("dja", root)
        archive: Any = config.archive
        fixed = replace(
            config.grid, spacing=grid.spacing, start=grid.start, stop=grid.stop, n_pixels=grid.n_pixels
        )
        config = replace(config, archive=replace(archive, **archive_settings), grid=fixed, norm=norm)
        return read_current_spectra(ingest_without_ray(root, config.ingest_source()))


def _median_snr(spectra: Batch) -> NDArray[np.float32]:
    """Return the median signal-to-noise ratio of the valid pixels of each spectrum."""
    flux, ivar = (values.numpy() for values in spectra.spectrum)
    return np.nanmedian(np.where(ivar > 0, flux * np.sqrt(ivar), np.nan), axis=1)


def _hidden_excess(model: Any, spectra: Batch, wave: Any) -> float:
    """Return the median over spectra of the mean squared error in arcsinh beyond noise, on hidden pixels."""
    flux, ivar = (values.numpy() for values in spectra.spectrum)
    # Runs cover the same wavelengths on every grid.
    run = np.floor(np.log(wave) / HIDDEN_RUN_LENGTH).astype(int)
    is_run_hidden = np.random.default_rng(0).random((len(flux), run.max() + 1)) < HIDDEN_FRACTION
    hidden = is_run_hidden[:, run] & (wave > HIDDEN_MIN_WAVE)
    visible_ivar = torch.where(torch.from_numpy(hidden), 0.0, spectra.spectrum.ivar)
    columns = embed(model, Batch.from_spectra(spectra.spectrum.value, visible_ivar, spectra.z))
    decoded = decode_flux(model, columns["z_mean"], spectra.z)
    recon = (columns["amplitude"][:, None] * decoded).numpy()
    counted = hidden & (ivar > 0)
    # The slope of arcsinh propagates the error of the flux.
    noise = 1.0 / np.where(ivar > 0, ivar, np.inf) / (1.0 + np.square(flux))
    excess = np.square(np.arcsinh(flux) - np.arcsinh(recon)) - noise
    means = np.where(counted, excess, 0.0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return float(np.median(means[counted.any(axis=1)]))


def _print_mean(title: str, values: list[float]) -> None:
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    print(f"{title}: {statistics.mean(values):.4f} ± {spread:.4f} over {len(values)} seeds", flush=True)


if __name__ == "__main__":
    main()
