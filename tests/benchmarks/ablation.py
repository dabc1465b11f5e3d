"""Ablation of the model of recipe `dja`: the recipe, and the recipe without or with one ingredient.

    python -m tests.benchmarks.ablation [--seeds N] [--jobs N] [--sets SET …] [VARIANT …]

Every variant is trained on the same simulated archive of 4,000 files, with `--seeds` initial weights, and
evaluated on galaxies of other archives: "chosen" for the choice of settings, "reported" for published
numbers, "bagpipes" for galaxies of another origin. Prints a Markdown table for each, mean ± standard
deviation over seeds. Takes about three minutes per variant and seed on one core; `learnspec` takes half an
hour.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from distspec.core.spectrum import WavelengthGrid
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from distspec.models.config import VAEConfig
from distspec.models.neighbors import Posteriors
from distspec.models.vae import SpectrumVAE, decode_flux
from distspec.models.weighted_pca import Embedding, WeightedPCA
from distspec.pipeline.recipes import RECIPES
from distspec.training.config import TrainingConfig
from tests.benchmarks import quality
from tests.benchmarks.models import (
    FINE_GRID,
    HELD_OUT_ARCHIVES,
    TrainingData,
    embed_spectra,
    get_config,
    load_held_out_sample,
    load_training_data,
    make_untrained_vae,
    train_vae,
)
from tests.benchmarks.survey import HeldOutSample, View

DJA = get_config("dja").vae
WITHOUT: Mapping[str, dict[str, Any]] = {
    "likelihood with ivar (squared error)": {"likelihood": "mse", "profile_amplitude": False},
    "initialization with probabilistic PCA": {"ppca_init": False},
    "imputation": {"impute_with_ppca": False},
    "PCA and imputation": {"ppca_init": False, "impute_with_ppca": False},
    "conditioning on redshift": {"condition_on_z": False},
    "profiled amplitude": {"profile_amplitude": False},
    "convolution with the LSF": {"convolve_lsf": False},
    "augmentation to another redshift": {"redshift_augmentation": False},
    "data thinning": {"data_thinning": False},
    "consistency of latent variables": {"consistency_weight": 0.0},
    "dropout": {"dropout": (0.0,) * 4},
    "widening of posteriors": {"calibrate_posteriors": False},
}
WITH: Mapping[str, dict[str, Any]] = {
    "dropout in the decoder": {"decoder_dropout": True},
    "β = 3": {"kl_weight": 3.0},
    "the paper's L2": {"l2": 1e-3},
    "24 latent variables": {"n_latents": 24},
}
ON_FINE_GRID: Mapping[str, dict[str, Any]] = {
    "+ fine grid": {},
    # The network learns a spectrum that is sharper than the observed ones, as in spender (arXiv:2211.07890).
    "+ fine grid − PCA and imputation": {"ppca_init": False, "impute_with_ppca": False},
}
WEIGHTED_PCA, PROBABILISTIC_PCA = "weighted PCA", "probabilistic PCA (no step of training)"
VARIANTS: Mapping[str, VAEConfig] = {
    WEIGHTED_PCA: DJA,
    PROBABILISTIC_PCA: DJA,
    "paper": get_config("paper").vae,
    "learnspec": get_config("learnspec").vae,
    "dja": DJA,
    **{f"− {name}": replace(DJA, **changes) for name, changes in WITHOUT.items()},
    **{f"+ {name}": replace(DJA, **changes) for name, changes in WITH.items()},
    **{name: replace(DJA, **changes) for name, changes in ON_FINE_GRID.items()},
}


def embed_with_vae(model: SpectrumVAE, view: View) -> Embedding:
    """Embed spectra with a VAE."""
    columns = embed_spectra(model, view.flux, view.ivar, view.z)
    mean, z = torch.from_numpy(columns["z_mean"]), torch.from_numpy(view.z.astype(np.float32))
    recon = decode_flux(model, mean, z).numpy() * columns["amplitude"][:, None]
    variance = np.exp(columns["z_log_var"].astype(np.float64))
    return Embedding(columns["z_mean"].astype(np.float64), variance, recon)


def evaluate(
    embed: Callable[[View], Embedding], sample: HeldOutSample, grid: WavelengthGrid
) -> dict[str, float]:
    """Return all measures of `tests.benchmarks.quality` of a model, by the name of their column."""
    first, classes = sample.first, sample.truth_class
    views = [embed(view) for view in (first, sample.new_noise, sample.other_z)]
    z_mean, var = [view.mean for view in views], [view.variance for view in views]
    native = quality.rebin_to_native(views[0].recon, grid, first.native_wave)
    chi2 = quality.reduced_chi2(native, first.native_flux, first.native_ivar)
    is_bright = first.snr > quality.BRIGHT_SNR
    both_bright = is_bright & (sample.other_z.snr > quality.BRIGHT_SNR)
    new_noise, other_z = (quality.finds_itself(z_mean[0], other) for other in z_mean[1:])
    posteriors = [Posteriors(view.mean, view.variance) for view in views]
    by_bayes_factor = [quality.finds_itself_by_bayes_factor(posteriors[0], other) for other in posteriors[1:]]
    return {
        "error": float(np.median(quality.arcsinh_mse(native, first.true_flux, first.native_ivar))),
        "recon_mse": float(np.median(quality.arcsinh_mse(native, first.native_flux, first.native_ivar))),
        "χ²": float(np.median(chi2)),
        "χ², S/N > 8": float(np.median(chi2[is_bright])),
        **_evaluate_nuisances(z_mean[0], first, classes),
        "same galaxy, new noise": float(new_noise.mean()),
        "same galaxy, other z": float(other_z.mean()),
        "other z ÷ new noise": float(other_z.mean() / new_noise.mean()),
        "same galaxy, other z, S/N > 8": float(other_z[both_bright].mean()),
        "same galaxy, new noise, S/N > 8": float(new_noise[is_bright].mean()),
        "by Bayes factor: new noise": float(by_bayes_factor[0].mean()),
        "by Bayes factor: other z": float(by_bayes_factor[1].mean()),
        "by Bayes factor: other z ÷ new noise": float(by_bayes_factor[1].mean() / by_bayes_factor[0].mean()),
        "by Bayes factor: new noise, S/N > 8": float(by_bayes_factor[0][both_bright].mean()),
        "by Bayes factor: other z, S/N > 8": float(by_bayes_factor[1][both_bright].mean()),
        **_evaluate_probes(z_mean[0], first, classes, grid),
        "participation ratio": quality.participation_ratio(z_mean[0]),
        "(Δμ)²/Σσ²": quality.posterior_ratio((z_mean[0], z_mean[1]), (var[0], var[1])),
    }


def _evaluate_nuisances(z_mean: Any, view: View, classes: Any) -> dict[str, float]:
    """Return how well coverage, signal-to-noise ratio and redshift can be predicted from the latents."""
    nuisances = {
        "coverage": (view.ivar == 0).mean(axis=1),
        "log S/N": np.log(np.maximum(view.snr, 0.05)),
        "z": view.z,
    }
    scores: dict[str, float] = {}
    for name, values in nuisances.items():
        linear, neighbors = quality.nuisance_r2(z_mean, values, classes)
        scores |= {f"{name} R²: linear": linear, f"{name} R²: 10-NN": neighbors}
    return scores


def _evaluate_probes(z_mean: Any, view: View, classes: Any, grid: WavelengthGrid) -> dict[str, float]:
    """Return the scores of linear classifiers, on latents alone and with the equivalent width of Lyα."""
    measured = NIRSPEC_PRISM_MEASUREMENTS.measure(view.flux, view.ivar, view.z, grid)
    latents = quality.linear_probe(z_mean, classes)
    with_lya = quality.linear_probe(np.column_stack([z_mean, _lya_columns(measured)]), classes)
    return {
        "accuracy": latents["accuracy"],
        "accuracy with Lyα": with_lya["accuracy"],
        "LAE recall": latents["recall"],
        "LAE precision": latents["precision"],
        "LAE recall with Lyα": with_lya["recall"],
        "LAE precision with Lyα": with_lya["precision"],
    }


def _lya_columns(measured: Mapping[str, Any]) -> Any:
    """Return the equivalent width of Lyα and its significance, bounded, (n_spectra, 2); 0 if not covered."""
    width, error = measured["lya_ew"], measured["lya_ew_err"]
    columns = np.column_stack([np.arcsinh(width / 10.0), np.clip(width / error, -10.0, 10.0)])
    return np.nan_to_num(columns)


def run(variant: str, seed: int, archives: Sequence[str]) -> dict[str, dict[str, float]]:
    """Train one variant with one seed, and return its measures on each archive."""
    recipe = FINE_GRID if variant in ON_FINE_GRID else variant if variant in RECIPES else "dja"
    data = load_training_data(recipe)
    embed = _fit_variant(variant, get_config(recipe).training, data, seed)
    return {name: evaluate(embed, load_held_out_sample(recipe, name), data.grid) for name in archives}


def _fit_variant(
    variant: str, training: TrainingConfig, data: TrainingData, seed: int
) -> Callable[[View], Embedding]:
    """Return a function that embeds spectra with a variant."""
    if variant == WEIGHTED_PCA:
        pca = WeightedPCA.fit(*(values.numpy() for values in data.train.spectrum), seed)
        return lambda view: pca.embed(view.flux, view.ivar)
    if variant == PROBABILISTIC_PCA:
        return partial(embed_with_vae, make_untrained_vae(DJA, data, seed))
    return partial(embed_with_vae, train_vae(VARIANTS[variant], training, data, seed))


def main() -> None:
    """Run variants and print tables; each result is also printed to standard error when it is complete."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"{', '.join(VARIANTS)}; default: all")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1, help="number of processes, with one thread each")
    parser.add_argument("--sets", nargs="+", choices=HELD_OUT_ARCHIVES, default=["reported"], dest="archives")
    args = parser.parse_args()
    if unknown := set(args.variants) - set(VARIANTS):
        parser.error(f"no variant {', '.join(sorted(unknown))}: choose from {', '.join(VARIANTS)}")
    variants = args.variants or list(VARIANTS)
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            (variant, seed): pool.submit(run, variant, seed, args.archives)
            for variant in variants
            for seed in range(args.seeds)
        }
        results: dict[str, list[dict[str, dict[str, float]]]] = {variant: [] for variant in variants}
        for (variant, seed), future in futures.items():
            results[variant].append(future.result())
            print(variant, seed, future.result(), file=sys.stderr, flush=True)
    for archive in args.archives:
        names = list(results[variants[0]][0][archive])
        print(f"\n| {archive} | " + " | ".join(names) + " |\n|---" + "|---:" * len(names) + "|")
        for variant in variants:
            cells = [_format_cell([scores[archive][name] for scores in results[variant]]) for name in names]
            print(f"| {variant} | " + " | ".join(cells) + " |")


def _format_cell(values: list[float]) -> str:
    mean = statistics.mean(values)
    digits = 4 if mean < 0.01 else 3 if mean < 1 else 2
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


if __name__ == "__main__":
    main()
