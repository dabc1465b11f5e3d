"""Measurement of the rates from which `distspec plan` computes, on two runs of recipe `demo`."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from distspec.pipeline.config import Config
from distspec.pipeline.machines import parse_machines
from distspec.pipeline.planning import plan_resources
from distspec.pipeline.rates import Benchmark, FolderBytes, GpuRates, ResourceRates, StartupSeconds
from distspec.pipeline.recipes import parse
from tests.benchmarks.machine import cpu_model
from tests.benchmarks.stage_costs import RunCost, run_in_new_process
from tests.benchmarks.stage_parts import N_CATALOG_ROWS, PublishedRun

N_SMALL, N_LARGE, N_CPUS = 120, 2_000, 2
"""Numbers of spectra of both runs, and of Ray's CPUs."""
TRAINING_PROCESSES = ("_train_in_task", "RayTrainWorker", "RayTrainWorker.run_train_fn")


def run_root(folder: Path, n: int) -> str:
    """Return the root of the run with `n` spectra."""
    return str(folder / f"r{n}")


def load_or_run(folder: Path, n: int) -> RunCost:
    """Return the cost of a run, which is made if the folder does not have it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{n}.json"
    if not path.exists() or not path.read_text().strip():
        path.write_text(json.dumps(run_in_new_process(n, N_CPUS, run_root(folder, n)).to_json()))
    return RunCost.from_json(json.loads(path.read_text()))


def measure_rates(folder: Path) -> ResourceRates:
    """Return all rates, from the costs of two runs in a folder and from timings on their roots."""
    large, small = load_or_run(folder, N_LARGE), load_or_run(folder, N_SMALL)
    runs = [PublishedRun.open(_make_config(run_root(folder, n), n)) for n in (N_SMALL, N_LARGE)]
    operations, sweep = runs[1].time_operations(), runs[1].time_sweep()
    small_build, large_build = (run.time_table_building() for run in runs)
    build = max(large_build - small_build, 0.0) / (N_LARGE - N_SMALL)
    selection = _driver_slope(small, large, "cluster") * (N_LARGE - N_SMALL) - sweep.consensus
    n_trials = int(large.stages["cluster"].summary["trials"])
    rates = ResourceRates(
        benchmark=_describe_benchmark(runs[1].config, small, large),
        startup_seconds={stage: StartupSeconds(0.0, 0.0) for stage in large.stages},
        seconds_per_spectrum={
            **operations.seconds_per_spectrum,
            "train": _training_seconds(small, large),
            "catalog": build + operations.writing_seconds,
            "report": _driver_slope(small, large, "report"),
        },
        sweep=replace(sweep, select=max(selection, 0.0) / (n_trials * (N_LARGE - N_SMALL))),
        folder_bytes=_folder_bytes(small, large),
        catalog_row_bytes=operations.catalog_row_bytes,
        gpu=_gpu_rates(),
    )
    return replace(rates, startup_seconds=_startup_seconds(runs[1].config, small, rates))


def _make_config(root: str, n: int) -> Config:
    return parse(["demo", "--root", root, "--simulation.n-spectra", str(n)])


def _gpu_rates() -> GpuRates:
    """Return the rates of a GPU, which are not measured here."""
    return GpuRates(
        seconds_per_step=17.7e-3,
        seconds_per_spectrum=3.4e-7,
        machine="one NVIDIA H100: 42 epochs of 28 steps of recipe demo in 21 s; the rate per spectrum is "
        "that of the plain model, scaled by the ratio of their steps",
    )


def _describe_benchmark(config: Config, small: RunCost, large: RunCost) -> Benchmark:
    packages = ("numpy", "torch", "scikit-learn", "umap-learn", "ray")
    clustering = config.clustering
    return Benchmark(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=f"{cpu_model()}, {N_CPUS} of {os.cpu_count()} CPUs",
        command="python -m tests.benchmarks.rates",
        versions={name: version(name) for name in packages},
        load_average=(round(large.load, 1), round(small.load, 1)),
        recipe=config.recipe,
        n_spectra=N_LARGE,
        n_spectra_small=N_SMALL,
        n_pixels=config.grid.n_pixels,
        n_seeds=clustering.n_seeds,
        n_init=clustering.n_init,
        resample_fraction=clustering.resample_fraction,
        n_catalog_rows=N_CATALOG_ROWS,
    )


def _folder_bytes(small: RunCost, large: RunCost) -> dict[str, FolderBytes]:
    """Return the size of each folder as a function of the number of spectra."""
    sizes: dict[str, FolderBytes] = {}
    for name, size in small.folder_bytes.items():
        per_spectrum = max(large.folder_bytes[name] - size, 0) / (N_LARGE - N_SMALL)
        sizes[name] = FolderBytes(size - N_SMALL * per_spectrum, per_spectrum)
    return sizes


def _startup_seconds(config: Config, small: RunCost, rates: ResourceRates) -> dict[str, StartupSeconds]:
    """Return what the small run took beyond the time that the rates, without startup, give for its size."""
    plan = plan_resources(config, N_SMALL, parse_machines(f"1x{N_CPUS}cpu32gb"), rates)
    startup: dict[str, StartupSeconds] = {}
    for stage in plan.stages:
        cost = small.stages[stage.name]
        startup[stage.name] = StartupSeconds(
            max(cost.driver_seconds - stage.driver_seconds, 0.0),
            max(cost.worker_seconds - stage.worker_seconds, 0.0) / stage.n_busy_workers,
        )
    return startup


def _training_seconds(small: RunCost, large: RunCost) -> float:
    """Return the CPU time of an epoch per spectrum, of all spectra, held-out ones included [s]."""
    costs = [(cost.stages["train"], cost.n_spectra) for cost in (small, large)]
    seconds = [sum(stage.cpu_seconds.get(name, 0.0) for name in TRAINING_PROCESSES) for stage, _ in costs]
    n_trained = [int(stage.summary["n_epochs"]) * n for stage, n in costs]
    return (seconds[1] - seconds[0]) / (n_trained[1] - n_trained[0])


def _driver_slope(small: RunCost, large: RunCost, stage: str) -> float:
    """Return by how much the driver's CPU time in a stage grows with each spectrum [s]."""
    increase = large.stages[stage].driver_seconds - small.stages[stage].driver_seconds
    return max(increase, 0.0) / (N_LARGE - N_SMALL)
