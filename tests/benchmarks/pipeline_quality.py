"""How well a recipe finds what is known to be there, end to end: several seeds, each beside its null.

``python -m tests.benchmarks.pipeline_quality [demo|spex] [--seeds N] [FLAG …]`` runs the whole pipeline once
a seed in a temporary folder, with any of the pipeline's own flags. Recipe `demo` makes an archive of its own
for each seed; of `spex` the real stars are the same, and weights, maps and sweep differ.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from sklearn.metrics import adjusted_rand_score

from distspec.catalog import editions
from distspec.catalog.run_record import read_run_record
from distspec.core.arrow import pc
from distspec.io.paths import run_url
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import parse
from distspec.pipeline.runner import STAGES, find_run, run_stages
from distspec.report.truth import score_against_truth
from tests.conftest import DATA


def settings(recipe: str, root: str, seed: int, flags: Sequence[str]) -> Config:
    """Return a recipe's settings for a seed."""
    where = {
        "demo": ["--synthetic.seed", str(seed)],
        "spex": ["--archive.url", str(DATA / "spex")],
    }[recipe]
    return parse([recipe, "--root", root, "--seed", str(seed), *where, *flags])


def main() -> None:
    """Print mean ± standard deviation over seeds of each score, and the mean of its null."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", nargs="?", choices=("demo", "spex"), default="demo")
    parser.add_argument("--seeds", type=int, default=4)
    given, flags = parser.parse_known_args()
    values: dict[str, list[float]] = defaultdict(list)
    nulls: dict[str, list[float]] = defaultdict(list)
    labels: list[dict[str, int]] = []
    for seed in range(given.n_seeds):
        with tempfile.TemporaryDirectory(prefix="distspec-") as root:
            config = settings(given.recipe, root, seed, flags)
            run_stages(config, list(STAGES))
            tables = editions.open_tables(root)
            objects, sweep = tables["objects"].to_table(), tables["sweep"].to_table()
            scores = score_against_truth(objects, config.archive.read_truth(), seed)
            selection = read_run_record(run_url(root, find_run(config)[1])).clustering
        print(f"{seed} {selection.setting}; beats null: {selection.beats_null}; {selection.reason}", flush=True)
        labels.append(
            dict(zip(*(objects[c].to_pylist() for c in ("object_id", "cluster_label")), strict=True))
        )
        for score in scores.labels if scores else ():
            values[score.metric].append(score.value)
            nulls[score.metric].append(score.null_p95)
        for recall in scores.anomalies if scores else ():
            values[f"recall of anomalies, {recall.selected}"].append(recall.recall)
            nulls[f"recall of anomalies, {recall.selected}"].append(recall.null_recall)
        values["silhouette"].append(pc.max(sweep["silhouette"]).as_py())
        values["median reconstruction error"].append(statistics.median(objects["recon_mse"].to_pylist()))
        values["median χ² a pixel"].append(statistics.median(objects["recon_chi2_red"].to_pylist()))
        values["core fraction"].append(selection.core_fraction)
    if labels[0].keys() == labels[-1].keys():  # the same spectra in each
        arrays = [np.array([each[name] for name in sorted(each)]) for each in labels]
        values["ARI of reruns"] = [adjusted_rand_score(a, b) for a, b in combinations(arrays, 2)]
    for name, found in values.items():
        spread = statistics.stdev(found) if len(found) > 1 else float("nan")
        null = f"   null {statistics.mean(nulls[name]):.3f}" if nulls[name] else ""
        mean = statistics.mean(found) if found else float("nan")
        print(f"{name:32s} {mean:.3f} ± {spread:.3f}{null}   {[round(x, 3) for x in found]}")


if __name__ == "__main__":
    main()
