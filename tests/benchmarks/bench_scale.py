"""Does labelling scale? Made-up latents in 16-D, 10^5 and 10^6 rows, from the sample to a label for each.

The sweep is small: mixtures (tied, k = 5–7) and k-means in the latents, three repeats of one start, fitted
to 5,000 rows, without nulls; all rows are placed on a map of the sample, too. Each size runs in a fresh
process on a Ray of two CPUs, which prints what it took. Goals: ten times the rows take at most 12 times as
long, within 8 GiB. Beside them what the forecast before the sweep said, over what it took; then two actors
against one, ready beforehand, for algorithms that are not batched.
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
from sklearn.metrics import adjusted_rand_score

from distspec.clustering.config import ClusteringConfig
from distspec.clustering.cost import get_memory_usage
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.plan import build_algorithm_grid, plan_jobs
from distspec.clustering.trials import limit_rows
from distspec.stages.cluster import cluster_spectra
from distspec.stages.sweep import SweepRunner
from tests.benchmarks.archive import fresh_roots, local_ray
from tests.benchmarks.timing import Row

FEW, MANY, N_CLASSES, N_LATENTS = 100_000, 1_000_000, 6, 16
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
ALGORITHMS = {
    "kmeans": 20_000,
    "bgmm": 2_000,
    "dbscan": 5_000,
    "hdbscan": 4_000,
    "optics": 1_000,
    "hierarchy": 4_000,
}
"""Points that each is given."""
REPEATS, PAIRS, EVERY = 12, 2, 0.2


def run() -> list[Row]:
    few, many = (_afresh(n) for n in (FEW, MANY))
    found: list[Row] = []
    for name, what in (("seconds", "rows labelled"), ("CPU", "rows, CPU of all processes")):
        more, fewer = (Row(f"{n:,} {what}", "s", (each[name],)) for n, each in ((MANY, many), (FEW, few)))
        found += [more.run_null_test(fewer), fewer]
    for n, each in ((MANY, many), (FEW, few)):
        found += [
            Row(f"{n:,} rows, {name}", unit, (each[name],))
            for name, unit in (
                ("of all processes", "MB"),
                ("driver", "MB"),
                ("actor", "MB"),
                ("ARI to the truth", ""),
                ("forecast ÷ seconds of the sweep", ""),
                ("forecast ÷ memory of an actor", ""),
                ("forecast ÷ memory of the driver", ""),
            )
        ]
    return [*found, *_two_actors()]


def sample_of(n: int) -> tuple[ClusteringInputs, np.ndarray]:
    """Return classes of unlike shares in 16 latents, and which each row is of."""
    rng = np.random.default_rng(0)
    truth = rng.choice(N_CLASSES, n, p=rng.dirichlet(np.full(N_CLASSES, 3.0)))
    centres = 4.0 * np.eye(N_LATENTS, dtype=np.float32)[:N_CLASSES]
    latents = rng.standard_normal((n, N_LATENTS), np.float32)
    latents += centres[truth]
    return ClusteringInputs(latents, np.zeros((n, 0), np.float32)), truth


class Watch(threading.Thread):
    """Adds up what this process and all that it has started hold, what they share once, and CPU time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.n_done = 0.0, threading.Event()
        self.cpu: dict[int, float] = {}

    def run(self) -> None:
        while not self.n_done.wait(EVERY):
            me = psutil.Process()
            held, shared = 0.0, 0.0
            for each in [me, *me.children(recursive=True)]:
                try:
                    info = each.memory_info()
                    self.cpu[each.pid] = sum(each.cpu_times()[:2])
                except psutil.NoSuchProcess:
                    continue
                held += info.rss - info.shared
                shared = max(shared, info.shared)
            self.peak = max(self.peak, (held + shared) / 1e6)


def main(n: int) -> None:
    """Label `n` rows, and print what it took as JSON."""
    sample, truth = sample_of(n)
    watch = Watch()
    watch.start()
    with local_ray(cpus=2), tempfile.TemporaryDirectory(prefix="ds-") as folder:
        start = time.monotonic()
        found = cluster_spectra([sample], CONFIG, 0, folder)
        took = time.monotonic() - start
        used = sum(watch.cpu.values())
    watch.n_done.set()
    expected, real = found.sweep.expected_cost, found.actual_cost
    said = {
        "seconds": took,
        "CPU": used,
        "of all processes": watch.peak,
        "driver": get_memory_usage().peak_mb,
        "actor": real.actor_mb,
        "ARI to the truth": float(adjusted_rand_score(truth[::10], found.assignment.labels[::10])),
        "forecast ÷ seconds of the sweep": expected.seconds / real.seconds,
        "forecast ÷ memory of an actor": expected.actor_mb / real.actor_mb,
        "forecast ÷ memory of the driver": expected.driver_mb / real.driver_mb,
    }
    print(json.dumps(said))


def _afresh(n: int) -> Mapping[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_scale", str(n)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _two_actors() -> list[Row]:
    """Return how much faster two are, and how much of the time both were at work, whoever else was, too."""
    rows: list[Row] = []
    with local_ray(cpus=2), fresh_roots() as root:
        for algorithm, n in ALGORITHMS.items():
            config = ClusteringConfig(
                spaces=("latents",), algorithms=(algorithm,), k_min=8, k_max=8, n_seeds=REPEATS
            )
            sample, _ = sample_of(n)
            tried, most = build_algorithm_grid(config, n)[0][:1], limit_rows(config, n, 4e9)[0]
            jobs = plan_jobs(config, tried, 0)
            times: dict[int, list[float]] = {1: [], 2: []}
            busy: list[float] = []
            for n_actors in (1, 2) * PAIRS:
                with SweepRunner([sample], replace(config, n_actors=n_actors), most, 0, root()) as sweep:
                    sweep.warm_up(N_LATENTS, tried)
                    start = time.perf_counter()
                    made = sweep.run_jobs(jobs)
                    times[n_actors].append(time.perf_counter() - start)
                if n_actors == 2:
                    busy.append(sum(each.seconds for each in made) / 2 / times[2][-1])
            what = f"{algorithm}, {n:,} points × {REPEATS}"
            one, two = (
                Row(f"{what}, {w}", "s", tuple(times[n])) for n, w in ((1, "one actor"), (2, "two actors"))
            )
            rows += [one.run_null_test(two), Row(f"{what}, busy share of two actors", "", tuple(busy))]
    return rows


if __name__ == "__main__":
    main(int(sys.argv[1]))
