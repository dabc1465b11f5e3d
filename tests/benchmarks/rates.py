"""Take the rates that `distspec plan` reckons with, and write them to distspec/rates.json.

    python -m tests.benchmarks.rates [--runs FOLDER] [--to FILE]

Recipe `demo` is run on 2,000 made-up spectra on a Ray of two CPUs; what is done to a spectrum is then timed
in one process on those (`pieces`), training by what it took there. A run of 120 spectra tells what stages
take whatever the size. All in CPU seconds, which hardly know who else is at work. Runs that are in the folder
are not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import cpu_model, first_run
from tests.benchmarks.stage_costs import ENVIRONMENT, afresh

os.environ.update(ENVIRONMENT)

TINY, SIZE, CPUS = 120, 2_000, 2
TO = Path(__file__).parents[2] / "distspec" / "pipeline" / "rates.json"
GPU = {
    "seconds_per_step": 17.7e-3,
    "seconds_per_spectrum": 3.4e-7,
    "machine": "one NVIDIA H100: 42 epochs of 28 steps of recipe demo in 21 s; the rate per spectrum is that of "
    "the plain model, scaled by the ratio of their steps",
}
"""Seconds of a step, and of a spectrum in it: not taken here, which has no GPU."""
TRAINERS = ("RayTrainWorker", "RayTrainWorker.run_train_fn")


def made(folder: Path, n: int) -> Mapping[str, Any]:
    """Return what a run cost, made now unless it is there."""
    kept = folder / f"{n}.json"
    if not kept.exists() or not kept.read_text().strip():
        kept.write_text(json.dumps(afresh(n, CPUS, str(folder / f"r{n}"))))
    return json.loads(kept.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=None)
    parser.add_argument("--to", type=Path, default=TO)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ds-") as temporary:
        folder = (given.runs or Path(temporary)).make_absolute_url()
        whole, tiny = made(folder, SIZE), made(folder, TINY)
        found = rates(str(folder / f"r{SIZE}"), tiny, whole)
    given.to.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def rates(root: str, tiny: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """Put together what runs and pieces say."""
    from distspec.pipeline.machines import parse_machines
    from distspec.pipeline.planning import plan_resources
    from distspec.pipeline.rates import ResourceRates
    from distspec.pipeline.recipes import parse
    from tests.benchmarks.stage_parts import MANY, building, of_spectra, of_sweep

    config = parse(["demo", "--root", root, "--synthetic.n-spectra", str(SIZE)])
    run = first_run(root)
    unit, sweep = of_spectra(config, run), of_sweep(config, run)
    small = root.removesuffix(str(SIZE)) + str(TINY)
    less = building(parse(["demo", "--root", small, "--synthetic.n-spectra", str(TINY)]), first_run(small))
    build = max(building(config, run) - less, 0.0) / (SIZE - TINY)
    unit["train"] = _trained(tiny, whole)
    unit["catalog"] = build + unit.pop("write")
    unit["report"] = _more(tiny, whole, "report", "driver")
    row = unit.pop("row_bytes")
    trials = whole["stages"]["cluster"]["counts"]["trials"]
    judged = _more(tiny, whole, "cluster", "driver") * (SIZE - TINY) - sweep["consensus"]
    sweep["select"] = max(judged, 0.0) / (trials * (SIZE - TINY))
    kept = {
        name: {"fixed": size - TINY * more, "per_spectrum": more}
        for name, size in tiny["bytes"].items()
        for more in [max(whole["bytes"][name] - size, 0) / (SIZE - TINY)]
    }
    clustering = config.clustering
    taken = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{cpu_model()}, {CPUS} of {os.cpu_count()} CPUs",
        "versions": {name: version(name) for name in ("numpy", "torch", "scikit-learn", "umap-learn", "ray")},
        "recipe": config.recipe,
        "n_spectra": SIZE,
        "n_spectra_small": TINY,
        "n_pixels": config.grid.n_pixels,
        "n_seeds": clustering.n_seeds,
        "resample_fraction": clustering.resample_fraction,
        "n_init": clustering.n_init,
        "n_catalog_rows": MANY,
        "load_average": [round(each["load"], 1) for each in (whole, tiny)],
        "command": "python -m tests.benchmarks.rates",
    }
    none = {stage: {"driver": 0.0, "worker": 0.0} for stage in whole["stages"]}
    found = {
        "benchmark": taken,
        "startup_seconds": none,
        "seconds_per_spectrum": unit,
        "sweep": sweep,
        "folder_bytes": kept,
        "catalog_row_bytes": row,
        "gpu": GPU,
    }
    before = plan_resources(config, TINY, parse_machines(f"1x{CPUS}cpu32gb"), ResourceRates.from_json(found))
    found["startup_seconds"] = {
        stage.name: {
            "driver": max(there["driver"] - stage.driver_seconds, 0.0),
            "worker": max(there["workers"] - stage.worker_seconds, 0.0)
            / max(1, min(stage.n_tasks, stage.max_concurrency)),
        }
        for stage in before.stages
        for there in [tiny["stages"][stage.name]]
    }
    return found


def _trained(tiny: Mapping[str, Any], whole: Mapping[str, Any]) -> float:
    """Return seconds of training a spectrum an epoch, of all spectra, those held out among them."""
    stages = [each["stages"]["train"] for each in (tiny, whole)]
    used = [sum(stage["cpu"].get(title, 0.0) for title in TRAINERS) for stage in stages]
    seen = [
        stage["counts"]["n_epochs"] * each["spectra"] for stage, each in zip(stages, (tiny, whole), strict=True)
    ]
    return (used[1] - used[0]) / (seen[1] - seen[0])


def _more(tiny: Mapping[str, Any], whole: Mapping[str, Any], stage: str, who: str) -> float:
    """Return what a stage took more of a spectrum that there were more."""
    few, many = (each["stages"][stage][who] for each in (tiny, whole))
    return max(many - few, 0.0) / (SIZE - TINY)


if __name__ == "__main__":
    main()
