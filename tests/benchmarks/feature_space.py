"""Classes in physical features (`distspec.measurements.features`), compared with classes in latents.

    python -m tests.benchmarks.feature_space [--seeds N] [--cache FOLDER] [dja | spex]

dja: models of recipe `dja` embed held-out simulated galaxies; Gaussian mixtures with full covariance, the
likeliest of ten initializations, are compared with the true classes and with those of the other models. The
ceiling is the same for the features of these galaxies without noise. spex: the same for spectral indices of
real stars, without a model, and their classes M, L and T.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

from distspec.measurements.features import compute_features, measure_reconstructions
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS as PRISM_MEASUREMENTS
from distspec.measurements.standard_sets import SPEX_MEASUREMENTS
from distspec.models.vae import SpectrumVAE
from tests.benchmarks.classes import make_ceiling_inputs
from tests.benchmarks.models import (
    decode_at,
    embed_spectra,
    get_grid,
    load_held_out_sample,
    load_or_make,
    train_recipe,
)
from tests.benchmarks.real_files import StarSample
from tests.benchmarks.survey import View

N_INIT = 10
GALAXY_KS, STAR_KS = (6, 8), (3, 4, 6)
"""Numbers of components of mixtures of galaxies and of stars."""
N_STAR_SEEDS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="*", default=["dja", "spex"], metavar="dja | spex")
    parser.add_argument("--seeds", type=int, default=4, help="number of models of recipe dja")
    parser.add_argument("--cache", type=Path, help="folder in which models are kept")
    args = parser.parse_args()
    if unknown := set(args.data) - {"dja", "spex"}:
        parser.error(f"no data {', '.join(sorted(unknown))}: choose from dja, spex")
    torch.set_num_threads(1)
    if "dja" in args.data:
        evaluate_galaxies(args.seeds, args.cache)
    if "spex" in args.data:
        evaluate_stars()


def evaluate_galaxies(n_seeds: int, cache: Path | None) -> None:
    """Compare mixtures in latents and in features, of held-out galaxies."""
    sample = load_held_out_sample("dja", "reported")
    labels: dict[tuple[str, int], list[Any]] = {}
    for seed in range(n_seeds):
        model = load_or_make(cache, f"model-dja-{seed}", lambda seed=seed: train_recipe("dja", seed))
        for (space, points), k in itertools.product(make_spaces(model, sample.first).items(), GALAXY_KS):
            labels.setdefault((space, k), []).append(_fit_mixture(points, k))
    print(
        f"{len(sample.first)} held-out spectra, {n_seeds} models, full covariance, best of {N_INIT} "
        "initializations"
    )
    for (space, k), by_model in labels.items():
        between = [adjusted_rand_score(a, b) for a, b in itertools.combinations(by_model, 2)]
        _print_scores(f"{space}, k = {k}", by_model, sample.truth_class, between)
    noise_free = make_ceiling_inputs(sample.noise_free, get_grid("dja")).features
    for k in GALAXY_KS:
        _print_scores(f"ceiling, k = {k}", [_fit_mixture(noise_free, k)], sample.truth_class, [])


def make_spaces(model: SpectrumVAE, view: View) -> dict[str, Any]:
    """Return points in latents and in features, with and without the equivalent width of Lyα."""
    grid = get_grid("dja")
    measured = PRISM_MEASUREMENTS.measure(view.flux, view.ivar, view.z, grid)
    columns = embed_spectra(model, view.flux, view.ivar, view.z)
    reconstructed = measure_reconstructions(
        PRISM_MEASUREMENTS, partial(decode_at, model), grid, columns["z_mean"], columns["z_log_var"]
    )
    features = compute_features(PRISM_MEASUREMENTS, reconstructed | measured)
    lya = PRISM_MEASUREMENTS.scale_by_error(("lya_ew",), measured)
    return {
        "latents": columns["z_mean"],
        "latents, Lyα": np.hstack([columns["z_mean"], lya]),
        "features": features[:, :-1],  # the last feature is the equivalent width of Lyα
        "features, Lyα": features,
    }


def evaluate_stars() -> None:
    """Compare mixtures of the spectral indices of real stars with their classes."""
    with TemporaryDirectory(prefix="ds-") as root:
        sample = StarSample.ingest(root)
        flux, ivar = sample.arrays()
        measured = SPEX_MEASUREMENTS.measure(flux, ivar, np.zeros(len(flux)), sample.store.config.grid)
    definitions = SPEX_MEASUREMENTS.definitions
    indices = np.array([measured[each.name] for each in definitions]).T
    covered: Any = np.isfinite(indices).all(axis=1)
    print(f"SpeX: {len(covered)} stars, of which {covered.sum()} cover all indices")
    scaled = np.array(
        [np.arcsinh((measured[each.name][covered] - each.center) / each.scale) for each in definitions]
    ).T
    for k in STAR_KS:
        labels = [_fit_mixture(scaled, k, seed) for seed in range(N_STAR_SEEDS)]
        _print_scores(f"indices, k = {k}", labels, sample.classes[covered], [])


def _fit_mixture(points: Any, k: int, seed: int = 0) -> Any:
    points = points.astype(np.float64)
    return GaussianMixture(k, n_init=N_INIT, random_state=seed, reg_covar=1e-4).fit_predict(points)


def _print_scores(title: str, labels: list[Any], truth: Any, between_models: list[float]) -> None:
    scores = {
        "ARI": [adjusted_rand_score(truth, each) for each in labels],
        "NMI": [normalized_mutual_info_score(truth, each) for each in labels],
        "ARI between models": between_models,
    }
    parts: list[str] = []
    for name, values in scores.items():
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            parts.append(f"{name} {statistics.mean(values):.3f} ± {spread:.3f}")
    print(f"{title}: {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
