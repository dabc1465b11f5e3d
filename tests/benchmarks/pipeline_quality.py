"""Agreement of classes and anomalies with the truth, for runs of the whole pipeline with several seeds.

    python -m tests.benchmarks.pipeline_quality [demo|spex] [--seeds N] [--first-seed N] [FLAG …]

runs the pipeline once for each seed in a temporary folder, with further flags of the pipeline. Recipe `demo`
simulates another archive for each seed; for `spex` the real stars are the same, and the seed changes initial
weights, maps and sweep. Each score is printed beside that of its null. Repeats are the first two spectra of
each source that was observed more than once; the null permutes the classes of the spectra. The ceiling of
recipe `demo` is the ARI of the features of the ordinary galaxies without noise, clustered in the same way.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pyarrow as pa
from sklearn.metrics import adjusted_rand_score

from distspec.archives.simulated.archive import draw_survey_galaxies, simulate_galaxy_flux
from distspec.archives.simulated.survey import plan_survey
from distspec.catalog import editions
from distspec.catalog.run_record import SelectionRecord, read_run_record
from distspec.core.arrow import pc
from distspec.io.paths import run_url
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import parse
from distspec.pipeline.runner import STAGES, find_run, run_stages
from distspec.report.truth import TruthScores, score_against_truth
from tests.benchmarks.classes import cluster_inputs, make_ceiling_inputs
from tests.benchmarks.quality import score_repeats
from tests.benchmarks.survey import select_files, simulate_noise_free
from tests.conftest import DATA


@dataclass(frozen=True)
class PipelineRun:
    """Published tables of a run, its scores against the truth, and its selected clustering."""

    objects: pa.Table
    sweep: pa.Table
    scores: TruthScores | None
    selection: SelectionRecord


def make_config(recipe: str, root: str, seed: int, flags: Sequence[str]) -> Config:
    """Return the settings of a recipe for a seed."""
    archive_flags = {
        "demo": ["--simulation.seed", str(seed)],
        "spex": ["--archive.url", str(DATA / "spex")],
    }[recipe]
    return parse([recipe, "--root", root, "--seed", str(seed), *archive_flags, *flags])


def run_pipeline(recipe: str, seed: int, flags: Sequence[str]) -> PipelineRun:
    """Run the pipeline in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="distspec-") as root:
        config = make_config(recipe, root, seed, flags)
        run_stages(config, list(STAGES))
        tables = editions.open_tables(root)
        objects, sweep = tables["objects"].to_table(), tables["sweep"].to_table()
        scores = score_against_truth(objects, config.archive.read_truth(), seed)
        return PipelineRun(
            objects, sweep, scores, read_run_record(run_url(root, find_run(config)[1])).clustering
        )


def collect_scores(
    run: PipelineRun, values: dict[str, list[float]], null_values: dict[str, list[float]]
) -> None:
    """Add the scores of a run, and those of their nulls."""
    for score in run.scores.labels if run.scores else ():
        values[score.metric].append(score.value)
        null_values[score.metric].append(score.null_p95)
    for recall in run.scores.anomalies if run.scores else ():
        name = f"recall of anomalies, {recall.selected}"
        values[name].append(recall.recall)
        null_values[name].append(recall.null_recall)
    objects = run.objects
    is_core = objects["cluster_stability"].to_numpy() >= run.selection.min_core_stability
    for title, is_used in (("repeats", np.ones(len(objects), bool)), ("repeats, both core", is_core)):
        repeats = score_repeats(
            objects["cluster_label"].to_numpy(), objects["source_id"].to_pylist(), is_used
        )
        values[f"{title}: pairs"].append(repeats.n_pairs)
        values[f"{title}: in one class"].append(repeats.in_one_class)
        null_values[f"{title}: in one class"].append(repeats.by_chance)
    values["silhouette"].append(pc.max(run.sweep["silhouette"]).as_py())
    values["median reconstruction error"].append(statistics.median(objects["recon_mse"].to_pylist()))
    values["median χ² per pixel"].append(statistics.median(objects["recon_chi2_red"].to_pylist()))
    values["core fraction"].append(run.selection.core_fraction)


def compute_ceiling(config: Config) -> float:
    """Return the ARI to the true classes of the ordinary galaxies of a simulated archive without noise."""
    simulation = config.simulation
    assert simulation is not None, "the ceiling needs a simulated archive"
    table = select_files(plan_survey(simulation))
    table = table.filter(pc.field("anomaly_type") == "")
    galaxies = draw_survey_galaxies(simulation, table.to_pylist())
    grid = config.grid.resolve(np.array([NIRSPEC_PRISM_MEASUREMENTS.reference_redshift]))
    flux = simulate_noise_free(lambda z: simulate_galaxy_flux(galaxies, z), len(table), grid, config.norm)
    clustering = replace(config.clustering, n_models=1, spaces=("features",))
    truth = np.array(table["truth_class"].to_pylist())
    run = cluster_inputs([make_ceiling_inputs(flux, grid)], clustering, config.seed, truth)
    return float(adjusted_rand_score(truth, run.labels))


def compare_runs(runs: Sequence[PipelineRun]) -> list[float]:
    """Return the ARI of each pair of runs; none if their spectra differ."""
    labels = [
        dict(zip(*(run.objects[name].to_pylist() for name in ("object_id", "cluster_label")), strict=True))
        for run in runs
    ]
    if any(each.keys() != labels[0].keys() for each in labels):
        return []
    arrays = [np.array([each[object_id] for object_id in sorted(each)]) for each in labels]
    return [float(adjusted_rand_score(a, b)) for a, b in combinations(arrays, 2)]


def main() -> None:
    """Print mean ± standard deviation over seeds of each score, and the mean of its null."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", nargs="?", choices=("demo", "spex"), default="demo")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    args, flags = parser.parse_known_args()
    values: dict[str, list[float]] = defaultdict(list)
    null_values: dict[str, list[float]] = defaultdict(list)
    runs: list[PipelineRun] = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        run = run_pipeline(args.recipe, seed, flags)
        selection = run.selection
        print(
            f"{seed} {selection.setting}; beats null: {selection.beats_null}; {selection.reason}", flush=True
        )
        collect_scores(run, values, null_values)
        if args.recipe == "demo":
            values["ceiling of ARI"].append(compute_ceiling(make_config(args.recipe, "unused", seed, flags)))
        runs.append(run)
    if agreement := compare_runs(runs):
        values["ARI of reruns"] = agreement
    for name, scores in values.items():
        spread = statistics.stdev(scores) if len(scores) > 1 else float("nan")
        null = f"   null {statistics.mean(null_values[name]):.3f}" if null_values[name] else ""
        rounded = [round(score, 3) for score in scores]
        print(f"{name:32s} {statistics.mean(scores):.3f} ± {spread:.3f}{null}   {rounded}")


if __name__ == "__main__":
    main()
