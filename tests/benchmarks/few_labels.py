"""Accuracy and coverage of predicted labels from 5, 10, 20 and 50 labels per class.

    python -m tests.benchmarks.few_labels [--seeds N] [--draws N] [--cache FOLDER] [spex | simulated]

spex: real stars of classes M, L and T (needs `DISTSPEC_TEST_DATA`); recipe `spex` is trained without their
classes. simulated: held-out galaxies of six classes, with the model of recipe `dja`. For each model,
`--draws` sets of labeled sources are drawn; all other sources are evaluated. The first table compares the
classifier (`distspec.labels.classifier`) with 5 and 1 nearest neighbors among 16 principal components of the
spectra (arcsinh, masked pixels at the mean), as many as there are latents. The second table compares labels
that `distspec.labels.active` suggests with as many random ones, beginning with 5 per class.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from distspec.clustering.feature_space import join_measurements, scale_by_posterior_width
from distspec.labels.active import suggest_spectra
from distspec.labels.classifier import IsotropicScaler, LabelClassifier
from distspec.labels.conformal import prediction_sets
from distspec.labels.predict import unmodeled_measurements
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS, SPEX_MEASUREMENTS
from distspec.models.vae import embed
from tests.benchmarks.models import (
    embed_spectra,
    load_held_out_sample,
    load_training_data,
    train_recipe,
    train_vae,
)
from tests.benchmarks.real_files import StarSample

N_COMPONENTS = 16
N_LABELS = (5, 10, 20, 50)
"""Numbers of labels per class."""
ALPHA = 0.1
"""Conformal miscoverage level."""
N_ROUNDS, N_SUGGESTIONS = 3, 10
"""Rounds of suggestions, and suggestions per round."""
Scores = dict[tuple[str, str], list[float]]
"""Values by row and column of a table."""


@dataclass(frozen=True)
class LabelingProblem:
    """Spectra of known classes, as a classifier sees them.

    Attributes
    ----------
    points : ndarray of shape (n_spectra, n_dims)
        Input of the classifier: latents in posterior widths, and measurements of what the model does not see.
    components : ndarray of shape (n_spectra, N_COMPONENTS)
        Principal components of the spectra.
    classes, source_ids : ndarray of str, shape (n_spectra,)
        Classes and sources.
    """

    points: Any
    components: Any
    classes: Any
    source_ids: Any

    @classmethod
    def load_or_make(cls, folder: Path, name: str, seed: int) -> LabelingProblem:
        """Return a problem of `PROBLEMS`, from a folder if it is there."""
        path = folder / f"few-labels-{name}-{seed}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **vars(PROBLEMS[name](seed)))
        with np.load(path) as arrays:
            return cls(**arrays)


def make_star_problem(seed: int) -> LabelingProblem:
    """Train recipe `spex`, and return the real stars."""
    with tempfile.TemporaryDirectory(prefix="ds-") as root:
        sample = StarSample.ingest(root)
        model = train_vae(sample.config.vae, sample.config.training, sample.training_data(), seed)
        flux, ivar = sample.arrays()
        latents = {name: values.numpy() for name, values in embed(model, sample.spectra).items()}
        measured = SPEX_MEASUREMENTS.measure(flux, ivar, np.zeros(len(flux)), sample.store.config.grid)
        return LabelingProblem(
            make_points(SPEX_MEASUREMENTS, latents, measured),
            principal_components(flux, ivar, ~sample.is_held_out),
            sample.classes,
            np.array(sample.source_ids),
        )


def make_galaxy_problem(seed: int) -> LabelingProblem:
    """Train recipe `dja`, and return simulated galaxies, one spectrum per source."""
    model, data = train_recipe("dja", seed), load_training_data("dja")
    sample = load_held_out_sample("dja", "reported")
    view, n_train = sample.first, len(data.train)
    measured = NIRSPEC_PRISM_MEASUREMENTS.measure(view.flux, view.ivar, view.z, data.grid)
    latents = embed_spectra(model, view.flux, view.ivar, view.z)
    flux = np.concatenate([data.train.spectrum.value.numpy(), view.flux])
    ivar = np.concatenate([data.train.spectrum.ivar.numpy(), view.ivar])
    return LabelingProblem(
        make_points(NIRSPEC_PRISM_MEASUREMENTS, latents, measured),
        principal_components(flux, ivar, np.arange(n_train))[n_train:],
        sample.truth_class,
        np.arange(len(view)).astype(str),
    )


PROBLEMS: Mapping[str, Callable[[int], LabelingProblem]] = {
    "spex": make_star_problem,
    "simulated": make_galaxy_problem,
}


def make_points(measurements: MeasurementSet, latents: Mapping[str, Any], measured: Mapping[str, Any]) -> Any:
    """Return the input of the classifier, as `distspec.labels.predict.build_points`."""
    scaled = measurements.scale_by_error(unmodeled_measurements(measurements), measured)
    return join_measurements(scale_by_posterior_width(latents["z_mean"], latents["z_log_var"]), scaled)


def principal_components(flux: Any, ivar: Any, fit_rows: Any) -> Any:
    """Return principal components of all spectra, fitted to some of them, (n_spectra, N_COMPONENTS)."""
    shown = np.arcsinh(np.where(ivar > 0, flux, np.nan))
    pixel_mean = np.nan_to_num(np.nanmean(shown[fit_rows], axis=0, keepdims=True))
    filled = np.where(np.isnan(shown), pixel_mean, shown)
    return PCA(N_COMPONENTS, random_state=0).fit(filled[fit_rows]).transform(filled)


def draw_labeled(problem: LabelingProblem, n: int, rng: np.random.Generator) -> Any:
    """Return the rows of `n` spectra of each class, each of another source."""
    order = rng.permutation(len(problem.classes))
    _, first = np.unique(problem.source_ids[order], return_index=True)
    order = order[np.sort(first)]
    classes = np.unique(problem.classes)
    return np.concatenate([order[problem.classes[order] == name][:n] for name in classes])


def evaluate_labels(scores: Scores, problem: LabelingProblem, rng: np.random.Generator) -> None:
    """Add the scores for one draw of labeled sources."""
    points, classes, source_ids = problem.points, problem.classes, problem.source_ids
    scaler, drawn = IsotropicScaler.fit(points), draw_labeled(problem, max(N_LABELS), rng)
    for n in N_LABELS:
        column = str(n)
        labeled = np.concatenate([drawn[classes[drawn] == name][:n] for name in np.unique(classes)])
        others = ~np.isin(source_ids, source_ids[labeled])
        classifier = LabelClassifier(points[labeled], classes[labeled], source_ids[labeled], scaler)
        prediction = classifier.predict(points[others])
        names, truth = np.array(classifier.label_names), classes[others]
        predicted = {"classifier": names[prediction.prob.argmax(axis=1)]}
        for k in (5, 1):
            neighbors = KNeighborsClassifier(k).fit(problem.components[labeled], classes[labeled])
            predicted[f"{k} neighbors, PCA"] = neighbors.predict(problem.components[others])
        for method, labels in predicted.items():
            scores[f"accuracy, {method}", column].append(float(np.mean(labels == truth)))
        true_prob = np.take_along_axis(prediction.prob, np.searchsorted(names, truth)[:, None], 1)
        scores["mean of the largest probability", column].append(float(prediction.prob.max(axis=1).mean()))
        scores["mean of −ln probability of the true label", column].append(float(-np.log(true_prob).mean()))
        in_set = prediction_sets(prediction.p_value, ALPHA)
        scores["labels per set", column].append(float(in_set.sum(axis=1).mean()))
        for k, name in enumerate(names):
            scores[f"coverage, {name}", column].append(float(in_set[truth == name, k].mean()))


def evaluate_suggestions(scores: Scores, problem: LabelingProblem, rng: np.random.Generator) -> None:
    """Add the accuracy with further labels, suggested or random, for one draw of labeled sources."""
    points, classes, source_ids = problem.points, problem.classes, problem.source_ids
    scaler, start = IsotropicScaler.fit(points), draw_labeled(problem, N_LABELS[0], rng)
    for method in ("suggested", "at random"):
        labeled = start
        for round_number in range(N_ROUNDS + 1):
            classifier = LabelClassifier(points[labeled], classes[labeled], source_ids[labeled], scaler)
            others = np.flatnonzero(~np.isin(source_ids, source_ids[labeled]))
            prob = classifier.predict(points[others]).prob
            is_correct = np.array(classifier.label_names)[prob.argmax(axis=1)] == classes[others]
            column = f"+ {N_SUGGESTIONS * round_number}"
            scores[f"accuracy, {method}", column].append(float(is_correct.mean()))
            if method == "suggested":
                x = scaler.transform(points[others])
                new = suggest_spectra(x, prob, source_ids[others], N_SUGGESTIONS)
            else:
                new = rng.choice(len(others), N_SUGGESTIONS, replace=False)
            labeled = np.concatenate([labeled, others[new]])


def print_table(title: str, scores: Scores) -> None:
    """Print a Markdown table, mean ± standard deviation over models and draws."""
    columns = list(dict.fromkeys(column for _, column in scores))
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for row in dict.fromkeys(row for row, _ in scores):
        cells = [scores[row, column] for column in columns]
        texts = [f"{mean(v):.3f} ± {stdev(v) if len(v) > 1 else float('nan'):.3f}" for v in cells]
        print(f"| {row} | {' | '.join(texts)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("problems", nargs="*", default=list(PROBLEMS), metavar=" | ".join(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=2, help="number of models")
    parser.add_argument("--draws", type=int, default=3, help="number of sets of labels for each model")
    parser.add_argument(
        "--cache", type=Path, help="folder in which spectra are kept as the classifier sees them"
    )
    args = parser.parse_args()
    if unknown := set(args.problems) - set(PROBLEMS):
        parser.error(f"no data {', '.join(sorted(unknown))}: choose from {', '.join(PROBLEMS)}")
    with tempfile.TemporaryDirectory(prefix="ds-") as temporary:
        folder = args.cache or Path(temporary)
        for name in args.problems:
            label_scores: Scores = defaultdict(list)
            suggestion_scores: Scores = defaultdict(list)
            for seed in range(args.seeds):
                problem = LabelingProblem.load_or_make(folder, name, seed)
                for draw in range(args.draws):
                    rng = np.random.default_rng([seed, draw])
                    evaluate_labels(label_scores, problem, rng)
                    evaluate_suggestions(suggestion_scores, problem, rng)
            print_table(f"{name}, labels per class", label_scores)
            print_table(f"{name}, labels beyond {N_LABELS[0]} per class", suggestion_scores)


if __name__ == "__main__":
    main()
