"""Recall and precision of anomalies, and recall of bad pixels, on simulated spectra of no training sample.

    python -m tests.benchmarks.anomalies [--seeds N] [--set chosen|reported] [--cache FOLDER]

The models of recipes `dja` and `paper` are those of `tests.benchmarks.models`, one for each seed. They embed
another archive of 24,000 files, of which 1 % are of anomalous sources and 2 % have instrumental defects. The
combination of the partial scores was chosen on archive "chosen"; published numbers are of "reported". Rows
"with the density in latent space" and "chi-squared within galaxy types" are scores that were not adopted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from distspec.anomaly.latent_density import fit_latent_density
from distspec.anomaly.residuals import compute_residual_statistics, estimate_model_error
from distspec.anomaly.score import PARTIAL_SCORES, compute_anomaly_scores
from distspec.archives.simulated.archive import simulate_survey_flux
from distspec.archives.simulated.survey import ANOMALY_TYPES, SimulationConfig, plan_survey
from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.clustering.gaussian_mixture import MixtureInit, fit_mixtures
from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.bad_pixels import BadPixelStatistics, find_bad_pixels
from distspec.measurements.galaxy_type_rules import GALAXY_TYPE_RULES
from distspec.measurements.galaxy_types import suggest_galaxy_types
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from distspec.models.vae import SpectrumVAE, decode_flux, embed
from distspec.preprocessing.rest_frame import preprocess
from tests.benchmarks.models import get_config, get_grid, load_or_make, make_batch, train_recipe
from tests.benchmarks.survey import DEFAULT_SLOPE, get_defects, observe_files, select_files

N_FILES = 24_000
ARCHIVE_SEEDS = {"chosen": 303, "reported": 404}
TOP_FRACTION = 0.03
"""Fraction of the spectra, highest anomaly scores first, in which recall is computed."""
N_MODEL_ERROR_SPECTRA = 4000
"""Number of spectra from which the usual error of the model is estimated."""
N_COMPONENTS = 8
"""Number of components of the mixture of latents whose components stand for classes."""
ORDINARY_PERCENTILE = 95.0
"""Percentile of the bad-pixel scores of ordinary spectra that other spectra are compared with."""
LATENT_WEIGHT = 0.3
"""Weight of the density in latent space in the score that contains it."""
ARTEFACT = "artefact"
"""Suggested type that is none of galaxies."""
_BLOCK_ROWS = 2048


@dataclass(frozen=True)
class SimulatedSpectra:
    """Spectra as the store of a recipe holds them, and what they are.

    Attributes
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Normalized flux and its inverse variance.
    z, snr : ndarray of shape (n_spectra,)
        Redshifts and signal-to-noise ratios.
    anomaly_type : ndarray of str, shape (n_spectra,)
        Type of anomaly or of instrumental defect; "" for ordinary spectra.
    truth_class : ndarray of str, shape (n_spectra,)
        True class, or type of anomaly.
    """

    flux: Floats32
    ivar: Floats32
    z: Floats
    snr: Floats32
    anomaly_type: NDArray[np.str_]
    truth_class: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.z)

    @property
    def is_anomaly(self) -> NDArray[np.bool_]:
        """Whether the source belongs to no class, (n_spectra,)."""
        return np.isin(self.anomaly_type, ANOMALY_TYPES)

    @property
    def has_defect(self) -> NDArray[np.bool_]:
        """Whether the spectrum has an instrumental defect, (n_spectra,)."""
        return np.char.startswith(self.anomaly_type, "artefact")


def simulate_spectra(recipe: str, seed: int, n: int = N_FILES) -> SimulatedSpectra:
    """Simulate an archive as a recipe stores it, with brown dwarfs that are taken for galaxies."""
    config, grid, norm = SimulationConfig(n_spectra=n, seed=seed), get_grid(recipe), get_config(recipe).norm
    table = select_files(plan_survey(config), include_brown_dwarfs=True)
    parts: list[SimulatedSpectra] = []
    for first in range(0, len(table), _BLOCK_ROWS):
        block = table.slice(first, _BLOCK_ROWS)
        rows: list[dict[str, Any]] = block.to_pylist()
        types, classes = (np.array([row[name] for row in rows]) for name in ("anomaly_type", "truth_class"))
        spectra = observe_files(simulate_survey_flux(config, rows), block, get_defects(rows), seed)
        batch, rejected = preprocess(spectra, grid, norm, DEFAULT_SLOPE)
        kept = np.setdiff1d(np.arange(len(rows)), [index for index, _ in rejected])
        parts.append(SimulatedSpectra(batch.flux, batch.ivar, batch.z, batch.snr, types[kept], classes[kept]))
    names = SimulatedSpectra.__dataclass_fields__
    return SimulatedSpectra(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def find_defects(spectra: SimulatedSpectra, recipe: str) -> BadPixelStatistics:
    """Return the bad pixels of spectra."""
    return find_bad_pixels(spectra.flux, spectra.ivar, spectra.z, get_grid(recipe), NIRSPEC_PRISM)


def embed_and_reconstruct(
    model: SpectrumVAE, spectra: SimulatedSpectra, ivar: Floats32
) -> tuple[dict[str, Any], Floats32]:
    """Return the columns of `distspec.models.vae.embed`, and the reconstructions."""
    parts: list[dict[str, Any]] = []
    for first in range(0, len(spectra), _BLOCK_ROWS):
        rows = slice(first, first + _BLOCK_ROWS)
        with torch.inference_mode():
            batch = make_batch(spectra.flux[rows], ivar[rows], spectra.z[rows])
            columns = embed(model, batch)
            columns["flux"] = columns["amplitude"][:, None] * decode_flux(model, columns["z_mean"], batch.z)
        parts.append({name: values.numpy() for name, values in columns.items()})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return joined, joined.pop("flux")


def score_spectra(
    model: SpectrumVAE,
    spectra: SimulatedSpectra,
    bad_pixels: BadPixelStatistics,
    recipe: str,
    seed: int,
    mask_bad_pixels: bool = True,
) -> dict[str, Any]:
    """Return latents and anomaly scores of spectra; classes are the components of a mixture of latents."""
    ivar = spectra.ivar
    if mask_bad_pixels:
        ivar = np.where(bad_pixels.bad_pixels, np.float32(0.0), spectra.ivar)
    columns, recon = embed_and_reconstruct(model, spectra, ivar)
    scatter = bad_pixels.scatter_ratio
    rows = np.random.default_rng(seed).choice(len(spectra), N_MODEL_ERROR_SPECTRA, replace=False)
    model_error = estimate_model_error(spectra.flux[rows], ivar[rows], recon[rows], scatter[rows])
    raw = compute_residual_statistics(
        spectra.flux, ivar, recon, scatter, model_error, spectra.z, get_grid(recipe), NIRSPEC_PRISM
    )
    latents = scale_by_posterior_width(columns["z_mean"], columns["z_log_var"])
    raw["log_prob"] = fit_latent_density(latents, seed).log_prob(latents)
    x = latents.astype(np.float64)
    mixture = fit_mixtures(x, [MixtureInit(N_COMPONENTS, "tied", seed)])[0]
    labels = mixture.predict_proba(x).argmax(axis=1).astype(np.int32)
    scores = compute_anomaly_scores(raw, spectra.snr, labels, bad_pixels.score)
    types = suggest_type_indices(spectra, recipe)
    within_types = compute_anomaly_scores(raw, spectra.snr, types, bad_pixels.score)
    log_prob_rank = rankdata(scores["log_prob"]) / len(spectra)
    return (
        columns
        | scores
        | {
            "score_within_types": within_types["anomaly_score"],
            "score_with_density": scores["anomaly_score"] - LATENT_WEIGHT * np.log10(log_prob_rank),
        }
    )


def suggest_type_indices(spectra: SimulatedSpectra, recipe: str) -> NDArray[np.int32]:
    """Return the index of the galaxy type of each spectrum, -1 for unknown ones and artefacts."""
    measured = NIRSPEC_PRISM_MEASUREMENTS.measure(spectra.flux, spectra.ivar, spectra.z, get_grid(recipe))
    types = suggest_galaxy_types(GALAXY_TYPE_RULES, measured, len(spectra)).galaxy_type
    indices = {
        rule.galaxy_type: i for i, rule in enumerate(GALAXY_TYPE_RULES) if rule.galaxy_type != ARTEFACT
    }
    return np.array([indices.get(name, -1) for name in types], np.int32)


def evaluate_ranking(rank: Any, spectra: SimulatedSpectra) -> dict[str, float]:
    """Return recall and precision of anomalies among the first spectra, and what else is among these."""
    order = np.argsort(rank, kind="stable")
    first = order[: round(TOP_FRACTION * len(rank))]
    is_first = np.isin(np.arange(len(rank)), first)
    is_anomaly = spectra.is_anomaly
    recall = {
        "all": is_first[is_anomaly].mean(),
        "S/N > 4": is_first[is_anomaly & (spectra.snr > 4.0)].mean(),
    }
    for name in ANOMALY_TYPES:
        recall[name.replace("_", " ")] = is_first[spectra.anomaly_type == name].mean()
    recall["precision"] = is_anomaly[first].mean()
    recall["… in the first 1 %"] = is_anomaly[order[: round(0.01 * len(rank))]].mean()
    recall["bad-pixel spectra in the list"] = spectra.has_defect[first].mean()
    for name in ("lrd", "lae"):
        # A small archive may have none.
        is_member = (spectra.truth_class == name) & ~spectra.has_defect
        recall[f"{name.upper()}s in the list ÷ in all"] = is_member[first].mean() / max(
            is_member.mean(), 1e-9
        )
    return {name: float(value) for name, value in recall.items()}


def compute_defect_recall(bad_pixels: BadPixelStatistics, spectra: SimulatedSpectra) -> dict[str, float]:
    """Return the fraction of each type of defect, and of anomalies, above 95 % of the ordinary spectra."""
    is_ordinary, score = spectra.anomaly_type == "", bad_pixels.score
    limit = np.percentile(score[is_ordinary], ORDINARY_PERCENTILE)
    types = np.unique(spectra.anomaly_type[spectra.has_defect]).tolist()
    recall = {name: float((score[spectra.anomaly_type == name] > limit).mean()) for name in types}
    return recall | {
        "anomalies": float((score[spectra.is_anomaly] > limit).mean()),
        "ordinary with score ≥ 1": float((score[is_ordinary] >= 1.0).mean()),
        "bad pixels per ordinary spectrum": float(bad_pixels.bad_pixels[is_ordinary].sum(axis=1).mean()),
    }


def format_table(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return a Markdown table, mean ± standard deviation over seeds."""
    names = list(next(iter(rows.values()))[0])
    lines = ["| | " + " | ".join(names) + " |", "|---" + "|---:" * len(names) + "|"]
    for title, scores in rows.items():
        values = [[by_name[name] for by_name in scores] for name in names]
        cells = [f"{mean(v):.2f} ± {stdev(v):.2f}" if len(v) > 1 else f"{mean(v):.3f}" for v in values]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rank_spectra(scores: Mapping[str, Any], recipe: str, mask_bad_pixels: bool) -> dict[str, Any]:
    """Return the rankings to compare by the titles of their rows; low values come first."""
    if recipe == "dja" and mask_bad_pixels:
        partial = {f"dja, {name} alone": -scores[name] for name in PARTIAL_SCORES}
        return {
            "dja": scores["anomaly_rank"],
            **partial,
            "dja, log_prob alone": scores["log_prob"],
            "dja, with the density in latent space": -scores["score_with_density"],
            "dja, chi-squared within galaxy types": -scores["score_within_types"],
        }
    if recipe == "dja":
        return {"dja, bad pixels not masked": scores["anomaly_rank"]}
    if mask_bad_pixels:
        return {"paper, the same partial scores": scores["anomaly_rank"]}
    # The loss of the published model.
    return {
        "paper, bad pixels not masked": scores["anomaly_rank"],
        "paper, its reconstruction error alone": -scores["recon_mse"],
    }


def main() -> None:
    """Train or load models, score the archive and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", choices=ARCHIVE_SEEDS, default="reported", dest="archive")
    parser.add_argument("--cache", type=Path, help="folder in which models and archives are kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[dict[str, float]]] = {}
    for recipe in ("dja", "paper"):
        archive_seed = ARCHIVE_SEEDS[args.archive]
        spectra: SimulatedSpectra = load_or_make(
            args.cache,
            f"{recipe}-{args.archive}",
            lambda recipe=recipe, seed=archive_seed: simulate_spectra(recipe, seed),
        )
        bad_pixels = find_defects(spectra, recipe)
        types, counts = np.unique(spectra.anomaly_type, return_counts=True)
        numbers = dict(zip(types.tolist(), counts.tolist(), strict=True))
        defects = format_table({recipe: [compute_defect_recall(bad_pixels, spectra)]})
        print(f"{recipe}: {len(spectra)} spectra, {numbers}\n\n{defects}\n", flush=True)
        for seed in range(args.seeds):
            model = load_or_make(
                args.cache,
                f"model-{recipe}-{seed}",
                lambda recipe=recipe, seed=seed: train_recipe(recipe, seed),
            )
            for mask in (True, False):
                scores = score_spectra(model, spectra, bad_pixels, recipe, seed, mask)
                for title, rank in rank_spectra(scores, recipe, mask).items():
                    rows.setdefault(title, []).append(evaluate_ranking(rank, spectra))
                    print(title, seed, rows[title][-1], file=sys.stderr, flush=True)
    print(format_table(rows))


if __name__ == "__main__":
    main()
