"""Are the classes there? The published rule and recipe `dja`'s, on sources that nothing was trained on.

``python -m tests.benchmarks.classes --seeds 4 --jobs 2``: for each seed a model of either recipe is trained
anew (weights and order differ), embeds the same held-out made-up sources, and is clustered with seeds of its
own. True classes are the simulator's. Macro F1: each class of the run is called what most
of its members are. `--nulls N` draws N of each kind of structureless data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import combinations
from multiprocessing import get_context
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score, f1_score, normalized_mutual_info_score

from distspec.clustering.config import ClusteringConfig, FeatureSpace
from distspec.clustering.consensus import Consensus, find_consensus
from distspec.clustering.feature_space import ClusteringInputs, join_measurements, scale_by_posterior_width
from distspec.clustering.plan import build_algorithm_grid, plan_jobs
from distspec.clustering.selection import score_sweep, select_setting
from distspec.clustering.trials import TrialResult, limit_rows, run_trials
from distspec.clustering.umap import UmapEmbedding, UmapParams, build_neighbor_graph
from distspec.measurements.features import compute_features, measure_reconstructions
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS as PRISM
from distspec.models.vae import SpectrumVAE, decode_flux, embed
from distspec.pipeline.recipes import dja
from tests.benchmarks.ablation import ROWS, as_batch, fitted, recipe, training_archive
from tests.benchmarks.survey import View, held_out

N_FILES, SEED = 3000, 202


def sample_of(model: SpectrumVAE, view: View, grid: Any, config: ClusteringConfig) -> ClusteringInputs:
    """Return what a model says of spectra, as the stage puts it together."""
    with torch.inference_mode():
        found = {
            name: each.numpy() for name, each in embed(model, as_batch(view.flux, view.ivar, view.z)).items()
        }

    def decode(latent: Any, z: float) -> Any:
        with torch.inference_mode():
            return decode_flux(model, torch.from_numpy(latent), torch.full((len(latent),), z)).numpy()

    latents = found["z_mean"]
    if config.selection_rule == "silhouette":
        return ClusteringInputs(latents, np.zeros((len(latents), 0), np.float32))
    measures = measure_reconstructions(PRISM, decode, grid, latents, found["z_log_var"], n_draws=0)
    values = {**measures, **PRISM.measure(view.flux, view.ivar, view.z, grid)}
    widths = scale_by_posterior_width(latents, found["z_log_var"])
    return ClusteringInputs(
        join_measurements(widths, np.zeros((len(latents), 0))),
        compute_features(PRISM, values).astype(np.float32),
    )


def swept(sample: ClusteringInputs, config: ClusteringConfig, seed: int) -> list[TrialResult]:
    """Run the whole sweep in this process."""
    most, _ = limit_rows(config, len(sample), 4e9)
    latents = sample.latents.astype(np.float64)
    maps: dict[FeatureSpace, Any] = {}
    results: list[TrialResult] = []
    for job in plan_jobs(config, build_algorithm_grid(config, len(sample))[0], seed):
        base = sample.draw_null_data(job.dataset, seed).get_points(job.space).astype(np.float64)
        if job.space.umap_dims:
            points = maps.get(job.space) if not job.dataset.is_null else None
            if points is None:
                near = build_neighbor_graph(base, job.space.umap_n_neighbors, (job.space.umap_dims,))
                points = UmapEmbedding.from_graph(
                    near, UmapParams(job.space.umap_seed, config.umap_min_dist, job.space.umap_dims)
                ).coordinates
            if not job.dataset.is_null:
                maps[job.space] = points
        else:
            points = base
        results += run_trials(points, latents, job.trials, config, most)
    return results


def once(row: str, seed: int, n_nulls: int, spaces: Sequence[str]) -> dict[str, Any]:
    """Train, embed and cluster; return labels, stability and what was chosen."""
    settings_of, training = recipe(row)
    config = (
        settings_of.clustering
        if row == "paper"
        else replace(dja("unused").clustering, n_null_draws=n_nulls, build_spaces=tuple(spaces))
    )
    grid, train, held, twice = training_archive(row)
    model = fitted(ROWS[row], training, grid, train, held, twice, seed)
    sources = held_out(N_FILES, SEED, grid, settings_of.norm)
    sample = sample_of(model, sources.init_coords, grid, config)
    results = swept(sample, config, seed)
    judgement = score_sweep(results, config)
    own = [each for each in results if not each.trial.dataset.is_null]
    choice = select_setting(own, judgement, config)
    assert choice is not None
    repeats = [own[i].labels.astype(np.int32) for i in judgement.members[choice.setting]]
    if choice.trial_index is None:
        found = find_consensus(repeats, choice.n_classes, np.random.default_rng(seed))
    else:
        found = Consensus.from_members(repeats, own[choice.trial_index].labels.astype(np.int32))
    return {
        "labels": found.labels,
        "stability": found.membership_stability(repeats, found.labels),
        "truth": sources.truth_class,
        "way": str(choice.setting),
        "why": choice.reason,
        "beats": judgement.beats_null(choice.setting),
        "core": config.min_core_stability,
    }


def macro_f1(labels: Any, truth: Any) -> float:
    """Return macro F1 where each class is called what most of its members are."""
    called = {
        label: max(set(truth[labels == label]), key=list(truth[labels == label]).count)
        for label in set(labels)
    }
    return float(f1_score(truth, [called[label] for label in labels], average="macro", zero_division=0.0))


def report(row: str, runs: Sequence[Mapping[str, Any]]) -> None:
    """Print mean ± standard deviation over seeds, and over pairs of reruns."""
    scores = {
        "ARI": [adjusted_rand_score(each["truth"], each["labels"]) for each in runs],
        "NMI": [normalized_mutual_info_score(each["truth"], each["labels"]) for each in runs],
        "macro F1": [macro_f1(each["labels"], each["truth"]) for each in runs],
        "classes": [len(set(each["labels"]) - {-1}) for each in runs],
        "core share": [float(np.mean(each["stability"] >= each["core"])) for each in runs],
    }
    agreement, core = [], []
    for one, other in combinations(runs, 2):
        agreement.append(adjusted_rand_score(one["labels"], other["labels"]))
        both = (one["stability"] >= one["core"]) & (other["stability"] >= other["core"])
        core.append(adjusted_rand_score(one["labels"][both], other["labels"][both]))
    scores |= {"ARI of reruns": agreement, "ARI of reruns, core": core}
    for name, values in scores.items():
        spread = stdev(values) if len(values) > 1 else float("nan")
        print(
            f"{row:6s} {name:20s} {mean(values):.3f} ± {spread:.3f}   {[round(float(v), 3) for v in values]}"
        )
    for each in runs:
        print(f"{row:6s} {each['way']}; null beaten: {each['beats']}; {each['why']}")


def main() -> None:
    """Run either recipe from several seeds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="RECIPE", help="dja, paper; both where none is named")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--nulls", type=int, default=5, help="draws of each kind")
    parser.add_argument("--spaces", nargs="+", default=dja("unused").clustering.spaces, help="of recipe dja")
    given = parser.parse_args()
    with ProcessPoolExecutor(given.list_jobs, mp_context=get_context("spawn")) as pool:
        for row in given.rows or ("dja", "paper"):
            runs = list(
                pool.map(
                    partial(once, row, n_nulls=given.null_trials, spaces=given.spaces), range(given.n_seeds)
                )
            )
            report(row, runs)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
