"""Clustering of 10^5 and 10^6 simulated latents in 16 dimensions, from the sample to a class for each row.

The sweep is small: mixtures (tied, k = 5–7) and k-means on latents, three ensemble members with one
initialization, fitted to 5,000 rows, without null tests; all rows also get a position on the map of the
sample. Each size runs in a new process on Ray with two CPUs. Goals: ten times the rows take at most 12 times
as long, within 8 GiB. Other rows give the forecast before the sweep divided by the measured values, and the
time of one actor divided by that of two, both started before, for algorithms that are not fitted in batches.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import psutil
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from distspec.clustering.config import ClusteringConfig
from distspec.clustering.cost import get_memory_usage
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.plan import build_algorithm_grid, plan_jobs
from distspec.clustering.trials import limit_rows
from distspec.stages.cluster import cluster_spectra
from distspec.stages.sweep_runner import SweepRunner
from tests.benchmarks.archive import local_ray, new_roots
from tests.benchmarks.timing import Row

N_FEW, N_MANY, N_CLASSES, N_LATENTS = 100_000, 1_000_000, 6, 16
CONFIG = ClusteringConfig(
    selection_rule="consensus",
    spaces=("latents",),
    algorithms=("gmm", "kmeans"),
    covariance_types=("tied",),
    k_min=5,
    k_max=7,
    n_seeds=3,
    resample_fraction=0.8,
    sample_size=5_000,
    silhouette_sample_size=3_000,
)
N_POINTS_BY_ALGORITHM = {
    "kmeans": 20_000,
    "bgmm": 2_000,
    "dbscan": 5_000,
    "hdbscan": 4_000,
    "optics": 1_000,
    "hierarchy": 4_000,
}
N_MEMBERS, N_PAIRS, INTERVAL_SECONDS = 12, 2, 0.2
ACTOR_MEMORY = 4e9
UNITS = {
    "memory of all processes": "MB",
    "memory of the driver": "MB",
    "memory of an actor": "MB",
    "ARI with the true classes": "",
    "forecast ÷ time of the sweep": "",
    "forecast ÷ memory of an actor": "",
    "forecast ÷ memory of the driver": "",
}


def run() -> list[Row]:
    few, many = (_measure_in_new_process(n) for n in (N_FEW, N_MANY))
    rows: list[Row] = []
    for key, name in (("seconds", "rows clustered"), ("cpu_seconds", "rows, CPU time of all processes")):
        large, small = (
            Row(f"{n:,} {name}", "s", (values[key],)) for n, values in ((N_MANY, many), (N_FEW, few))
        )
        rows += [large.relative_to(small), small]
    rows += [
        Row(f"{n:,} rows, {name}", unit, (values[name],))
        for n, values in ((N_MANY, many), (N_FEW, few))
        for name, unit in UNITS.items()
    ]
    return [*rows, *_compare_actors()]


def make_inputs(n: int) -> tuple[ClusteringInputs, NDArray[np.int64]]:
    """Return classes of different sizes in 16 latents, and the class of each row."""
    rng = np.random.default_rng(0)
    truth = rng.choice(N_CLASSES, n, p=rng.dirichlet(np.full(N_CLASSES, 3.0)))
    centers = 4.0 * np.eye(N_LATENTS, dtype=np.float32)[:N_CLASSES]
    latents = rng.standard_normal((n, N_LATENTS), np.float32)
    latents += centers[truth]
    return ClusteringInputs(latents, np.zeros((n, 0), np.float32)), truth


class ProcessMonitor(threading.Thread):
    """Measures CPU time and memory, shared pages once, of this process and all that it started."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mb, self.stopped = 0.0, threading.Event()
        self.seconds_by_pid: dict[int, float] = {}

    def run(self) -> None:
        while not self.stopped.wait(INTERVAL_SECONDS):
            this_process = psutil.Process()
            private, shared = 0.0, 0.0
            for process in [this_process, *this_process.children(recursive=True)]:
                try:
                    memory = process.memory_info()
                    self.seconds_by_pid[process.pid] = sum(process.cpu_times()[:2])
                except psutil.NoSuchProcess:
                    continue
                private += memory.rss - memory.shared
                shared = max(shared, memory.shared)
            self.peak_mb = max(self.peak_mb, (private + shared) / 1e6)


def main(n: int) -> None:
    """Cluster `n` rows, and print the measurements as JSON."""
    inputs, truth = make_inputs(n)
    monitor = ProcessMonitor()
    monitor.start()
    with local_ray(cpus=2), tempfile.TemporaryDirectory(prefix="ds-") as folder:
        start = time.monotonic()
        result = cluster_spectra([inputs], CONFIG, 0, folder)
        seconds = time.monotonic() - start
        cpu_seconds = sum(monitor.seconds_by_pid.values())
    monitor.stopped.set()
    expected, actual = result.sweep.expected_cost, result.actual_cost
    measurements = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "memory of all processes": monitor.peak_mb,
        "memory of the driver": get_memory_usage().peak_mb,
        "memory of an actor": actual.actor_mb,
        "ARI with the true classes": float(adjusted_rand_score(truth[::10], result.assignment.labels[::10])),
        "forecast ÷ time of the sweep": expected.seconds / actual.seconds,
        "forecast ÷ memory of an actor": expected.actor_mb / actual.actor_mb,
        "forecast ÷ memory of the driver": expected.driver_mb / actual.driver_mb,
    }
    print(json.dumps(measurements))


def _measure_in_new_process(n: int) -> Mapping[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_scale", str(n)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _compare_actors() -> list[Row]:
    """Return the time of one actor relative to two, and the fraction of the time in which both were busy."""
    rows: list[Row] = []
    with local_ray(cpus=2), new_roots() as new_root:
        for algorithm, n in N_POINTS_BY_ALGORITHM.items():
            config = ClusteringConfig(
                spaces=("latents",), algorithms=(algorithm,), k_min=8, k_max=8, n_seeds=N_MEMBERS
            )
            inputs, _ = make_inputs(n)
            specs, max_rows = build_algorithm_grid(config, n)[0][:1], limit_rows(config, n, ACTOR_MEMORY)[0]
            jobs = plan_jobs(config, specs, 0)
            seconds: dict[int, list[float]] = {1: [], 2: []}
            busy: list[float] = []
            for n_actors in (1, 2) * N_PAIRS:
                config_of_pair = replace(config, n_actors=n_actors)
                with SweepRunner([inputs], config_of_pair, max_rows, 0, new_root()) as runner:
                    runner.warm_up(N_LATENTS, specs)
                    start = time.perf_counter()
                    results = runner.run_jobs(jobs)
                    seconds[n_actors].append(time.perf_counter() - start)
                if n_actors == 2:
                    busy.append(sum(result.seconds for result in results) / 2 / seconds[2][-1])
            name = f"{algorithm}, {n:,} points × {N_MEMBERS}"
            one, two = (
                Row(f"{name}, {title}", "s", tuple(seconds[k]))
                for k, title in ((1, "one actor"), (2, "two actors"))
            )
            rows += [one.relative_to(two), Row(f"{name}, busy fraction of two actors", "", tuple(busy))]
    return rows


if __name__ == "__main__":
    main(int(sys.argv[1]))
