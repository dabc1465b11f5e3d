"""Agreement of classes with the truth and between runs, of recipes `dja` and `paper`, on held-out galaxies.

    python -m tests.benchmarks.classes [--seeds N] [--jobs N] [--nulls N] [--models N] [--spaces SPACE …]
        [dja | paper | ceiling]

For each seed models are trained anew (`--models`), with other initial weights and another order of the
spectra; they embed the same held-out simulated galaxies, which are clustered with seeds of their own. For the
macro F1 score each class is named after most of its members. `--nulls` sets the number of draws of each null
model. `ceiling` trains no model: the features of the same galaxies without noise, all at one redshift, are
clustered in the same way, which shows how far the true classes overlap in the features themselves.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from multiprocessing import get_context
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score, f1_score, normalized_mutual_info_score

from distspec.clustering.config import ClusteringConfig, FeatureSpace
from distspec.clustering.consensus import Consensus, drop_unstable_classes, find_consensus
from distspec.clustering.feature_space import ClusteringInputs, join_measurements, scale_by_posterior_width
from distspec.clustering.labeler import Assignment
from distspec.clustering.plan import build_algorithm_grid, plan_jobs
from distspec.clustering.selection import select_setting
from distspec.clustering.sweep_scores import score_sweep
from distspec.clustering.trials import TrialResult, limit_rows, run_trials
from distspec.clustering.umap import UmapEmbedding, UmapParams, build_neighbor_graph
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid
from distspec.measurements.features import RECONSTRUCTION_IVAR, compute_features, measure_reconstructions
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS as PRISM_MEASUREMENTS
from distspec.models.vae import SpectrumVAE
from distspec.pipeline.recipes import dja
from tests.benchmarks.models import decode_at, embed_spectra, get_config, get_grid, train_recipe
from tests.benchmarks.survey import View, simulate_held_out_sample

N_FILES, ARCHIVE_SEED = 3000, 202
ACTOR_MEMORY = 4e9
"""Memory for the points of an algorithm [bytes]."""
RECIPES = ("dja", "paper", "ceiling")


@dataclass(frozen=True)
class ClassificationRun:
    """Result of one run.

    Attributes
    ----------
    labels : ndarray of shape (n_spectra,)
        Classes.
    stability : ndarray of shape (n_spectra,)
        Membership stability.
    truth : ndarray of str, shape (n_spectra,)
        True classes.
    setting, reason : str
        The selected setting, and why it was selected.
    beats_null : bool or None
        Whether it beats the null test.
    min_core_stability : float
        Membership stability from which on a spectrum is in the core of its class.
    setting_stability : float
        Stability that the run reports.
    """

    labels: Any
    stability: Any
    truth: Any
    setting: str
    reason: str
    beats_null: bool | None
    min_core_stability: float
    setting_stability: float

    @property
    def is_core(self) -> Any:
        """Whether each spectrum is in the core of its class, (n_spectra,)."""
        return self.stability >= self.min_core_stability


def make_inputs(
    model: SpectrumVAE, view: View, grid: WavelengthGrid, config: ClusteringConfig
) -> ClusteringInputs:
    """Return spectra as points, as the cluster stage computes them."""
    columns = embed_spectra(model, view.flux, view.ivar, view.z)
    z_mean, z_log_var = columns["z_mean"], columns["z_log_var"]
    if config.selection_rule == "silhouette":
        return ClusteringInputs(z_mean, np.zeros((len(z_mean), 0), np.float32))
    measured = measure_reconstructions(
        PRISM_MEASUREMENTS, partial(decode_at, model), grid, z_mean, z_log_var, n_draws=0
    )
    values = {**measured, **PRISM_MEASUREMENTS.measure(view.flux, view.ivar, view.z, grid)}
    return ClusteringInputs(
        join_measurements(
            scale_by_posterior_width(z_mean, z_log_var),
            PRISM_MEASUREMENTS.scale_by_error(config.measurements, values),
        ),
        compute_features(PRISM_MEASUREMENTS, values).astype(np.float32),
    )


def make_ceiling_inputs(flux: Floats32, grid: WavelengthGrid) -> ClusteringInputs:
    """Return the features of noise-free galaxies as points, as if a model had reconstructed them exactly.

    `flux` is that of `tests.benchmarks.survey.simulate_noise_free`.
    """
    z = np.full(len(flux), PRISM_MEASUREMENTS.reference_redshift)
    measured = measure_reconstructions(
        PRISM_MEASUREMENTS, lambda rows, _: rows, grid, flux, np.zeros_like(flux), n_draws=0
    )
    values = {
        **measured,
        **PRISM_MEASUREMENTS.measure(flux, np.full_like(flux, RECONSTRUCTION_IVAR), z, grid),
    }
    features = compute_features(PRISM_MEASUREMENTS, values).astype(np.float32)
    return ClusteringInputs(features, features)


def run_sweep(
    inputs: ClusteringInputs,
    config: ClusteringConfig,
    seed: int,
    other_inputs: Sequence[ClusteringInputs] = (),
) -> list[TrialResult]:
    """Run all jobs of a sweep in this process, on the points of one model or of several."""
    max_rows, _ = limit_rows(config, len(inputs), ACTOR_MEMORY)
    specs, _ = build_algorithm_grid(config, len(inputs))
    model_inputs = [inputs, *other_inputs]
    umaps: dict[tuple[int, FeatureSpace], Floats] = {}
    results: list[TrialResult] = []
    for job in plan_jobs(config, specs, seed):
        model = 0 if job.dataset.is_null else job.dataset.number
        own, key = model_inputs[model], (model, job.space)
        points = own.draw_null_data(job.dataset, seed).get_points(job.space).astype(np.float64)
        if job.space.umap_dims and job.dataset.is_null:
            points = _compute_umap(points, job.space, config)
        elif job.space.umap_dims:
            if key not in umaps:
                umaps[key] = _compute_umap(points, job.space, config)
            points = umaps[key]
        latents = own.latents.astype(np.float64)
        torch.set_num_threads(1)  # the compiled code of UMAP sets another number for OpenMP
        results += run_trials(points, latents, job.trials, config, max_rows)
    return results


def _compute_umap(points: Floats, space: FeatureSpace, config: ClusteringConfig) -> Floats:
    graph = build_neighbor_graph(points, space.umap_n_neighbors, (space.umap_dims,))
    params = UmapParams(space.umap_seed, config.umap_min_dist, space.umap_dims)
    return UmapEmbedding.from_graph(graph, params).coordinates


def run_recipe(
    recipe: str, seed: int, n_null_draws: int, n_models: int, spaces: Sequence[str]
) -> ClassificationRun:
    """Train the models of a recipe, and cluster the held-out galaxies.

    Null draws, models and spaces are for `dja`; runs share no model.
    """
    named = "dja" if recipe == "ceiling" else recipe
    config, grid = get_config(named), get_grid(named)
    sample = simulate_held_out_sample(N_FILES, ARCHIVE_SEED, grid, config.norm)
    clustering = config.clustering
    if recipe == "ceiling":
        clustering = replace(clustering, n_null_draws=n_null_draws, n_models=1, spaces=("features",))
        return cluster_inputs(
            [make_ceiling_inputs(sample.noise_free, grid)], clustering, seed, sample.truth_class
        )
    if recipe == "dja":
        clustering = replace(clustering, n_null_draws=n_null_draws, n_models=n_models, spaces=tuple(spaces))
    n_models = clustering.n_clustered_models
    models = [train_recipe(recipe, seed * n_models + i) for i in range(n_models)]
    model_inputs = [make_inputs(model, sample.first, grid, clustering) for model in models]
    return cluster_inputs(model_inputs, clustering, seed, sample.truth_class)


def cluster_inputs(
    model_inputs: Sequence[ClusteringInputs], clustering: ClusteringConfig, seed: int, truth: Any
) -> ClassificationRun:
    """Cluster spectra as derived from each model, as the cluster stage does."""
    results = run_sweep(model_inputs[0], clustering, seed, model_inputs[1:])
    scores = score_sweep(results, clustering)
    on_data = [result for result in results if not result.trial.dataset.is_null]
    selection = select_setting(on_data, scores, clustering)
    assert selection is not None
    members = [on_data[i].labels.astype(np.int32) for i in scores.members[selection.setting]]
    if selection.trial_index is None:
        consensus = find_consensus(members, selection.n_classes, np.random.default_rng(seed))
        consensus = drop_unstable_classes(consensus, members, clustering.min_class_jaccard)
        assignment = Assignment.from_members(consensus, members)
        labels, stability = assignment.labels, assignment.stability
    else:
        labels = on_data[selection.trial_index].labels.astype(np.int32)
        stability = Consensus.from_members(members, labels).membership_stability(members, labels)
    return ClassificationRun(
        labels=labels,
        stability=stability,
        truth=truth,
        setting=str(selection.setting),
        reason=selection.reason,
        beats_null=scores.beats_null(selection.setting),
        min_core_stability=clustering.min_core_stability,
        setting_stability=scores.mean_stability(selection.setting),
    )


def macro_f1(labels: Any, truth: Any) -> float:
    """Return the macro F1 score if each class is named after most of its members."""
    names: dict[int, str] = {}
    for label in np.unique(labels).tolist():
        counts = Counter(truth[labels == label].tolist())
        names[label] = max(sorted(counts), key=lambda name, counts=counts: counts[name])
    score: Any = f1_score  # its type stub does not allow a number for zero_division
    return float(
        score(truth, [names[label] for label in labels.tolist()], average="macro", zero_division=0.0)
    )


def print_scores(recipe: str, runs: Sequence[ClassificationRun]) -> None:
    """Print mean ± standard deviation of scores over runs, and over pairs of runs."""
    scores: dict[str, list[float]] = {
        "ARI": [adjusted_rand_score(run.truth, run.labels) for run in runs],
        "NMI": [normalized_mutual_info_score(run.truth, run.labels) for run in runs],
        "macro F1": [macro_f1(run.labels, run.truth) for run in runs],
        "classes": [len(set(run.labels.tolist()) - {-1}) for run in runs],
        "no class": [float(np.mean(run.labels < 0)) for run in runs],
        "stated stability": [run.setting_stability for run in runs],
        "core fraction": [float(np.mean(run.is_core)) for run in runs],
        "ARI of reruns": [],
        "ARI of reruns, core": [],
    }
    for one, other in combinations(runs, 2):
        scores["ARI of reruns"].append(adjusted_rand_score(one.labels, other.labels))
        both = one.is_core & other.is_core
        scores["ARI of reruns, core"].append(adjusted_rand_score(one.labels[both], other.labels[both]))
    for name, values in scores.items():
        average = mean(values) if values else float("nan")
        spread = stdev(values) if len(values) > 1 else float("nan")
        rounded = [round(float(value), 3) for value in values]
        print(f"{recipe:7s} {name:20s} {average:.3f} ± {spread:.3f}   {rounded}")
    for run in runs:
        print(f"{recipe:7s} {run.setting}; beats null: {run.beats_null}; {run.reason}")


def main() -> None:
    """Run the recipes with several seeds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=list(RECIPES), metavar=" | ".join(RECIPES))
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1, help="number of processes, with one thread each")
    parser.add_argument("--nulls", type=int, default=5, help="number of draws of each null model")
    parser.add_argument("--models", type=int, default=4, help="number of models of a run of recipe dja")
    parser.add_argument(
        "--spaces", nargs="+", default=dja("unused").clustering.spaces, help="spaces of recipe dja"
    )
    args = parser.parse_args()
    if unknown := set(args.recipes) - set(RECIPES):
        parser.error(f"no recipe {', '.join(sorted(unknown))} here: choose from {', '.join(RECIPES)}")
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for recipe in args.recipes:
            run = partial(
                run_recipe, recipe, n_null_draws=args.nulls, n_models=args.models, spaces=args.spaces
            )
            print_scores(recipe, list(pool.map(run, range(args.seeds))))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
