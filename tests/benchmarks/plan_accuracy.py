"""Comparison of what `distspec plan` estimates with runs of two sizes, stage by stage.

    python -m tests.benchmarks.plan_accuracy [--runs FOLDER] [--sizes 500 8000]

The rates were measured on 2,000 spectra, so that both sizes differ from it by a factor of four. On a machine
that is used by others, compare CPU times of all processes. The goal is a factor of 1.5 in total. Runs that
are already in the folder are not repeated.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from distspec.pipeline.machines import parse_machines
from distspec.pipeline.planning import ResourcePlan, StagePlan, plan_resources
from distspec.pipeline.rates import DEFAULT_RATES_PATH, ResourceRates
from distspec.pipeline.recipes import demo
from tests.benchmarks.rate_measurement import N_CPUS, load_or_run
from tests.benchmarks.stage_costs import RunCost

MACHINES = f"1x{N_CPUS}cpu16gb"
HEADER = (
    "spectra",
    "stage",
    "CPU s: planned",
    "ran",
    "ran ÷ planned",
    "seconds: planned",
    "ran",
    "ran ÷ planned",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, help="folder in which runs are kept")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 8_000], help="numbers of spectra")
    parser.add_argument("--rates", type=Path, default=DEFAULT_RATES_PATH, help="file of measured rates")
    args = parser.parse_args()
    rates = ResourceRates.read(args.rates)
    print(f"| {' | '.join(HEADER)} |\n|---:|---|{'---:|' * (len(HEADER) - 2)}")
    with tempfile.TemporaryDirectory(prefix="ds-") as temporary:
        folder = (args.runs or Path(temporary)).absolute()
        for n in args.sizes:
            cost = load_or_run(folder, n)
            plan = plan_resources(demo(str(folder / "planned")), n, parse_machines(MACHINES), rates)
            for row in table_rows(n, plan, cost):
                print(f"| {' | '.join(row)} |")
            print(f"load {cost.load:.1f}; {format_sizes(plan, cost)}")


def table_rows(n: int, plan: ResourcePlan, cost: RunCost) -> list[tuple[str, ...]]:
    """Return a row for each stage, and one for all stages together."""
    rows: list[tuple[str, ...]] = []
    total = [0.0] * 4
    for stage in plan.stages:
        measured = cost.stages[stage.name]
        values = [
            planned_cpu_seconds(stage),
            measured.driver_seconds + measured.worker_seconds,
            stage.wall_seconds,
            measured.seconds,
        ]
        total = [a + b for a, b in zip(total, values, strict=True)]
        rows.append(format_row(n, stage.name, values))
    return [*rows, format_row(n, "all", total)]


def planned_cpu_seconds(stage: StagePlan) -> float:
    """Return the planned CPU time of all processes [s]."""
    return (
        stage.driver_startup_seconds
        + stage.worker_startup_seconds * stage.n_busy_workers
        + stage.driver_seconds
        + stage.worker_seconds
    )


def format_row(n: int, name: str, values: list[float]) -> tuple[str, ...]:
    """Format planned and measured CPU time, and planned and measured duration [s]."""
    planned_cpu, cpu, planned, seconds = values
    return (
        f"{n:,}",
        name,
        f"{planned_cpu:.1f}",
        f"{cpu:.1f}",
        f"{cpu / planned_cpu:.2f}",
        f"{planned:.1f}",
        f"{seconds:.1f}",
        f"{seconds / planned:.2f}",
    )


def format_sizes(plan: ResourcePlan, cost: RunCost) -> str:
    """Format the measured size of each folder divided by the planned size."""
    ratios = {name: cost.folder_bytes[name] / size for name, size in plan.storage_bytes.items()}
    return "size ÷ planned: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())


if __name__ == "__main__":
    main()
