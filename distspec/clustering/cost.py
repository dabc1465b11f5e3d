"""What a sweep will need: memory from how large it is, time from how long its first jobs took.

Bytes are those that stand at the same moment; each formula is held against measured peaks by
`tests/benchmarks/bench_scale.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from distspec.clustering.config import TRIALS_PER_JOB, AlgorithmSpec, ClusteringConfig, FeatureSpace
from distspec.clustering.consensus import CONSENSUS_SAMPLE_SIZE
from distspec.clustering.plan import Job

BYTES_PER_PAIR = {"hierarchy": 9.0, "dbscan": 9.0}
"""Working memory, a pair of points: of an agglomerative tree; of neighbour lists where all are neighbours."""
MAX_ROWS_BY_ALGORITHM = {"optics": 3_000}
"""Points that an algorithm is given at most, whatever the memory: it would take longer than all others."""
BYTES_PER_POINT = 1_500.0
"""Of trees, graphs and lists of neighbours, a point."""
CONSENSUS_BYTES_PER_PAIR = 12.0
"""Of a consensus's co-association and its tree, a pair of points."""
SILHOUETTE_BLOCK_ROWS = 1024
"""Of the distances that are held at a time."""
COST_SCALES_WITH_K = ("gmm", "bgmm", "kmeans")
MB = 1e6


class MemoryUsage(NamedTuple):
    """A process's memory [MB]: what it holds now, and the most that it has held."""

    current_mb: float
    peak_mb: float


def get_memory_usage() -> MemoryUsage:
    """Return this process's memory; where the system keeps no peak it is what is held now."""
    status = Path("/proc/self/status")
    now = psutil.Process().memory_info().rss / MB
    if not status.exists():
        return MemoryUsage(now, now)
    peak = float(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / MB
    return MemoryUsage(now, max(now, peak))  # the system's peak is brought up to date now and then


def get_max_rows(algorithm: str, memory_bytes: float) -> int:
    """Return how many points an algorithm can be given in so many bytes of memory, and in bearable time.

    Examples
    --------
    >>> get_max_rows("hierarchy", 0.9e9), get_max_rows("dbscan", 0.9e9), get_max_rows("optics", 1e12)
    (10000, 10000, 3000)
    """
    fits = int(np.sqrt(memory_bytes / BYTES_PER_PAIR[algorithm])) if algorithm in BYTES_PER_PAIR else 2**62
    return min(fits, MAX_ROWS_BY_ALGORITHM.get(algorithm, 2**62))


@dataclass(frozen=True)
class SweepSize:
    """What a sweep is made of.

    Attributes
    ----------
    n_spectra, n_sample : int
        Spectra, and those of them that the sweep is fitted to.
    n_dims : int
        Of the widest space that is not a map.
    n_trials_total : int
        On the spectra themselves and on structureless data.
    """

    n_spectra: int
    n_sample: int
    n_dims: int
    n_trials_total: int


def estimate_actor_bytes(
    size: SweepSize,
    config: ClusteringConfig,
    algorithm_specs: Sequence[AlgorithmSpec],
    max_rows: Mapping[str, int],
) -> float:
    """Return what an actor holds at most beside what it holds when it has nothing to do.

    Parameters
    ----------
    size : Size
    config : ClusteringConfig
    algorithm_specs : sequence of Setting
    max_rows : mapping
        Points that each algorithm is fitted to: `distspec.clustering.trials.limit_rows`.
    """
    shared = size.n_sample * size.n_dims * (4.0 + 8.0 + 8.0)
    maps = size.n_sample * BYTES_PER_POINT if "map" in config.spaces else 0.0
    return (
        shared
        + maps
        + max(
            _estimate_job_bytes(size, config, algorithm_specs, name, max_rows[name])
            for name in config.algorithms
        )
    )


def _estimate_job_bytes(
    size: SweepSize,
    config: ClusteringConfig,
    algorithm_specs: Sequence[AlgorithmSpec],
    algorithm: str,
    n_rows: int,
) -> float:
    """Return what one job holds: its fits, and either what the last of them works with or its scores."""
    settings = [each for each in algorithm_specs if each.algorithm == algorithm]
    repeats = 1 if config.resample_fraction < 1 else config.n_seeds
    n_trials = min(len(settings) * repeats, TRIALS_PER_JOB.get(algorithm, 1))
    # Null jobs hold all trials of an algorithm.
    n_trials = max(n_trials, len(settings)) if config.n_null_draws else n_trials
    k = max((each.k for each in settings), default=0) or config.k_max
    k_mean = float(np.mean([each.k or k for each in settings])) if settings else k
    fits = n_trials * (n_rows * k_mean * 8.0 + size.n_sample * 4.0)
    pairs = BYTES_PER_PAIR["hierarchy"] * n_rows**2 if algorithm == "hierarchy" else 0.0
    working = pairs + 3 * size.n_sample * k * 8.0 + n_rows * BYTES_PER_POINT * (algorithm != "gmm")
    return fits + max(working, _estimate_silhouette_bytes(size.n_sample, config, n_trials, k))


def _estimate_silhouette_bytes(n: int, config: ClusteringConfig, n_trials: int, k: int) -> float:
    n = min(n, config.silhouette_sample_size)
    n_trials = min(n_trials, 100)
    rows = min(SILHOUETTE_BLOCK_ROWS, n)
    distances = 3 * 8.0 * n * rows
    members = n_trials * k * n * (8.0 + 2.0)
    return distances + members + 3 * 8.0 * n_trials * (k + 1) * rows


def estimate_driver_bytes(size: SweepSize, config: ClusteringConfig) -> float:
    """Return what the driver holds at most beside the latents: results, consensus, what is said of all."""
    agreement = CONSENSUS_BYTES_PER_PAIR * min(size.n_sample, CONSENSUS_SAMPLE_SIZE) ** 2
    said = size.n_spectra * (4.0 * config.k_max + 20.0) * 2.0  # spans, and the same joined
    return size.n_trials_total * size.n_sample * 2.0 + max(
        agreement * (config.selection_rule == "consensus"), said
    )


@dataclass(frozen=True)
class SweepCost:
    """What a sweep takes: seconds, and the largest resident sets of an actor and of the driver [MB]."""

    seconds: float
    actor_mb: float
    driver_mb: float

    def __str__(self) -> str:
        """Say it in words."""
        return (
            f"{self.seconds:,.0f} s, at most {self.actor_mb:,.0f} MB an actor and "
            f"{self.driver_mb:,.0f} MB in the driver"
        )


class JobCategory(NamedTuple):
    """Jobs that take alike long, a trial."""

    is_null: bool
    space: FeatureSpace
    algorithm: str

    @classmethod
    def from_job(cls, job: Job) -> JobCategory:
        """Return a job's."""
        return cls(
            job.dataset.is_null, job.space._replace(umap_seed=0), job.trials[0].algorithm_spec.algorithm
        )


def count_work_units(job: Job) -> float:
    """Return how much there is to do in a job, in units that its kind shares: trials, or their clusters."""
    return float(
        sum(
            each.algorithm_spec.k
            if each.algorithm_spec.algorithm in COST_SCALES_WITH_K and each.algorithm_spec.k
            else 1
            for each in job.trials
        )
    )


def select_timing_jobs(jobs: Sequence[Job]) -> list[Job]:
    """Return the first job of each kind: they are timed, and say what the others will take."""
    found: dict[JobCategory, Job] = {}
    for job in jobs:
        found.setdefault(JobCategory.from_job(job), job)
    return list(found.values())


def estimate_seconds(
    jobs: Sequence[Job], seconds_per_unit: Mapping[JobCategory, float], n_actors: int
) -> float:
    """Return how long jobs take on so many actors, from the seconds that each kind's unit of work took.

    Parameters
    ----------
    jobs : sequence of Job
    seconds_per_unit : mapping
        Kind to seconds a unit of `work`.
    n_actors : int
    """
    each = [seconds_per_unit[JobCategory.from_job(job)] * count_work_units(job) for job in jobs]
    return max(sum(each) / n_actors, max(each, default=0.0))
