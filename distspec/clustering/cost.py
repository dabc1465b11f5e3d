"""Forecast of a sweep's memory, from its size, and of its duration, from its first jobs.

The formulas count bytes that are held at the same time; `tests/benchmarks/bench_scale.py` compares them with
measured peaks.
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
"""Working memory per pair of points: linkage of a hierarchy; neighbor lists if all points are neighbors."""
MAX_ROWS_BY_ALGORITHM = {"optics": 3_000}
"""Largest number of points that an algorithm is given, because it would take longer than all others."""
BYTES_PER_POINT = 1_500.0
"""Memory of trees, graphs and neighbor lists per point."""
CONSENSUS_BYTES_PER_PAIR = 12.0
"""Memory of a consensus's co-association and linkage per pair of points."""
SILHOUETTE_BLOCK_ROWS = 1024
"""Number of rows of the distance matrix that are held at a time."""
COST_SCALES_WITH_K = ("gmm", "bgmm", "kmeans")
"""Algorithms whose duration is proportional to the number of clusters."""
MB = 1e6


class MemoryUsage(NamedTuple):
    """Resident set of a process: its current size and its peak [MB]."""

    current_mb: float
    peak_mb: float


def get_memory_usage() -> MemoryUsage:
    """Return the memory of this process; the peak is the current size if the system does not record it."""
    status = Path("/proc/self/status")
    current = psutil.Process().memory_info().rss / MB
    if not status.exists():
        return MemoryUsage(current, current)
    peak = float(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / MB
    return MemoryUsage(current, max(current, peak))  # the kernel updates the peak with a delay


def get_max_rows(algorithm: str, memory_bytes: float) -> int:
    """Return the number of points that an algorithm can be fitted to.

    Parameters
    ----------
    algorithm : str
        Name of the algorithm.
    memory_bytes : float
        Available memory [bytes].

    Examples
    --------
    >>> get_max_rows("hierarchy", 0.9e9), get_max_rows("dbscan", 0.9e9), get_max_rows("optics", 1e12)
    (10000, 10000, 3000)
    """
    fits = int(np.sqrt(memory_bytes / BYTES_PER_PAIR[algorithm])) if algorithm in BYTES_PER_PAIR else 2**62
    return min(fits, MAX_ROWS_BY_ALGORITHM.get(algorithm, 2**62))


@dataclass(frozen=True)
class SweepSize:
    """Size of a sweep.

    Attributes
    ----------
    n_spectra, n_sample : int
        Number of spectra, and of those that the sweep is fitted to.
    n_dims : int
        Number of dimensions of the widest space that is not a map.
    n_trials_total : int
        Number of trials, those on null data included.
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
    """Return the peak memory of an actor beyond that of an idle one [bytes].

    Parameters
    ----------
    size : SweepSize
        Size of the sweep.
    config : ClusteringConfig
        Settings of the sweep.
    algorithm_specs : sequence of AlgorithmSpec
        Algorithms and parameters that are tried.
    max_rows : mapping of str to int
        Number of points by algorithm: `distspec.clustering.trials.limit_rows`.
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
    """Return the memory of a job: its fits and the larger of one fit's working memory and of the scores."""
    specs = [spec for spec in algorithm_specs if spec.algorithm == algorithm]
    n_members = 1 if config.resample_fraction < 1 else config.n_seeds
    n_trials = min(len(specs) * n_members, TRIALS_PER_JOB.get(algorithm, 1))
    # Jobs on null data hold all trials of an algorithm.
    n_trials = max(n_trials, len(specs)) if config.n_null_draws else n_trials
    k = max((spec.k for spec in specs), default=0) or config.k_max
    k_mean = float(np.mean([spec.k or k for spec in specs])) if specs else k
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
    """Return the peak memory of the driver beyond the latents [bytes]: results, consensus and assignments.

    Parameters
    ----------
    size : SweepSize
        Size of the sweep.
    config : ClusteringConfig
        Settings of the sweep.
    """
    consensus = CONSENSUS_BYTES_PER_PAIR * min(size.n_sample, CONSENSUS_SAMPLE_SIZE) ** 2
    assignments = size.n_spectra * (4.0 * config.k_max + 20.0) * 2.0  # blocks, and the same concatenated
    return size.n_trials_total * size.n_sample * 2.0 + max(
        consensus * (config.selection_rule == "consensus"), assignments
    )


@dataclass(frozen=True)
class SweepCost:
    """Duration and memory of a sweep.

    Attributes
    ----------
    seconds : float
        Wall-clock time [s].
    actor_mb, driver_mb : float
        Largest resident set of an actor and of the driver [MB].
    """

    seconds: float
    actor_mb: float
    driver_mb: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:,.0f} s, at most {self.actor_mb:,.0f} MB per actor and "
            f"{self.driver_mb:,.0f} MB in the driver"
        )


class JobCategory(NamedTuple):
    """Category of jobs whose duration per unit of work is similar."""

    is_null: bool
    space: FeatureSpace
    algorithm: str

    @classmethod
    def from_job(cls, job: Job) -> JobCategory:
        """Return the category of a job.

        Parameters
        ----------
        job : Job
            A job of the sweep.

        Returns
        -------
        JobCategory
        """
        return cls(
            job.dataset.is_null, job.space._replace(umap_seed=0), job.trials[0].algorithm_spec.algorithm
        )


def count_work_units(job: Job) -> float:
    """Return the work in a job, in units of its category: the number of trials, or of their clusters.

    Parameters
    ----------
    job : Job
        A job of the sweep.
    """
    specs = [trial.algorithm_spec for trial in job.trials]
    return float(sum(spec.k if spec.algorithm in COST_SCALES_WITH_K and spec.k else 1 for spec in specs))


def select_timing_jobs(jobs: Sequence[Job]) -> list[Job]:
    """Return the first job of each category, which is timed to forecast the others.

    Parameters
    ----------
    jobs : sequence of Job
        All jobs of the sweep.
    """
    first: dict[JobCategory, Job] = {}
    for job in jobs:
        first.setdefault(JobCategory.from_job(job), job)
    return list(first.values())


def estimate_seconds(
    jobs: Sequence[Job], seconds_per_unit: Mapping[JobCategory, float], n_actors: int
) -> float:
    """Return the expected duration of jobs [s].

    Parameters
    ----------
    jobs : sequence of Job
        Jobs that remain.
    seconds_per_unit : mapping of JobCategory to float
        Duration of a unit of work in each category [s].
    n_actors : int
        Number of actors that share the jobs.
    """
    seconds = [seconds_per_unit[JobCategory.from_job(job)] * count_work_units(job) for job in jobs]
    return max(sum(seconds) / n_actors, max(seconds, default=0.0))
