"""Are spectra placed where the run has them, themselves and left out of it?

    python -m tests.benchmarks.predictions ROOT [--folds N]

ROOT is that of a finished pipeline whose archive is still there and whose classes are of features or latents.
First every file of the catalogue is placed. Then the spectra are cut in `--folds` parts: the repeats of the
chosen setting are fitted again without one, in turn; what they agree on is matched to the run's classes on
the others, and labels the part; beside it what the ten nearest of the others say, in latents and there.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

import distspec
from distspec.archives.catalogs import make_absolute_url
from distspec.archives.registry import get_archive
from distspec.catalog import editions
from distspec.catalog.runs import load_run
from distspec.clustering.algorithms import fit_clusterings
from distspec.clustering.config import AlgorithmSpec, FeatureSpace
from distspec.clustering.consensus import contingency_matrix, find_consensus
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.labeler import EnsembleLabeler, EnsembleMember
from distspec.core.spectrum import Floats
from distspec.inference.predict import Predictor
from distspec.ingest.source import read_source
from distspec.io.paths import run_url
from distspec.measurements.features import compute_features, measure_reconstructions
from distspec.models.neighbors import extract_latents

Labels = NDArray[np.int32]
N_VOTES = 10


def sample_of(placer: Predictor, objects: Any) -> ClusteringInputs:
    """Return where the run's own spectra lie."""
    config, kind, model = (
        placer.run_record["config"]["clustering"],
        get_archive(placer.store_config.archive_name).measurements,
        placer.models[0],
    )
    of = [
        np.stack([objects[n].to_numpy() for n in objects.column_names if n.startswith(p)], axis=1)
        for p in ("z_mean_", "z_log_var_")
    ]
    values = {name: objects[name].to_numpy() for name in objects.column_names if name.startswith("lya_")}
    features = np.zeros((len(objects), 0), np.float32)
    if "features" in config["spaces"]:
        values |= measure_reconstructions(kind, model.decode, model.grid, *of, n_draws=0)
        features = compute_features(kind, values).astype(np.float32)
    names = config["measures"]
    beside = kind.scale_by_error(names, values) if names else np.zeros((len(objects), 0))
    return placer.run_model.scalers[0].transform(of[0], beside, features)


def refitted(
    sample: ClusteringInputs, where: FeatureSpace, tried: list[Any], config: Any, k: int, seed: int
) -> EnsembleLabeler:
    """Return what the repeats of a setting make of a sample; each draws its share of it."""
    rng, repeats, labels = np.random.default_rng(seed), [], []
    x = sample.get_points(where).astype(np.float64)
    for row in tried:
        few = np.sort(rng.choice(len(x), round(config["resample"] * len(x)), replace=False))
        setting = AlgorithmSpec(row["algorithm"], row["k"], row["variant"], row["fraction"])
        made = fit_clusterings(x[few], [setting], [row["seed"]], config["starts"])[0]
        repeats.append(EnsembleMember(0, where, made.membership_model))
        labels.append(made.membership_model.predict_proba(x).argmax(axis=1).astype(np.int32))
    return EnsembleLabeler(repeats, {}, find_consensus(labels, k, rng), None)


def matched(own: Labels, new: Labels) -> dict[int, int]:
    """Return which of the run's classes each new one is, by the spectra that they share."""
    table = contingency_matrix(new, own)[1:, 1:]
    return dict(zip(*(each.tolist() for each in linear_sum_assignment(-table)), strict=True))


def voted(points: Floats, own: Labels, rest: NDArray[np.int64], part: NDArray[np.int64]) -> Labels:
    """Return what most of the nearest of the others are."""
    near = own[rest][cKDTree(points[rest]).example_query(points[part], k=N_VOTES)[1]]
    return np.array([np.bincount(row[row >= 0], minlength=1).argmax() for row in near], np.int32)


def main() -> None:
    """Print shares of spectra that get the run's label, of all and of the core."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root")
    parser.add_argument("--folds", type=int, default=10)
    given = parser.parse_args()
    placer, source = Predictor.open(given.root), read_source(given.root)
    objects = editions.open_tables(given.root)["objects"].results_to_table().sort_by("object_id")
    own = objects["cluster_label"].to_numpy()
    config = placer.run_record["config"]["clustering"]
    core = objects["cluster_stability"].to_numpy() >= config["core_stability"]
    print(f"{len(own):,} spectra, {own.max() + 1} classes, core {core.mean():.3f}")

    def say(what: str, labels: Labels) -> None:
        same = labels == own
        print(f"{what}: {same.mean():.4f} of all, {same[core].mean():.4f} of the core", flush=True)

    uri = {r["object_id"]: r["uri"] for r in source.archive.list_spectra(source.access).to_pylist()}
    files = [make_absolute_url(uri[name]) for name in objects["object_id"].to_pylist()]
    placed = distspec.predict(given.root, files, z=objects["z"].to_pylist()).table
    say("placed", placed["cluster_label"].to_numpy())
    score = np.abs(placed["anomaly_score"].to_numpy() - objects["anomaly_score"].to_numpy())
    print(f"anomaly_score apart: median {np.median(score):.4f}, 99 % {np.percentile(score, 99):.4f} dex")

    sample, chosen = sample_of(placer, objects), placer.run_record["clustering"]
    sweep = load_run(run_url(given.root, placer.run_record["run_id"]))[1]["sweep"].to_pylist()
    names = ("algorithm", "variant", "k", "fraction")
    tried = [r for r in sweep if r["space"] == chosen["space"] and all(r[n] == chosen[n] for n in names)]
    latents, x = extract_latents(objects), sample.get_points(FeatureSpace(chosen["space"])).astype(np.float64)
    parts = np.array_split(np.random.default_rng(0).permutation(len(own)), given.assign_folds)
    n_classes = int(own.max()) + 1
    left_out, near, near_there = (np.full(len(own), -1, np.int32) for _ in range(3))
    for number, part in enumerate(parts):
        rest = np.setdiff1d(np.arange(len(own)), part)
        where = FeatureSpace(chosen["space"])
        fitted = refitted(sample.take(rest), where, tried, config, n_classes, number)
        called = matched(own[rest], fitted.consensus.labels)
        found = fitted.assign([sample.take(part)]).labels
        left_out[part] = [called.get(int(label), -1) for label in found]
        near[part] = voted(latents, own, rest, part)
        near_there[part] = voted(x, own, rest, part)
    say("left out, fitted again", left_out)
    say("left out, ten neighbours in the latents", near)
    say(f"left out, ten neighbours in {chosen['space']}", near_there)


if __name__ == "__main__":
    main()
