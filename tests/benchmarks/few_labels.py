"""How much a few labels are worth: accuracy and coverage from 5, 10, 20 and 50 labels a class.

    python -m tests.benchmarks.few_labels [--seeds N] [--draws N] [--cache FOLDER] [spex | made-up]

SpeX (real stars: M, L and T; needs `DISTSPEC_TEST_DATA`): recipe `spex` trained on 85 % of the sources,
without their classes. Made-up galaxies (six classes): the ablation's model of recipe `dja`, on sources of
another archive. Of each model `--draws` draws of labelled sources; all others are judged. Beside the
classifier (`distspec.labels.classifier`) stand 5 and 1 nearest neighbours among 16 principal components of the
same spectra (arcsinh, masked pixels at the mean), as many as the latents. Then: what labels are worth that
`distspec.labels.active` asks for, beside as many at random, from 5 a class on.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.csv
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from distspec.clustering.feature_space import join_measurements, scale_by_posterior_width
from distspec.labels.active import suggest_spectra
from distspec.labels.classifier import IsotropicScaler, LabelClassifier
from distspec.labels.conformal import prediction_sets
from distspec.labels.predict import unmodeled_measurements
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS, SPEX_MEASUREMENTS
from distspec.models.vae import embed
from distspec.store.splits import find_repeat_pairs, is_validation
from tests.benchmarks.ablation import _held, as_batch, fitted, training_archive
from tests.benchmarks.anomalies import trained
from tests.benchmarks.real_quality import _stored
from tests.benchmarks.real_quality import as_batch as stored_batch
from tests.conftest import DATA

N_COMPONENTS = 16
LABELS = (5, 10, 20, 50)
ERROR = 0.1
ROUNDS, ASKED = 3, 10
MEASUREMENTS = {"spex": SPEX_MEASUREMENTS, "made-up": NIRSPEC_PRISM_MEASUREMENTS}
Scores = dict[tuple[str, str], list[float]]


def components(flux: Any, ivar: Any, fitted_to: Any) -> Any:
    """Return principal components of spectra, (N, 16)."""
    shown = np.arcsinh(np.where(ivar > 0, flux, np.nan))
    usual = np.nan_to_num(np.nanmean(shown[fitted_to], axis=0, keepdims=True))
    filled = np.where(np.isnan(shown), usual, shown)
    return PCA(N_COMPONENTS, random_state=0).fit(filled[fitted_to]).transform(filled)


def spex(seed: int) -> Mapping[str, Any]:
    """Return what a model says of real stars, and what they are."""
    with TemporaryDirectory(prefix="ds-") as root:
        config, store = _stored("spex", root)
        batch, ledger = stored_batch(store), store.ledger(["object_id", "source_id"])
        labels = pyarrow.csv.read_csv(DATA / "spex" / "labels.csv").to_pydict()
        known = dict(zip(labels["DATA_FILE"], labels["cls"], strict=True))
        sources = ledger["source_id"].to_pylist()
        kept = is_validation(sources, config.training.validation_fraction)
        twice = torch.from_numpy(find_repeat_pairs(sources))
        train, held = batch[torch.from_numpy(~kept)], batch[torch.from_numpy(kept)]
        pairs = batch[twice[:, 0]], batch[twice[:, 1]]
        model = fitted(config.vae, config.training, store.config.grid, train, held, pairs, seed)
        flux, ivar = (t.numpy() for t in batch.spectrum)
        return {
            **_said(model, batch),
            **SPEX_MEASUREMENTS.measure(flux, ivar, np.zeros(len(flux)), store.config.grid),
            "components": components(flux, ivar, ~kept),
            "truth": np.array([known[name] for name in ledger["object_id"].to_pylist()]),
            "source": np.array(sources),
        }


def made_up(seed: int) -> Mapping[str, Any]:
    """Return what a model says of made-up galaxies, one spectrum a source, and what they are."""
    model = trained("dja", seed)
    grid, train, _, _ = training_archive("dja")
    held = _held("dja", "reported")
    view = held.init_coords
    batch = as_batch(view.flux, view.ivar, view.z)
    flux, ivar = (
        np.concatenate([t.numpy(), v]) for t, v in zip(train.spectrum, (view.flux, view.ivar), strict=True)
    )
    return {
        **_said(model, batch),
        **NIRSPEC_PRISM_MEASUREMENTS.measure(view.flux, view.ivar, view.z, grid),
        "components": components(flux, ivar, np.arange(len(train)))[len(train) :],
        "truth": held.truth_class,
        "source": np.arange(len(view)).astype(str),
    }


def _said(model: Any, batch: Any) -> Mapping[str, Any]:
    found = embed(model, batch)
    return {name: found[name].numpy() for name in ("z_mean", "z_log_var")}


ARCHIVES = {"spex": spex, "made-up": made_up}


def points_of(what: str, found: Mapping[str, Any]) -> Any:
    """Return where spectra lie for the classifier, as `distspec.labels.predict.build_points`."""
    latents = scale_by_posterior_width(found["z_mean"], found["z_log_var"])
    return join_measurements(
        latents, MEASUREMENTS[what].scale_by_error(unmodeled_measurements(MEASUREMENTS[what]), found)
    )


def drawn(truth: Any, source: Any, n: int, rng: np.random.Generator) -> Any:
    """Return `n` spectra of each class, each of another source."""
    order = rng.permutation(len(truth))
    _, first = np.unique(source[order], return_index=True)
    order = order[np.sort(first)]
    return np.concatenate([order[truth[order] == name][:n] for name in np.unique(truth)])


def judged(scores: Scores, what: str, found: Mapping[str, Any], rng: np.random.Generator) -> None:
    """Add what comes of one draw of labels."""
    points, truth, source = points_of(what, found), found["truth"], found["source"]
    scale, most = IsotropicScaler.fit(points), drawn(truth, source, max(LABELS), rng)
    for n in LABELS:
        few = np.concatenate([most[truth[most] == name][:n] for name in np.unique(truth)])
        rest = ~np.isin(source, source[few])
        learnt = LabelClassifier(points[few], truth[few], source[few], scale)
        said = learnt.predict(points[rest])
        names, true = np.array(learnt.label_names), truth[rest]
        called = {"classifier": names[said.prob.argmax(axis=1)]}
        for k in (5, 1):
            near = KNeighborsClassifier(k).fit(found["components"][few], truth[few])
            called[f"{k} neighbours, PCA"] = near.predict(found["components"][rest])
        for who, each in called.items():
            scores[f"accuracy, {who}", str(n)].append(float(np.mean(each == true)))
        own = np.take_along_axis(said.prob, np.searchsorted(names, true)[:, None], 1)
        scores["mean probability of the likeliest", str(n)].append(float(said.prob.max(axis=1).mean()))
        scores["mean -ln probability of the true", str(n)].append(float(-np.log(own).mean()))
        inside = prediction_sets(said.p_value, ERROR)
        scores["labels in a set", str(n)].append(float(inside.sum(axis=1).mean()))
        for k, name in enumerate(names):
            scores[f"coverage, {name}", str(n)].append(float(inside[true == name, k].mean()))


def asked(scores: Scores, what: str, found: Mapping[str, Any], rng: np.random.Generator) -> None:
    """Add what comes of asking for more labels, `ASKED` a round."""
    points, truth, source = points_of(what, found), found["truth"], found["source"]
    scale, start = IsotropicScaler.fit(points), drawn(truth, source, LABELS[0], rng)
    for way in ("suggested", "at random"):
        few = start
        for round_ in range(ROUNDS + 1):
            learnt = LabelClassifier(points[few], truth[few], source[few], scale)
            rest = np.flatnonzero(~np.isin(source, source[few]))
            said = learnt.predict(points[rest])
            right = np.array(learnt.label_names)[said.prob.argmax(axis=1)] == truth[rest]
            scores[f"accuracy, {way}", f"+ {ASKED * round_}"].append(float(right.mean()))
            if way == "suggested":
                more = suggest_spectra(scale(points[rest]), said.prob, source[rest], ASKED)
            else:
                more = rng.choice(len(rest), ASKED, replace=False)
            few = np.concatenate([few, rest[more]])


def show(title: str, scores: Scores) -> None:
    """Print a Markdown table, mean ± standard deviation over models and draws."""
    columns = list(dict.fromkeys(column for _, column in scores))
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for row in dict.fromkeys(row for row, _ in scores):
        cells = [scores[row, column] for column in columns]
        texts = [f"{mean(v):.3f} ± {stdev(v) if len(v) > 1 else float('nan'):.3f}" for v in cells]
        print(f"| {row} | {' | '.join(texts)} |", flush=True)


def remembered(folder: Path, what: str, seed: int) -> Mapping[str, Any]:
    """Return what an archive's model says, from a folder if it is there."""
    path = folder / f"few-{what}-{seed}.npz"
    if not path.exists():
        np.savez(path, **ARCHIVES[what](seed))
    with np.load(path) as kept:
        return dict(kept)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=["spex", "made-up"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    folder = given.cache or Path(tempfile.mkdtemp(prefix="ds-"))
    for what in given.what:
        few: Scores = defaultdict(list)
        more: Scores = defaultdict(list)
        for seed in range(given.n_seeds):
            found = remembered(folder, what, seed)
            for draw in range(given.draws):
                rng = np.random.default_rng([seed, draw])
                judged(few, what, found, rng)
                asked(more, what, found, rng)
        show(f"{what}, labels a class", few)
        show(f"{what}, labels beyond {LABELS[0]} a class", more)


if __name__ == "__main__":
    main()
