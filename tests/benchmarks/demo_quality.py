"""How well recipe `demo` finds what is known to be there: several seeds, each beside its null.

``python -m tests.benchmarks.demo_quality [SEEDS]`` runs the whole demo once a seed (archive, weights, map
and sweep all differ) in a temporary folder: about two minutes a seed on two cores.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace

from distspec import catalog
from distspec.config import demo
from distspec.evidence import score_against
from distspec.pipeline import STAGES, run_stages


def main(n_seeds: int) -> None:
    """Print mean ± standard deviation over seeds of each score, and the mean of its null."""
    values: dict[str, list[float]] = defaultdict(list)
    nulls: dict[str, list[float]] = defaultdict(list)
    for seed in range(n_seeds):
        with tempfile.TemporaryDirectory(prefix="distspec-") as root:
            config = demo(root)
            config = replace(config, seed=seed, synthetic=replace(config.synthetic, seed=seed)).located()
            run_stages(config, list(STAGES))
            tables = catalog.open_tables(root)
            objects, sweep = tables["objects"].to_table(), tables["sweep"].to_table()
            scores = score_against(objects, config.archive.truth(), seed)
        for row in scores["labels"]:
            values[row["measure"]].append(row["value"])
            nulls[row["measure"]].append(row["null_p95"])
        for row in scores["oddities"]:
            values[f"recall of oddities, {row['selected']}"].append(row["recall"])
            nulls[f"recall of oddities, {row['selected']}"].append(row["null"])
        values["silhouette"].append(max(sweep["silhouette"].to_pylist()))
        values["median reconstruction error"].append(statistics.median(objects["recon_mse"].to_pylist()))
        values["median χ² a pixel"].append(statistics.median(objects["recon_chi2_red"].to_pylist()))
    for name, found in values.items():
        spread = statistics.stdev(found) if len(found) > 1 else float("nan")
        null = f"   null {statistics.mean(nulls[name]):.3f}" if nulls[name] else ""
        print(
            f"{name:32s} {statistics.mean(found):.3f} ± {spread:.3f}{null}   {[round(x, 3) for x in found]}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
