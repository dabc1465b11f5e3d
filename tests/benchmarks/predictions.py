"""Fraction of spectra for which a predictor returns the run's own class, also of left-out spectra.

    python -m tests.benchmarks.predictions ROOT [--folds N]

ROOT is that of a finished pipeline whose archive still exists and whose classes are of features or latents.
First every file of the catalog is predicted. Then the spectra are divided into folds. For each fold, the
members of the selected setting are fitted again to the other spectra; the classes of their consensus are
matched with the run's classes on these, and assigned to the spectra of the fold. This is compared with the
majority of the ten nearest of the other spectra, in latents and in the space of the classes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree

from distspec.archives.catalogs import make_absolute_url
from distspec.catalog.editions import open_tables
from distspec.catalog.runs import load_run
from distspec.clustering.algorithms import Labels, fit_clusterings, labels_from_prob
from distspec.clustering.config import AlgorithmSpec, ClusteringConfig, FeatureSpace
from distspec.clustering.consensus import contingency_matrix, find_consensus
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.labeler import EnsembleLabeler, EnsembleMember
from distspec.core.spectrum import Floats
from distspec.inference.describe import SpectrumLatents, build_clustering_inputs, compute_spectrum_features
from distspec.inference.files import predict_files
from distspec.inference.predict import Predictor
from distspec.ingest.source import read_source
from distspec.io.paths import run_url
from distspec.models.latents import VECTOR_COLUMNS
from distspec.models.neighbors import extract_latents

N_NEIGHBORS = 10
SPACES = ("features", "latents")
"""Spaces in which members can be fitted again."""


def make_inputs(predictor: Predictor, objects: pa.Table) -> ClusteringInputs:
    """Return the run's own spectra as points, from the columns of the catalog."""
    config, measurements = predictor.clustering_config, predictor.archive.measurements
    names = set(objects.column_names)
    measured = [column.name for column in measurements.columns if column.name in names]
    columns = {name: objects[name].to_numpy() for name in measured}
    for vector in VECTOR_COLUMNS:
        parts = sorted(name for name in names if name.startswith(f"{vector}_"))
        columns[vector] = np.stack([objects[name].to_numpy() for name in parts], axis=1)
    latents = SpectrumLatents(columns)
    features = compute_spectrum_features(predictor.models[0], measurements, latents, config.spaces)
    scaler = predictor.run_model.scalers[0]
    return build_clustering_inputs(latents, features, scaler, measurements, config)


def refit(
    inputs: ClusteringInputs,
    space: FeatureSpace,
    trials: Sequence[Mapping[str, Any]],
    config: ClusteringConfig,
    n_classes: int,
    seed: int,
) -> EnsembleLabeler:
    """Return a labeler whose members, rows of the table ``sweep``, are fitted again."""
    rng = np.random.default_rng(seed)
    members: list[EnsembleMember] = []
    labels: list[Labels] = []
    x = inputs.get_points(space).astype(np.float64)
    for trial in trials:
        rows = np.sort(rng.choice(len(x), round(config.resample_fraction * len(x)), replace=False))
        spec = AlgorithmSpec(trial["algorithm"], trial["k"], trial["variant"], trial["fraction"])
        membership = fit_clusterings(x[rows], [spec], [trial["seed"]], config.n_init)[0].membership_model
        members.append(EnsembleMember(0, space, membership))
        labels.append(labels_from_prob(membership.predict_proba(x)))
    return EnsembleLabeler(members, {}, find_consensus(labels, n_classes, rng), None)


def match_classes(run_labels: Labels, new_labels: Labels) -> dict[int, int]:
    """Return the class of the run that shares most spectra with each new class."""
    table = contingency_matrix(new_labels, run_labels)[1:, 1:]
    new, old = linear_sum_assignment(-table)
    return dict(zip(new.tolist(), old.tolist(), strict=True))


def majority_of_neighbors(
    points: Floats, run_labels: Labels, others: NDArray[np.int64], fold: NDArray[np.int64]
) -> Labels:
    """Return the class of most of the nearest other spectra of each spectrum of a fold."""
    _, index = KDTree(points[others]).query(points[fold], k=N_NEIGHBORS)
    neighbor_labels = run_labels[others][index]
    return np.array([np.bincount(row[row >= 0], minlength=1).argmax() for row in neighbor_labels], np.int32)


def select_trials(predictor: Predictor, root: str) -> list[Mapping[str, Any]]:
    """Return the rows of the table ``sweep`` with the members of the selected setting."""
    selection = predictor.run_record.clustering
    table = load_run(run_url(root, predictor.run_record.run_id))[1]["sweep"]
    names = ("space", "algorithm", "variant", "k", "fraction")
    return [row for row in table.to_pylist() if all(row[name] == getattr(selection, name) for name in names)]


def predict_own_files(predictor: Predictor, root: str, objects: pa.Table) -> pa.Table:
    """Return the predictions for the files of all spectra of the run."""
    source = read_source(root)
    uris = {row["object_id"]: row["uri"] for row in source.archive.list_spectra(source.access).to_pylist()}
    files = [make_absolute_url(uris[object_id]) for object_id in objects["object_id"].to_pylist()]
    redshifts = objects["z"].to_pylist()
    return predict_files(lambda: predictor, source.archive, source.access, files, redshifts).table


def predict_folds(
    predictor: Predictor, root: str, objects: pa.Table, run_labels: Labels, n_folds: int
) -> dict[str, Labels]:
    """Return classes of left-out spectra by method."""
    inputs, trials = make_inputs(predictor, objects), select_trials(predictor, root)
    space = FeatureSpace(str(predictor.run_record.clustering.space))
    refitted = "left out, fitted again"
    points = {
        "left out, ten neighbors in the latents": extract_latents(objects).astype(np.float64),
        f"left out, ten neighbors in {space.name}": inputs.get_points(space).astype(np.float64),
    }
    labels = {title: np.full(len(run_labels), -1, np.int32) for title in (refitted, *points)}
    folds = np.array_split(np.random.default_rng(0).permutation(len(run_labels)), n_folds)
    n_classes = int(run_labels.max()) + 1
    for number, fold in enumerate(folds):
        others = np.setdiff1d(np.arange(len(run_labels)), fold)
        labeler = refit(inputs.take(others), space, trials, predictor.clustering_config, n_classes, number)
        names = match_classes(run_labels[others], labeler.consensus.labels)
        assigned = labeler.assign([inputs.take(fold)]).labels.tolist()
        labels[refitted][fold] = [names.get(label, -1) for label in assigned]
        for title, x in points.items():
            labels[title][fold] = majority_of_neighbors(x, run_labels, others, fold)
    return labels


def main() -> None:
    """Print the fractions of spectra that get the run's class, of all and of the core."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", metavar="ROOT", help="folder of a finished pipeline")
    parser.add_argument("--folds", type=int, default=10)
    args = parser.parse_args()
    predictor = Predictor.open(args.root)
    space = predictor.run_record.clustering.space
    if space not in SPACES:
        parser.error(f"the classes of {args.root} are of {space}: it must be one of {', '.join(SPACES)}")
    objects = open_tables(args.root)["objects"].to_table().sort_by("object_id")
    run_labels = objects["cluster_label"].to_numpy()
    core_limit = predictor.clustering_config.min_core_stability
    is_core = objects["cluster_stability"].to_numpy() >= core_limit
    print(f"{len(run_labels):,} spectra, {run_labels.max() + 1} classes, core fraction {is_core.mean():.3f}")

    def print_agreement(title: str, labels: Labels) -> None:
        same = labels == run_labels
        print(f"{title}: {same.mean():.4f} of all, {same[is_core].mean():.4f} of the core", flush=True)

    predicted = predict_own_files(predictor, args.root, objects)
    print_agreement("predicted from the run's own files", predicted["cluster_label"].to_numpy())
    difference = np.abs(predicted["anomaly_score"].to_numpy() - objects["anomaly_score"].to_numpy())
    percentile = np.percentile(difference, 99)
    print(f"difference of anomaly_score: median {np.median(difference):.4f}, 99 % {percentile:.4f} dex")
    for title, labels in predict_folds(predictor, args.root, objects, run_labels, args.folds).items():
        print_agreement(title, labels)


if __name__ == "__main__":
    main()
