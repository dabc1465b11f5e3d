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

from distspec.clustering.config import ClusteringConfig, Space
from distspec.clustering.consensus import Consensus, agree
from distspec.clustering.feature_space import Sample, in_posterior_widths, joined
from distspec.clustering.plan import plan, settings
from distspec.clustering.selection import choose, judge
from distspec.clustering.trials import Result, limits, run
from distspec.clustering.umap import Layout, Map, neighbourhood
from distspec.core.instruments import PRISM
from distspec.measurements.features import measure_reconstructions, space
from distspec.measurements.lya import lya
from distspec.models.vae import SpectrumVAE, embed, reconstruct
from distspec.pipeline.recipes import dja
from tests.benchmarks.ablation import ROWS, as_batch, fitted, recipe, training_archive
from tests.benchmarks.survey import View, held_out

N_FILES, SEED = 3000, 202


def sample_of(model: SpectrumVAE, view: View, grid: Any, config: ClusteringConfig) -> Sample:
    """Return what a model says of spectra, as the stage puts it together."""
    with torch.inference_mode():
        found = {
            name: each.numpy() for name, each in embed(model, as_batch(view.flux, view.ivar, view.z)).items()
        }

    def decode(latent: Any, z: float) -> Any:
        with torch.inference_mode():
            return reconstruct(model, torch.from_numpy(latent), torch.full((len(latent),), z)).numpy()

    latents = found["z_mean"]
    if config.rule == "silhouette":
        return Sample(latents, np.zeros((len(latents), 0), np.float32))
    measures = measure_reconstructions("dja", decode, grid, latents, found["z_log_var"], n_draws=0)
    values = {**measures, **lya(view.flux, view.ivar, view.z, grid, PRISM)}
    widths = in_posterior_widths(latents, found["z_log_var"])
    return Sample(joined(widths, np.zeros((len(latents), 0))), space("dja", values).astype(np.float32))


def swept(sample: Sample, config: ClusteringConfig, seed: int) -> list[Result]:
    """Run the whole sweep in this process."""
    most, _ = limits(config, len(sample), 4e9)
    latents = sample.latents.astype(np.float64)
    maps: dict[Space, Any] = {}
    results: list[Result] = []
    for job in plan(config, settings(config, len(sample))[0], seed):
        base = sample.without_structure(job.data, seed).base(job.space).astype(np.float64)
        if job.space.dims:
            points = maps.get(job.space) if not job.data.is_null else None
            if points is None:
                near = neighbourhood(base, job.space.n_neighbors, (job.space.dims,))
                points = Map.of(near, Layout(job.space.seed, config.min_dist, job.space.dims)).points
            if not job.data.is_null:
                maps[job.space] = points
        else:
            points = base
        results += run(points, latents, job.trials, config, most)
    return results


def once(row: str, seed: int, n_nulls: int, spaces: Sequence[str]) -> dict[str, Any]:
    """Train, embed and cluster; return labels, stability and what was chosen."""
    settings_of, training = recipe(row)
    config = (
        settings_of.clustering
        if row == "paper"
        else replace(dja("unused").clustering, null_draws=n_nulls, spaces=tuple(spaces))
    )
    grid, train, held, twice = training_archive(row)
    model = fitted(ROWS[row], training, grid, train, held, twice, seed)
    sources = held_out(N_FILES, SEED, grid, settings_of.norm)
    sample = sample_of(model, sources.first, grid, config)
    results = swept(sample, config, seed)
    judgement = judge(results, config)
    own = [each for each in results if not each.trial.data.is_null]
    choice = choose(own, judgement, config)
    assert choice is not None
    repeats = [own[i].labels.astype(np.int32) for i in judgement.repeats[choice.way]]
    if choice.trial is None:
        found = agree(repeats, choice.k, np.random.default_rng(seed))
    else:
        found = Consensus.of(repeats, own[choice.trial].labels.astype(np.int32))
    return {
        "labels": found.labels,
        "stability": found.stability(repeats, found.labels),
        "truth": sources.truth_class,
        "way": str(choice.way),
        "why": choice.why,
        "beats": judgement.beats_null(choice.way),
        "core": config.core_stability,
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
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for row in given.rows or ("dja", "paper"):
            runs = list(
                pool.map(partial(once, row, n_nulls=given.nulls, spaces=given.spaces), range(given.seeds))
            )
            report(row, runs)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
